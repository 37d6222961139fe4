"""An imitation of a Kubernetes API server: lists of objects, with pages and RBAC.

It follows kubernetes.io, "Kubernetes API Concepts": `limit` and `continue`, lists whose
items have no `kind`, Status objects for errors, and discovery.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Mapping[str, str], Any]
USER = "system:serviceaccount:audit:auditor"
TOKEN = "token-1"


@dataclass(slots=True, kw_only=True)
class FakeApiServer:
    """Objects by list: `("v1", "pods")`. `forbidden` are resources.

    `answers` are answers to the next requests, before anything else; `custom` are the
    custom resources of discovery, by group and version.
    """

    objects: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)
    custom: dict[str, Sequence[str]] = field(default_factory=dict)
    answers: list[Answer | None] = field(default_factory=list)
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    after_answer: Callable[[], None] = lambda: None
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def add(self, group_version: str, resource: str, *objects: dict[str, Any]) -> None:
        """Add objects to a list."""
        self.objects.setdefault((group_version, resource), []).extend(objects)

    def answer(self, target: str, token: str) -> Answer:
        """The answer to a GET request."""
        self.requests.append(target)
        prepared = self.answers.pop(0) if self.answers else None
        if prepared is not None:
            return prepared
        if token not in self.tokens:
            return 401, {}, {"kind": "Status", "message": "Unauthorized"}
        parts = urlsplit(target)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        steps = parts.path.strip("/").split("/")
        if steps == ["apis"]:
            return 200, {}, {"groups": [self._group(one) for one in self.custom]}
        version = "/".join(steps[1:3]) if steps[0] == "apis" else steps[1]
        rest = steps[3:] if steps[0] == "apis" else steps[2:]
        if not rest:
            return 200, {}, {"resources": self._resources(version)}
        namespace = rest[1] if rest[0] == "namespaces" and len(rest) > 2 else None
        resource, *name = rest[2:] if namespace else rest
        if resource in self.forbidden:
            place = (
                f'in the namespace "{namespace}"'
                if namespace
                else "at the cluster scope"
            )
            message = (
                f'{resource} is forbidden: User "{USER}" cannot list resource'
                f' "{resource}" in API group "" {place}'
            )
            return 403, {}, {"kind": "Status", "message": message}
        found = [
            one
            for one in self.objects.get((version, resource), [])
            if namespace in (None, one["metadata"].get("namespace"))
        ]
        if name:
            named = [one for one in found if one["metadata"]["name"] == name[0]]
            if not named:
                missing = {"kind": "Status", "message": f'"{name[0]}" not found'}
                return 404, {}, missing
            return 200, {}, named[0]
        return 200, {}, self._page(version, resource, found, query)

    def _page(
        self, version: str, resource: str, found: list[Any], query: dict[str, str]
    ) -> dict[str, Any]:
        start, size = int(query.get("continue", "0")), int(query.get("limit", "500"))
        end = start + size
        kind = found[0].get("kind", "Thing") if found else resource.title()
        items = [
            {
                key: value
                for key, value in one.items()
                if key not in {"kind", "apiVersion"}
            }
            for one in found[start:end]
        ]
        return {
            "kind": f"{kind}List",
            "apiVersion": version,
            "metadata": {"continue": str(end)} if end < len(found) else {},
            "items": items,
        }

    def _group(self, version: str) -> dict[str, Any]:
        preferred = {"groupVersion": version, "version": version.partition("/")[2]}
        return {"name": version.partition("/")[0], "preferredVersion": preferred}

    def _resources(self, version: str) -> list[dict[str, Any]]:
        return [
            {"name": name, "namespaced": True, "verbs": ["get", "list"]}
            for name in self.custom.get(version, ())
        ]

    @contextmanager
    def running(self) -> Iterator[FakeApiServer]:
        """Serve on a port of the loopback interface."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                status, headers, body = fake.answer(self.path, token)
                # Before it is sent: the client does not wait for what comes later.
                fake.after_answer()
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def service_account(folder: Path, token: str = TOKEN) -> Path:
    """The folder of a pod's service account."""
    folder.mkdir(exist_ok=True)
    (folder / "token").write_text(token + "\n")
    (folder / "namespace").write_text("audit")
    return folder


def pod(
    name: str, *images: str, namespace: str = "team", **spec: Any
) -> dict[str, Any]:
    """A pod with a container for each image."""
    containers = [
        {"name": f"c{number}", "image": image} for number, image in enumerate(images)
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": containers, **spec},
    }


def workload(
    kind: str, name: str, image: str, namespace: str = "team", **more: Any
) -> dict[str, Any]:
    """A Deployment, a Job, ...: its template runs `image`."""
    template = {"spec": {"containers": [{"name": "main", "image": image}]}}
    spec: dict[str, Any] = {"template": template}
    if kind == "CronJob":
        spec = {"jobTemplate": {"spec": spec}}
    version = "batch/v1" if kind in {"Job", "CronJob"} else "apps/v1"
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **more.pop("metadata", {})},
        "spec": spec | more,
    }
