"""A token service with OAuth2, refresh tokens, opaque tokens and edited claims.

Distribution docs, "OAuth2 Token Authentication" (POST), RFC 6749.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from auditor.demo.demo_tokens import (
    TOKEN_PATHS,
    DemoAccount,
    DemoTokenService,
    SigningKey,
)

Claims = dict[str, Any]


@dataclass(kw_only=True)
class FakeTokenService(DemoTokenService):
    """Attributes may be changed while it runs.

    `token_fields` are the fields of a response that contain the token. `edit` changes
    the claims before they are signed (a narrower grant, another audience). `opaque`
    issues random text that only this service can read. `rotates` replaces a refresh
    token at each use (RFC 6749 section 6). `forms` are those of the POST requests.
    """

    token_fields: tuple[str, ...] = ("token", "access_token")
    opaque: bool = False
    rotates: bool = False
    edit: Callable[[Claims], Claims] | None = None
    forms: list[dict[str, str]] = field(default_factory=list)
    _opaque: dict[str, str] = field(default_factory=dict)
    _refresh: dict[str, str] = field(default_factory=dict)
    _given: int = 0

    def sign_issued(self, claims: Claims) -> str:
        token = super().sign_issued(claims if self.edit is None else self.edit(claims))
        if not self.opaque:
            return token
        name = f"opaque-{len(self.issued)}"
        self._opaque[name] = token
        return name

    def claims(self, token: str) -> Claims | None:
        return super().claims(self._opaque.get(token, token))

    def revoke(self) -> None:
        """Forget every opaque token, as a registry that restarts does."""
        self._opaque.clear()

    def refresh_token(self, account: DemoAccount) -> str:
        """A new identity token for an account, such as a login with docker stores."""
        self._given += 1
        token = f"refresh-{self._given}"
        self.give_refresh_token(token, account)
        return token

    def give_refresh_token(self, token: str, account: DemoAccount) -> None:
        """Accept this text as an identity token of an account."""
        self._refresh[token] = account.name

    def routes(self) -> list[web.AbstractRouteDef]:
        return [*super().routes(), *(web.post(path, self.post) for path in TOKEN_PATHS)]

    async def get(self, request: web.Request) -> web.Response:
        response = await super().get(request)
        if request.query.get("offline_token") != "true" or response.status != 200:
            return response
        assert isinstance(response.body, bytes)
        fields = orjson.loads(response.body)
        name = self.issued[-1]["sub"]
        account = next(one for one in self.accounts if one.name == name)
        return web.json_response(
            {**fields, "refresh_token": self.refresh_token(account)}
        )

    async def post(self, request: web.Request) -> web.Response:
        """The response to a POST (OAuth2 Token Authentication)."""
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.forms.append(form)
        old = form.get("refresh_token", "")
        match form.get("grant_type"):
            case "refresh_token":
                name = self._refresh.get(old)
                account = next((one for one in self.accounts if one.name == name), None)
            case "password":
                name, password = form.get("username", ""), form.get("password", "")
                account = self.account(name, password)
            case _:
                return web.json_response(
                    {"error": "unsupported_grant_type"}, status=400
                )
        if account is None:
            return web.json_response({"error": "invalid_grant"}, status=401)
        rotated = self.rotates and self._refresh.pop(old, None) is not None
        fields = self.response_fields(account, [form.get("scope", "")])
        if rotated or form.get("access_type") == "offline":
            fields["refresh_token"] = self.refresh_token(account)
        return web.json_response(fields)

    def response_fields(
        self, account: DemoAccount, scopes: Iterable[str]
    ) -> dict[str, object]:
        fields = super().response_fields(account, scopes)
        token = fields.pop("token")
        del fields["access_token"]
        return {**dict.fromkeys(self.token_fields, token), **fields}


def token_app(service: DemoTokenService) -> web.Application:
    """The token service at an origin of its own."""
    app = web.Application()
    app.add_routes(service.routes())
    return app


# -- key files -------------------------------------------------------------------


def certificate_pem(key: SigningKey, common_name: str = "demo token service") -> bytes:
    """A self-signed certificate: distribution's `rootcertbundle`."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key.private, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


def public_pem(key: SigningKey) -> bytes:
    """The public key as PEM."""
    return key.private.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )


def jwks(key: SigningKey) -> bytes:
    """A JWK set for distribution 3.x (`auth: token: jwks`), by libtrust id."""
    return orjson.dumps({"keys": [{**key.jwk, "alg": "ES256", "use": "sig"}]})
