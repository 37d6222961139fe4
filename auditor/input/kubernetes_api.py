"""Lists objects of a Kubernetes API server with the service account of the pod.

Sources: kubernetes.io, "Accessing the Kubernetes API from a Pod" (the files and the
variables) and "Kubernetes API Concepts" (`limit` and `continue`, 410 Gone).

The requests are synchronous: lists of the input are read in a thread.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from auditor.config.settings import ClusterSettings
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_text
from auditor.version import __version__
from auditor.wire.url_policy import is_loopback_host

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# A pod of a large service mesh has 50 kB.
PAGE_OBJECTS = 250
# A page of 250 objects of the largest size that etcd stores (1.5 MB) is refused: it is
# asked for in smaller pages.
MAX_PAGE_BYTES = 64_000_000
# A cluster can have more; they would be read for minutes.
MAX_PAGES = 10_000
TIMEOUT_S = 30.0
# One failover of the API server's load balancer.
TRIES = 4
MAX_WAIT_S = 30.0
_MAX_MESSAGE_CHARS = 300


class ClusterError(Exception):
    """The API server did not answer, or refused; the message is one sentence."""

    def __init__(self, sentence: str, *, status: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServer:
    """Where the API server is, and the files for its requests.

    `url` can have a path, as that of a cluster behind Rancher has.
    """

    url: str
    token_file: Path
    ca_file: Path | None


def find_api_server(
    settings: ClusterSettings,
    environment: Mapping[str, str],
    folder: Path,
) -> ApiServer:
    """The API server of the settings, else of the pod.

    Raises `UsageError` outside of a pod.
    """
    token_file = Path(settings.token_file) if settings.token_file else folder / "token"
    ca_file = Path(settings.ca_file) if settings.ca_file else folder / "ca.crt"
    url = settings.server
    if url is None:
        host = environment.get("KUBERNETES_SERVICE_HOST")
        port = environment.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise UsageError(
                "cluster: KUBERNETES_SERVICE_HOST is not set, so this is not a pod; run"
                " auditor in the cluster, or use kubectl get pods -A -o json |"
                " auditor audit -f -"
            )
        url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback_host(parts.hostname or ""):
        raise UsageError(
            f"cluster: {safe_text(url)}: the token is not sent without TLS; write"
            " https:// as server in [cluster]"
        )
    if not token_file.is_file():
        raise UsageError(
            f"cluster: {token_file}: no token of a service account; set"
            " automountServiceAccountToken: true for the pod, or token_file in"
            " [cluster]"
        )
    has_ca = bool(settings.ca_file) or ca_file.is_file()
    return ApiServer(
        url=url.rstrip("/"), token_file=token_file, ca_file=ca_file if has_ca else None
    )


class KubernetesApi:
    """Requests to an API server, one after the other; use it as a context manager."""

    def __init__(
        self, server: ApiServer, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._server = server
        self._sleep = sleep
        parts = urlsplit(server.url)
        self._host, self._port = parts.hostname or "", parts.port
        self._root = parts.path
        self._tls = None
        if parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(
                    cafile=str(server.ca_file) if server.ca_file else None
                )
            except (OSError, ssl.SSLError) as error:
                raise UsageError(
                    f"cluster: {server.ca_file}: the CA certificate cannot be read:"
                    f" {getattr(error, 'strerror', None) or error}"
                ) from None
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> KubernetesApi:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def objects(self, path: str) -> Iterator[dict[str, Any]]:
        """The objects of a list, page by page, with their `apiVersion` and `kind`.

        The items of a list do not have them. A list that changed too much while it was
        read (410 Gone) begins again, so an object can come twice. Raises
        `ClusterError`.
        """
        limit, token, restarts = PAGE_OBJECTS, "", 0
        for _ in range(MAX_PAGES):
            query = {"limit": str(limit)} | ({"continue": token} if token else {})
            try:
                page = self.get(f"{path}?{urlencode(query)}")
            except _TooLargeError:
                if limit == 1:
                    raise
                limit //= 5
                continue
            except ClusterError as error:
                restarts += 1
                if error.status != http.client.GONE or restarts > TRIES:
                    raise
                token = ""
                continue
            items = page.get("items")
            if items is not None and not isinstance(items, list):
                raise ClusterError(f"{path}: the answer is not a list of objects")
            kind = str(page.get("kind", "")).removesuffix("List")
            for item in items or ():
                if isinstance(item, dict):
                    yield {"apiVersion": page.get("apiVersion"), "kind": kind} | item
            metadata = page.get("metadata")
            token = metadata.get("continue") or "" if isinstance(metadata, dict) else ""
            if not token:
                return
        raise ClusterError(f"{path}: the list has more than {MAX_PAGES:,} pages")

    def get(self, target: str) -> dict[str, Any]:
        """The JSON object at a path with its query; raises `ClusterError`.

        Requests are repeated after errors of the network, 429 and 5xx.
        """
        for attempt in range(1, TRIES + 1):
            try:
                status, headers, body = self._send(target)
            except (OSError, http.client.HTTPException) as error:
                self._close()
                reason = _reason(error)
                # A wrong CA does not become right.
                if attempt == TRIES or isinstance(error, ssl.SSLError):
                    raise ClusterError(f"{self._server.url}: {reason}") from None
                self._sleep(min(2**attempt / 4, MAX_WAIT_S))
                continue
            is_busy = status == http.client.TOO_MANY_REQUESTS or status >= 500
            if not is_busy or attempt == TRIES:
                return _document(target, status, body)
            wait = headers.get("Retry-After") or ""
            seconds = float(wait) if wait.isdecimal() else 2**attempt / 4
            self._sleep(min(seconds, MAX_WAIT_S))
        raise AssertionError("the last attempt returns or raises")

    def _send(self, target: str) -> tuple[int, Message, bytes]:
        if self._connection is None:
            self._connection = (
                http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
                if self._tls is None
                else http.client.HTTPSConnection(
                    self._host, self._port, timeout=TIMEOUT_S, context=self._tls
                )
            )
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {self._token()}",
            "User-Agent": f"auditor/{__version__}",
        }
        self._connection.request("GET", self._root + target, headers=headers)
        response = self._connection.getresponse()
        body = response.read(MAX_PAGE_BYTES + 1)
        if len(body) > MAX_PAGE_BYTES:
            self._close()
            raise _TooLargeError(
                f"{target}: the answer exceeds {MAX_PAGE_BYTES:,} bytes"
            )
        return response.status, response.headers, body

    def _token(self) -> str:
        """The token, read each time: the kubelet renews it every hour."""
        try:
            text = self._server.token_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise ClusterError(
                f"{self._server.token_file}: the token cannot be read: {reason}"
            ) from None
        if not text or not text.isprintable():
            raise ClusterError(f"{self._server.token_file}: it contains no token")
        return text

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _TooLargeError(ClusterError):
    """A page that would take too much memory."""


def api_path(group_version: str, resource: str, namespace: str | None) -> str:
    """The path of a list: `api_path("apps/v1", "deployments", None)`."""
    root = "/apis" if "/" in group_version else "/api"
    middle = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{root}/{quote(group_version)}{middle}/{quote(resource, safe='')}"


def _document(target: str, status: int, body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    path = target.partition("?")[0]
    if status != http.client.OK:
        # A Status object says who may not do what.
        message = document.get("message") if isinstance(document, dict) else None
        text = safe_text(str(message or http.client.responses.get(status, "")))
        raise ClusterError(
            f"{path}: {text[:_MAX_MESSAGE_CHARS]} ({status})", status=status
        )
    if not isinstance(document, dict):
        raise ClusterError(f"{path}: the answer is not a JSON object")
    return document


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:.0f} s"
    return safe_text(getattr(error, "strerror", None) or str(error) or "no answer")
