"""A token service: what a registry's Bearer challenge points at.

Distribution docs, "Token Authentication Specification" (GET) and "OAuth2 Token
Authentication" (POST); RFC 7519 claims, signed ES256.

    service = TokenService(accounts=[Account("admin", "secret", {"*": ("*",)})])

Anonymous requests are answered for the account named "" if there is one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import jwt
import orjson
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from auditor.fast_dataclass import dataclass

# -- signing --
# ES256 keys as registries use them: libtrust key ids, JWKs, certificates.
#
# RFC 7515 (JWS), RFC 7517 (JWK), RFC 7638 (thumbprint); the key id of libtrust is
# `base32(sha256(DER SubjectPublicKeyInfo)[:30])` in 12 groups of 4.

# FIPS 186-5, P-256: the order of the base point.
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_COORDINATE_BYTES = 32
_LIBTRUST_ID_BYTES = 30
_LIBTRUST_GROUP_CHARS = 4


def base64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True, eq=False)
class SigningKey:
    """A P-256 private key that signs tokens and schema 1 manifests."""

    private: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> SigningKey:
        """A new random key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_seed(cls, seed: str) -> SigningKey:
        """The same key for the same seed: for reproducible images, not for secrets."""
        number = int.from_bytes(hashlib.sha512(seed.encode()).digest())
        return cls(
            ec.derive_private_key(number % (_P256_ORDER - 1) + 1, ec.SECP256R1())
        )

    @cached_property
    def key_id(self) -> str:
        """The libtrust key id: `ABCD:EFGH:...`, 12 groups."""
        spki = self.private.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        digest = hashlib.sha256(spki).digest()[:_LIBTRUST_ID_BYTES]
        text = base64.b32encode(digest).decode()
        return ":".join(
            text[start : start + _LIBTRUST_GROUP_CHARS]
            for start in range(0, len(text), _LIBTRUST_GROUP_CHARS)
        )

    @cached_property
    def jwk(self) -> dict[str, str]:
        """The public key as libtrust embeds it: its `kid` is the libtrust id."""
        return {"crv": "P-256", "kid": self.key_id, "kty": "EC", **self._coordinates}

    @cached_property
    def thumbprint(self) -> str:
        """The RFC 7638 thumbprint: the key id of distribution 3.x."""
        members = {"crv": "P-256", "kty": "EC", **self._coordinates}
        canonical = orjson.dumps(members, option=orjson.OPT_SORT_KEYS)
        return base64url(hashlib.sha256(canonical).digest())

    @property
    def _coordinates(self) -> dict[str, str]:
        numbers = self.private.public_key().public_numbers()
        return {
            "x": base64url(numbers.x.to_bytes(_COORDINATE_BYTES)),
            "y": base64url(numbers.y.to_bytes(_COORDINATE_BYTES)),
        }

    def sign(self, data: bytes) -> bytes:
        """An ES256 signature as JWS wants it: `r || s`, 64 bytes (RFC 7518 3.4)."""
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(_COORDINATE_BYTES) + s.to_bytes(_COORDINATE_BYTES)

    def certificate_pem(self, common_name: str = "sandbox token service") -> bytes:
        """A self-signed certificate: distribution's `rootcertbundle`."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
            .add_extension(
                x509.BasicConstraints(ca=True, path_length=None), critical=True
            )
            .sign(self.private, hashes.SHA256())
        )
        return certificate.public_bytes(Encoding.PEM)

    def public_pem(self) -> bytes:
        """The bare public key as PEM."""
        return self.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )

    def jwks(self) -> bytes:
        """A JWK set for distribution 3.x (`auth: token: jwks`), by libtrust id."""
        return orjson.dumps({"keys": [{**self.jwk, "alg": "ES256", "use": "sig"}]})


TOKEN_PATHS = ("/token", "/auth/token", "/auth/v2/token/", "/service/token")
ANONYMOUS = ""
Claims = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Account:
    """A user. `grants`: pattern (fnmatch) of a name -> actions, "*" for all of them.

    Patterns are matched against repository names, and against `catalog` for the
    scope `registry:catalog:*`.
    """

    name: str
    password: str = field(repr=False, default="")
    grants: Mapping[str, Iterable[str]] = field(default_factory=dict)

    def granted(self, name: str, actions: Iterable[str]) -> list[str]:
        """Those of the actions that this account has on `name`, sorted."""
        own = {
            action
            for pattern, granted in self.grants.items()
            if fnmatchcase(name, pattern)
            for action in granted
        }
        return sorted({action for action in actions if action in own or "*" in own})


def split_scope(scope: str) -> tuple[str, str, tuple[str, ...]]:
    """`type:name:action,...` split at its first and last colon: names hold ports."""
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    return kind, name, tuple(filter(None, actions.split(",")))


@dataclass(slots=True, kw_only=True)
class TokenService:
    """Issues and checks tokens. Attributes may be changed while it runs.

    `lifetime_s` seconds; `answer_fields` name the fields that carry the token;
    `edit` changes the claims before they are signed (a narrower grant, another
    audience); `opaque` answers random text that only this service can read;
    `realm` is a path at the registry's own origin or a whole URL; `rotates` gives a
    new refresh token for each use and takes the old one back (RFC 6749 section 6);
    `forms` are those of the POST requests so far.
    """

    accounts: Iterable[Account] = ()
    service: str = "sandbox"
    issuer: str = "sandbox token service"
    realm: str = TOKEN_PATHS[0]
    key: SigningKey = field(default_factory=SigningKey.generate)
    lifetime_s: int = 300
    answer_fields: tuple[str, ...] = ("token", "access_token")
    opaque: bool = False
    rotates: bool = False
    edit: Callable[[Claims], Claims] | None = None
    clock: Callable[[], float] = time.time
    issued: list[Claims] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    _opaque: dict[str, str] = field(default_factory=dict)
    _refresh: dict[str, str] = field(default_factory=dict)
    _given: int = 0

    def account(self, name: str, password: str) -> Account | None:
        """The account of this name, if the password is right."""
        for one in self.accounts:
            if (one.name, one.password) == (name, password):
                return one
        return None

    def issue(self, account: Account, scopes: Iterable[str]) -> str:
        """A token for what the account is granted of the scopes."""
        access = []
        for kind, name, actions in map(split_scope, scopes):
            granted = account.granted(name, actions)
            if granted:
                access.append({"type": kind, "name": name, "actions": granted})
        now = int(self.clock())
        claims: Claims = {
            "access": access,
            "aud": self.service,
            "exp": now + self.lifetime_s,
            "iat": now,
            "iss": self.issuer,
            "jti": f"token-{len(self.issued)}",
            "nbf": now,
            "sub": account.name,
        }
        if self.edit is not None:
            claims = self.edit(claims)
        self.issued.append(claims)
        token = self.sign(claims)
        if not self.opaque:
            return token
        name = f"opaque-{len(self.issued)}"
        self._opaque[name] = token
        return name

    def sign(self, claims: Claims) -> str:
        """A JWT of exactly these claims, with the libtrust `kid` and the `jwk`."""
        headers = {"jwk": self.key.jwk, "kid": self.key.key_id}
        return jwt.encode(claims, self.key.private, algorithm="ES256", headers=headers)

    def refresh_token(self, account: Account) -> str:
        """An identity token for an account, as a login with docker leaves one."""
        self._given += 1
        token = f"refresh-{self._given}"
        self.give_refresh_token(token, account)
        return token

    def give_refresh_token(self, token: str, account: Account) -> None:
        """Take this text for an identity token of an account."""
        self._refresh[token] = account.name

    def claims(self, token: str) -> Claims | None:
        """The claims of a token that is valid now; None for any other."""
        try:
            claims: Claims = jwt.decode(
                self._opaque.get(token, token),
                self.key.private.public_key(),
                algorithms=["ES256"],
                audience=self.service,
                issuer=self.issuer,
                # Checked below, against this service's own clock.
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            return None
        return claims if claims["nbf"] <= self.clock() < claims["exp"] else None

    def allows(self, token: str, scope: str) -> bool | None:
        """Whether a token grants every action of a scope; None: it is not valid."""
        claims = self.claims(token)
        if claims is None:
            return None
        kind, name, wanted = split_scope(scope)
        granted: set[str] = set()
        for entry in claims.get("access") or ():
            if (entry["type"], entry["name"]) == (kind, name):
                granted.update(entry["actions"])
        return "*" in granted or granted.issuperset(wanted)

    def routes(self) -> list[web.AbstractRouteDef]:
        """The routes of this service, at every path in use by a known product."""
        return [
            route
            for path in TOKEN_PATHS
            for route in (web.get(path, self._get), web.post(path, self._post))
        ]

    async def _get(self, request: web.Request) -> web.Response:
        credential = basic_credential(request)
        account = self.account(*(credential or (ANONYMOUS, "")))
        if account is None:
            return unauthorized('Basic realm="sandbox token service"')
        offline = request.query.get("offline_token") == "true"
        return self._answer(account, request.query.getall("scope", []), offline)

    async def _post(self, request: web.Request) -> web.Response:
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
        offline = rotated or form.get("access_type") == "offline"
        return self._answer(account, form.get("scope", "").split(), offline)

    def _answer(
        self, account: Account, scopes: Iterable[str], offline: bool
    ) -> web.Response:
        scopes = [one for scope in scopes for one in scope.split()]
        now = datetime.fromtimestamp(int(self.clock()), UTC)
        answer: dict[str, object] = dict.fromkeys(
            self.answer_fields, self.issue(account, scopes)
        )
        answer["expires_in"] = self.lifetime_s
        answer["issued_at"] = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        if offline:
            answer["refresh_token"] = self.refresh_token(account)
        return web.json_response(answer)


def basic_credential(request: web.Request) -> tuple[str, str] | None:
    """User name and password of a Basic `Authorization` (RFC 7617), if any."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = (
            base64.b64decode(encoded, validate=True).decode().partition(":")
        )
    except (binascii.Error, UnicodeDecodeError):
        return "not base64", encoded
    return name, password


def unauthorized(challenge: str, detail: object = None) -> web.Response:
    """401 with a challenge and distribution's error body."""
    error = {
        "code": "UNAUTHORIZED",
        "message": "authentication required",
        "detail": detail,
    }
    return web.json_response(
        {"errors": [error]}, status=401, headers={"WWW-Authenticate": challenge}
    )


def token_app(service: TokenService) -> web.Application:
    """The token service as a program of its own, at another origin."""
    app = web.Application()
    app.add_routes(service.routes())
    return app
