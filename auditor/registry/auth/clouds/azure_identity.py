"""The Azure identity of this machine, by azure-identity.

In the order of its DefaultAzureCredential: a service principal in environment
variables, workload identity (AKS), managed identity (virtual machines, App Service,
Container Apps), and the login of the command line tool az.

Its access token is exchanged for a refresh token of one registry, which is then used as
every identity token is (github.com/Azure/acr, docs/AAD-OAuth.md, "Calling POST
/oauth2/exchange to get an ACR refresh token").
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import orjson

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.registry.auth.clouds.machine_token import (
    MachineToken,
    NoIdentityError,
    identity_error,
    import_library,
)
from auditor.registry.request import RequestKind, RequestSender
from auditor.util.secret import Secret
from auditor.wire.cloud_hosts import Cloud, cloud_of_url
from auditor.wire.redirect import Redirects
from auditor.wire.token import is_bearer_token, read_jwt

TRIED = (
    "a service principal in AZURE_CLIENT_ID and its secret, workload identity, managed"
    " identity, and az login"
)
# By the suffix of the registry: the scope of its tokens, and the authority.
# Sources: Azure's documentation, "Container Registry client library for Python" (the
# audience) and "National clouds" (the authority).
_SCOPES = {
    "io": "https://containerregistry.azure.net/.default",
    "cn": "https://management.chinacloudapi.cn/.default",
    "us": "https://management.usgovcloudapi.net/.default",
}
_AUTHORITIES = {"cn": "login.chinacloudapi.cn", "us": "login.microsoftonline.us"}
# Without one of these, managed identity is the service of virtual machines.
_ENDPOINTS = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST")
_IMDS = ("169.254.169.254", 80)
_IMDS_CONNECT_S = 1.0
_CLI_TIMEOUT_S = 10
_MANAGED = "managed identity"
_CONNECT_TIMEOUT_S = 3
_READ_TIMEOUT_S = 5
_ATTEMPTS = 2
# Claims of an access token that name its identity ("Access token claims reference").
_NAME_CLAIMS = ("upn", "unique_name", "preferred_username", "appid", "azp", "oid")


class AzureIdentity:
    """The identity for the registries of one Azure cloud, looked for once.

    `token` blocks. It raises `ProtocolError`, `MissingExtraError`, and
    `NoIdentityError` where the service of managed identities says why it has none.
    """

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._lock = threading.Lock()
        self._found: Any = None
        self._method = ""
        self._is_none = False
        self._why_none = ""

    def token(self) -> MachineToken | None:
        """An access token to exchange at a registry; None without an identity."""
        with self._lock:
            found = None if self._is_none else self._token()
            if found is None and self._why_none:
                raise NoIdentityError(self._why_none)
            return found

    def _token(self) -> MachineToken | None:
        library = import_library(Cloud.AZURE, _library)
        from azure.core import exceptions  # noqa: PLC0415  (an extra)

        candidates = (
            self._candidates(library)
            if self._found is None
            else [(self._method, self._found)]
        )
        for method, credential in candidates:
            try:
                token = credential.get_token(_SCOPES[self._suffix])
            except library.CredentialUnavailableError as error:
                if method == _MANAGED:
                    self._why_none = str(error)
                continue
            except exceptions.AzureError as error:
                sentence = f"Azure gave this machine no token ({method})"
                kind = _kind(error)
                if kind is FailureKind.DENIED:
                    sentence += "; check the identity and its federation"
                raise identity_error(sentence, error, kind) from None
            self._found, self._method = credential, method
            return MachineToken(
                secret=Secret(token.token),
                expires_at=float(token.expires_on),
                identity=_name(token.token),
                method=method,
            )
        if self._found is not None:
            raise identity_error(f"Azure gave this machine no token ({self._method})")
        self._is_none = True
        return None

    def _candidates(self, library: Any) -> Iterator[tuple[str, Any]]:
        options: dict[str, Any] = {
            "connection_timeout": _CONNECT_TIMEOUT_S,
            "read_timeout": _READ_TIMEOUT_S,
            "retry_total": _ATTEMPTS,
        }
        # AZURE_AUTHORITY_HOST, which the library reads, comes before the registry's.
        authority = _AUTHORITIES.get(self._suffix)
        if os.environ.get("AZURE_AUTHORITY_HOST"):
            # Of a private cloud, which the public one need not know.
            options["disable_instance_discovery"] = True
        elif authority is not None:
            options["authority"] = authority
        yield "service principal", library.EnvironmentCredential(**options)
        if os.environ.get("AZURE_FEDERATED_TOKEN_FILE"):
            try:
                workload = library.WorkloadIdentityCredential(**options)
            except ValueError as error:
                raise identity_error("Azure's workload identity", error) from None
            yield "workload identity", workload
        options.pop("authority", None)
        options.pop("disable_instance_discovery", None)
        if any(map(os.environ.get, _ENDPOINTS)) or _has_imds():
            client_id = os.environ.get("AZURE_CLIENT_ID") or None
            managed = library.ManagedIdentityCredential(client_id=client_id, **options)
            yield _MANAGED, managed
        yield "az login", library.AzureCliCredential(process_timeout=_CLI_TIMEOUT_S)


def _library() -> Any:
    import azure.identity  # noqa: PLC0415  (an extra)

    # It logs each attempt of the chain as a warning.
    logging.getLogger("azure").setLevel(logging.CRITICAL)
    return azure.identity


def _has_imds() -> bool:
    """Whether the metadata service of virtual machines takes a connection.

    The library tries for half a minute to find out.
    """
    try:
        with socket.create_connection(_IMDS, timeout=_IMDS_CONNECT_S):
            return True
    except OSError:
        return False


def _kind(error: BaseException | None) -> FailureKind:
    """What went wrong with the network, or that the identity was refused."""
    from azure.core import exceptions  # noqa: PLC0415  (an extra)

    while error is not None:
        if isinstance(error, exceptions.ServiceRequestError):
            return FailureKind.CONNECT
        if isinstance(error, exceptions.ServiceResponseError):
            return FailureKind.TIMEOUT
        error = error.__cause__ or error.__context__
    return FailureKind.DENIED


def _name(token: str) -> str | None:
    """The user, or `client id ...`, that an access token is for."""
    jwt = read_jwt(token)
    claims = {} if jwt is None else jwt[1]
    for claim in _NAME_CLAIMS:
        value = claims.get(claim)
        if isinstance(value, str) and value:
            return f"client id {value}" if claim in {"appid", "azp"} else value
    return None


# -- the refresh token of a registry ---------------------------------------------------

# A token, as in a response of the token service.
_MAX_RESPONSE_BYTES = 64 * 1024


async def exchange_azure_token(
    token: Secret, *, base_url: str, sender: RequestSender
) -> Secret | Failure:
    """The refresh token of the registry at `base_url`, which must be Azure's."""
    host = cloud_of_url(base_url)
    assert host is not None
    assert host.cloud is Cloud.AZURE
    form = {
        "grant_type": "access_token",
        "service": host.host,
        "access_token": token.reveal(),
    }
    response = await sender.send(
        RequestKind.TOKEN,
        "POST",
        f"{base_url}/oauth2/exchange",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        body=urlencode(form).encode(),
        max_bytes=_MAX_RESPONSE_BYTES,
        redirects=Redirects.REFUSED,
    )
    if isinstance(response, Failure):
        return response.at(Stage.TOKEN)
    try:
        return parse_exchange(response.body)
    except ProtocolError as error:
        return Failure(kind=error.kind, detail=error.detail, stage=Stage.TOKEN)


def parse_exchange(body: bytes) -> Secret:
    """The `refresh_token` of a response; raises `ProtocolError` without one."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    token = document.get("refresh_token") if isinstance(document, dict) else None
    if not is_bearer_token(token):
        raise ProtocolError(
            "the registry's /oauth2/exchange returned no refresh token",
            FailureKind.TOKEN_REJECTED,
        )
    return Secret(token)
