"""Pushes manifests and their parts to any registry, with plain HTTP requests.

OCI distribution-spec 1.1, "Pushing blobs", "Pushing manifests" and "Pushing manifests
with subject": where the response to a manifest with a subject has no `OCI-Subject`,
the registry has no referrers API, and the client keeps the fallback tag.
"""

from __future__ import annotations

import base64
import http.client
import json
import urllib.parse
from typing import Any

from tests.patience import HANG_S
from tests.real.layouts import INDEX, Descriptor, Layout
from tests.real.other_registries import Running

# What is pushed to `/manifests/`; everything else is a blob.
_MANIFESTS = (
    "application/vnd.oci.image.manifest.",
    "application/vnd.oci.image.index.",
    "application/vnd.oci.artifact.manifest.",
    "application/vnd.docker.distribution.manifest.",
    "application/vnd.cncf.oras.artifact.manifest.",
)


class RefusedError(Exception):
    """The registry did not take a manifest or blob."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body[:200]}")
        self.status = status


class Pusher:
    """Pushes from a layout to a registry over one connection."""

    def __init__(self, running: Running, layout: Layout) -> None:
        self._running = running
        self._layout = layout
        self._connection = http.client.HTTPConnection(running.host, timeout=HANG_S)
        self._pushed: set[tuple[str, str]] = set()
        self._fallbacks: dict[tuple[str, str], list[Descriptor]] = {}

    def close(self) -> None:
        self._connection.close()

    def push(self, repository: str, descriptor: Descriptor, *tags: str) -> None:
        """Push a manifest, its parts first; raises `RefusedError`."""
        digest: str = descriptor["digest"]
        if (repository, digest) not in self._pushed:
            self._parts(repository, descriptor)
            self._manifest(repository, descriptor, digest)
            self._pushed.add((repository, digest))
        for tag in tags:
            self._manifest(repository, descriptor, tag)

    def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest, whatever lists it."""
        path = f"/v2/{repository}/manifests/{digest}"
        self._send("DELETE", repository, path, b"", {}, 202)

    def delete_blob(self, repository: str, digest: str) -> None:
        """Delete a layer or config, whatever lists it."""
        path = f"/v2/{repository}/blobs/{digest}"
        self._send("DELETE", repository, path, b"", {}, 202)

    def _parts(self, repository: str, descriptor: Descriptor) -> None:
        document = self._document(descriptor)
        for child in document.get("manifests") or []:
            if child["mediaType"].startswith(_MANIFESTS):
                self.push(repository, child)
            else:
                self._blob(repository, child)
        blobs = [document["config"]] if "config" in document else []
        for key in ("layers", "blobs"):
            blobs += document.get(key) or []
        for blob in blobs:
            if not blob.get("urls"):
                self._blob(repository, blob)

    def _manifest(self, repository: str, descriptor: Descriptor, name: str) -> None:
        content = self._layout.content(descriptor["digest"])
        headers = self._put(
            repository,
            f"/v2/{repository}/manifests/{name}",
            content,
            descriptor["mediaType"],
        )
        document = json.loads(content)
        subject = document.get("subject")
        if subject and name == descriptor["digest"] and "oci-subject" not in headers:
            self._fall_back(repository, subject["digest"], descriptor, document)

    def _fall_back(
        self,
        repository: str,
        subject: str,
        descriptor: Descriptor,
        document: dict[str, Any],
    ) -> None:
        listed = self._fallbacks.setdefault((repository, subject), [])
        config_type = document.get("config", {}).get("mediaType")
        entry = {
            **{key: descriptor[key] for key in ("mediaType", "digest", "size")},
            "artifactType": document.get("artifactType") or config_type,
            "annotations": document.get("annotations", {}),
        }
        listed.append({key: value for key, value in entry.items() if value})
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
        tag = subject.replace(":", "-")
        content = json.dumps(index).encode()
        self._put(repository, f"/v2/{repository}/manifests/{tag}", content, INDEX)

    def _blob(self, repository: str, descriptor: Descriptor) -> None:
        digest = descriptor["digest"]
        if (repository, digest) in self._pushed:
            return
        path = f"/v2/{repository}/blobs/uploads/"
        location = self._send("POST", repository, path, b"", {}, 202)["location"]
        url = urllib.parse.urlsplit(location)
        query = f"{url.query}&" if url.query else ""
        self._put(
            repository,
            f"{url.path}?{query}digest={urllib.parse.quote(digest)}",
            self._layout.content(digest),
            "application/octet-stream",
        )
        self._pushed.add((repository, digest))

    def _put(
        self, repository: str, path: str, content: bytes, media_type: str
    ) -> dict[str, str]:
        headers = {"Content-Type": media_type}
        return self._send("PUT", repository, path, content, headers, 201)

    def _send(
        self,
        method: str,
        repository: str,
        path: str,
        content: bytes,
        headers: dict[str, str],
        expected: int,
    ) -> dict[str, str]:
        account, token = self._running.account, self._running.token
        if token is not None:
            headers["Authorization"] = f"Bearer {token(repository)}"
        elif account is not None:
            pair = base64.b64encode(f"{account.name}:{account.password}".encode())
            headers["Authorization"] = f"Basic {pair.decode()}"
        self._connection.request(method, path, content, headers)
        answer = self._connection.getresponse()
        body = answer.read().decode(errors="replace")
        if answer.status != expected:
            raise RefusedError(answer.status, body)
        return {key.lower(): value for key, value in answer.getheaders()}

    def _document(self, descriptor: Descriptor) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(
            self._layout.content(descriptor["digest"])
        )
        return document
