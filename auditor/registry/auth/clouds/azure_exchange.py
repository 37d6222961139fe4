"""The exchange of an Azure access token for a refresh token of one registry.

Source: github.com/Azure/acr, docs/AAD-OAuth.md, "Calling POST /oauth2/exchange to get
an ACR refresh token". The refresh token is then used as every identity token is.
"""

from __future__ import annotations

from urllib.parse import urlencode

import orjson

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.registry.request import RequestKind, RequestSender
from auditor.util.secret import Secret
from auditor.wire.cloud_hosts import Cloud, cloud_of_url
from auditor.wire.redirect import Redirects
from auditor.wire.token import is_bearer_token

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
