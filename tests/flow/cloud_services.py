"""The services that a cloud's own library asks, on loopback.

`aws_services` is moto's server in this process; `MetadataServer` is what google-auth
and azure-identity find on a virtual machine, with tokens of the test.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiohttp import web

from auditor.demo.demo_registry import serve
from tests.patience import HANG_S

# Variables by which the libraries find an identity, a service, or a proxy to it.
_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_", "GCE_", "CLOUDSDK_", "IDENTITY_", "MSI_")
_LIMITS_S = (
    "aws_identity._CONNECT_TIMEOUT_S", "aws_identity._NAME_TIMEOUT_S",
    "aws_identity._READ_TIMEOUT_S", "azure_identity._CLI_TIMEOUT_S",
    "azure_identity._CONNECT_TIMEOUT_S", "azure_identity._IMDS_CONNECT_S",
    "azure_identity._READ_TIMEOUT_S", "google_identity._TIMEOUT_S",
)  # fmt: skip
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@contextmanager
def no_identity(home: str) -> Iterator[pytest.MonkeyPatch]:
    """A machine that no cloud knows: no variables, files or metadata servers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper().startswith(_PREFIXES) or name.upper() in _PROXIES:
                patch.delenv(name)
        patch.setenv("HOME", home)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        # The same for google-auth: nothing answers at this address of the machine.
        patch.setenv("GCE_METADATA_IP", "127.0.0.1:9")
        no_wait = SimpleNamespace(sleep=lambda _: None)
        patch.setattr("google.auth._exponential_backoff.time", no_wait)
        patch.setattr("auditor.registry.auth.clouds.azure_identity._IMDS", _REFUSED)
        # A slow machine of a test is no machine without an identity.
        for name in _LIMITS_S:
            patch.setattr(f"auditor.registry.auth.clouds.{name}", HANG_S)
        patch.setenv("PATH", "/nowhere")  # no az
        yield patch


_REFUSED = ("127.0.0.1", 9)


@contextmanager
def aws_services(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """AWS as moto imitates it; its URL. boto3 is told it, and has an access key."""
    from moto.backends import get_backend  # noqa: PLC0415
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  (a second)

    for service in ("ecr", "sts"):
        get_backend(service).reset()  # of an earlier test
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "an-access-key")
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@dataclass(slots=True)
class MetadataServer:
    """The metadata services of Google and Azure. `tokens` counts those given.

    `status` other than 200 refuses tokens; `lifetime_s` is what they say.
    """

    address: str = ""
    status: int = 200
    lifetime_s: int = 3600
    tokens: int = 0
    seen: list[str] = field(default_factory=list)

    def token(self) -> str:
        self.tokens += 1
        return f"google-token-{self.tokens}"

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(f"{request.method} {request.path_qs}")
        headers = {"Metadata-Flavor": "Google"}
        path = request.path
        if path == "/msi/token":
            return self._azure(request)
        if path.endswith("/token"):
            if self.status != 200:
                return web.Response(status=self.status, text="no", headers=headers)
            document: dict[str, Any] = {
                "access_token": self.token(),
                "expires_in": self.lifetime_s,
                "token_type": "Bearer",
            }
            return web.json_response(document, headers=headers)
        if path.endswith("/service-accounts/default/"):
            document = {"email": "audit@project.iam.gserviceaccount.com", "scopes": []}
            return web.json_response(document, headers=headers)
        if path.endswith("/project-id"):
            return web.Response(text="project", headers=headers)
        return web.Response(headers=headers)

    def _azure(self, request: web.Request) -> web.Response:
        assert request.headers["X-IDENTITY-HEADER"] == "a-header"
        if self.status != 200:
            document: dict[str, Any] = {"error": "invalid_request"}
            return web.json_response(document, status=self.status)
        self.tokens += 1
        document = {
            "access_token": jwt({"appid": "1111-2222", "n": self.tokens}),
            "expires_on": str(4_000_000_000),
            "resource": request.query["resource"],
            "token_type": "Bearer",
        }
        return web.json_response(document)


@asynccontextmanager
async def metadata_server() -> AsyncIterator[MetadataServer]:
    """A metadata server; set the variables that lead to its `address`."""
    server = MetadataServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    async with serve(app) as url:
        server.address = url.partition("://")[2]
        yield server


def jwt(claims: dict[str, Any]) -> str:
    """A token with these claims, and no valid signature."""
    parts = ({"alg": "none"}, claims, "x")
    return ".".join(
        base64.urlsafe_b64encode(orjson.dumps(part)).decode().rstrip("=")
        for part in parts
    )
