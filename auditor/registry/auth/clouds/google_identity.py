"""The Google identity of this machine, by google-auth.

Application default credentials ("How Application Default Credentials works"):
`GOOGLE_APPLICATION_CREDENTIALS` (also workload identity federation), the login of
`gcloud auth application-default login`, the metadata server (GCE, GKE, Cloud Run).

Source: Artifact Registry, "Configure authentication to Artifact Registry for Docker",
access token: the user `oauth2accesstoken` with the token as its password.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable
from datetime import UTC
from typing import Any, cast

from auditor.errors import FailureKind
from auditor.registry.auth.clouds.machine_token import (
    MachineToken,
    identity_error,
    import_library,
)
from auditor.util.secret import Secret
from auditor.wire.cloud_hosts import Cloud

TRIED = (
    "GOOGLE_APPLICATION_CREDENTIALS, gcloud auth application-default login, and the"
    " metadata server"
)
_USERNAME = "oauth2accesstoken"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_FILE_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
_METADATA, _USER = "metadata server", "application default credentials"
_ADVICE = {
    _METADATA: "give the workload a service account",
    _USER: "log in again (gcloud auth application-default login)",
}
# The metadata server answers in milliseconds, Google's token service in tenths of a
# second.
_TIMEOUT_S = 3.0


class GoogleIdentity:
    """The application default credentials, looked for once.

    `token` blocks. It raises `ProtocolError` and `MissingExtraError`.
    """

    def __init__(self) -> None:
        self._credentials: Any = None

    def token(self) -> MachineToken | None:
        """A new access token; None if there is no Google identity."""
        transport = import_library(Cloud.GOOGLE, _transport)
        from google.auth import exceptions  # noqa: PLC0415  (an extra)

        request = _Request(transport.Request(), exceptions)
        if self._credentials is None:
            self._credentials = _default_credentials(request, exceptions)
        credentials = self._credentials
        if credentials is None:
            return None
        try:
            credentials.refresh(request)
        except exceptions.GoogleAuthError as error:
            name = _name(credentials) or "this machine"
            sentence, kind = f"Google gave {name} no token", _kind(error)
            if kind is FailureKind.DENIED:
                advice = _ADVICE.get(_method(credentials), "check its configuration")
                sentence += f"; {advice}"
            raise identity_error(sentence, _message(error), kind) from None
        expiry = credentials.expiry
        return MachineToken(
            username=_USERNAME,
            secret=Secret(credentials.token),
            # The library's times are in UTC, without a zone.
            expires_at=expiry and expiry.replace(tzinfo=UTC).timestamp(),
            identity=_name(credentials),
            method=_method(credentials),
        )


def _transport() -> Any:
    from google.auth.transport import requests  # noqa: PLC0415  (an extra)

    # What it warns of (a quota project, no metadata server) is no error here.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"google\.auth")
    logging.getLogger("google.auth").setLevel(logging.ERROR)
    return requests


def _default_credentials(request: _Request, exceptions: Any) -> Any:
    import google.auth  # noqa: PLC0415  (an extra)
    from google.auth import credentials  # noqa: PLC0415

    with_scopes: Any = credentials.with_scopes_if_required
    try:
        # With scopes, the library would ask the Resource Manager for the project of a
        # federated workload, and fail where that cannot be reached.
        found: Any = google.auth.default(
            request=cast("Any", request)  # a callable is enough
        )
        return with_scopes(found[0], [_SCOPE])
    except exceptions.DefaultCredentialsError as error:
        if os.environ.get(_FILE_VARIABLE):
            sentence = f"the file in {_FILE_VARIABLE} cannot be used"
            raise identity_error(sentence, _message(error)) from None
        return None
    except exceptions.GoogleAuthError as error:
        sentence = "the Google identity cannot be used"
        raise identity_error(sentence, _message(error), _kind(error)) from None


class _Request:
    """google-auth's transport with a short time limit.

    Without an answer in this time there is no metadata server, and the library does not
    try again. One that refuses connections may be about to start (GKE).
    """

    def __init__(self, send: Callable[..., Any], exceptions: Any) -> None:
        self._send = send
        self._exceptions = exceptions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._send, name)

    def __call__(
        self, url: str, method: str = "GET", *args: Any, **arguments: Any
    ) -> Any:
        limit_s = min(arguments.pop("timeout", None) or _TIMEOUT_S, _TIMEOUT_S)
        started = time.monotonic()
        try:
            return self._send(url, method, *args, timeout=limit_s, **arguments)
        except self._exceptions.TransportError as error:
            if time.monotonic() - started >= 0.9 * limit_s:
                detail = f"no answer within {limit_s:g} s"
                raise self._exceptions.DefaultCredentialsError(detail) from error
            raise


def _kind(error: object) -> FailureKind:
    """What went wrong with the network, or that the identity was refused."""
    from requests import exceptions  # noqa: PLC0415  (an extra)

    # Each is the argument of the next one.
    while isinstance(error, Exception):
        if isinstance(error, exceptions.SSLError):
            return FailureKind.TLS
        if isinstance(error, exceptions.Timeout):
            return FailureKind.TIMEOUT
        if isinstance(error, exceptions.ConnectionError):
            return FailureKind.CONNECT
        error = error.args[0] if error.args else None
    return FailureKind.DENIED


def _message(error: Exception) -> object:
    """The text of an error, which may be the argument of another one."""
    first = error.args[0] if error.args else None
    return _message(first) if isinstance(first, Exception) else first


def _name(credentials: Any) -> str | None:
    """The e-mail address of the account, if the credentials have it."""
    for attribute in ("service_account_email", "signer_email", "account"):
        value = getattr(credentials, attribute, None)
        # "default" stands for the account of the machine until a token is requested.
        if isinstance(value, str) and value and value != "default":
            return value
    return None


def _method(credentials: Any) -> str:
    module = type(credentials).__module__
    if "compute_engine" in module:
        return _METADATA
    if "service_account" in module:
        return "service account key"
    if "external_account" in module or "aws" in module or "identity_pool" in module:
        return "workload identity federation"
    return _USER
