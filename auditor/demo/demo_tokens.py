"""The demo's token service, and the access control that requires its tokens.

Distribution docs, "Token Authentication Specification"; RFC 7519 claims, signed ES256.

    service = DemoTokenService(accounts=[DemoAccount("me", "secret", {"*": ("*",)})])
    app = registry_app(DemoRegistry(content), access=BearerAccess(service))

Anonymous requests are those of the account named "", if there is one.
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
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from yarl import URL

from auditor.demo.demo_registry import error
from auditor.fast_dataclass import dataclass
from auditor.oci.jws import jwk_of, libtrust_key_id

# The paths of known products: distribution's example, Quay, DTR, Harbor.
TOKEN_PATHS = ("/token", "/auth/token", "/auth/v2/token/", "/service/token")
ANONYMOUS = ""
# FIPS 186-5, P-256: the order of the base point.
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


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
        """The libtrust key id."""
        return libtrust_key_id(self.private.public_key())

    @cached_property
    def jwk(self) -> dict[str, str]:
        """The public key as libtrust embeds it: its `kid` is the libtrust id."""
        return {**jwk_of(self.private.public_key()), "kid": self.key_id}

    def sign(self, data: bytes) -> bytes:
        """An ES256 signature in the form of JWS: `r || s`, 64 bytes (RFC 7518 3.4)."""
        return ECAlgorithm(ECAlgorithm.SHA256).sign(data, self.private)


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """A user. `grants` maps a pattern (fnmatch) of names to actions; "*" is all.

    Patterns match repository names, and `catalog` of the scope `registry:catalog:*`.
    """

    name: str
    password: str = field(repr=False, default="")
    grants: Mapping[str, Iterable[str]] = field(default_factory=dict)

    def granted(self, name: str, actions: Iterable[str]) -> list[str]:
        """The given actions that this account has on `name`, sorted."""
        allowed = {
            action
            for pattern, granted in self.grants.items()
            if fnmatchcase(name, pattern)
            for action in granted
        }
        return sorted(
            {action for action in actions if action in allowed or "*" in allowed}
        )


def split_scope(scope: str) -> tuple[str, str, tuple[str, ...]]:
    """`type:name:action,...` as its parts; the name may contain a port."""
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    return kind, name, tuple(filter(None, actions.split(",")))


@dataclass(kw_only=True)
class DemoTokenService:
    """Issues and checks tokens; attributes may be changed while it runs.

    `realm` is a path at the registry's own origin or a whole URL.
    """

    accounts: Iterable[DemoAccount] = ()
    service: str = "demo"
    issuer: str = "demo token service"
    realm: str = TOKEN_PATHS[0]
    key: SigningKey = field(default_factory=SigningKey.generate)
    lifetime_s: int = 300
    clock: Callable[[], float] = time.time
    issued: list[dict[str, Any]] = field(default_factory=list)
    # The claims of tokens whose signature was checked, by all that they depend on.
    _verified: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)

    def account(self, name: str, password: str) -> DemoAccount | None:
        """The account with this name and password."""
        accounts = {(one.name, one.password): one for one in self.accounts}
        return accounts.get((name, password))

    def issue(self, account: DemoAccount, scopes: Iterable[str]) -> str:
        """A token for the part of the scopes that is granted to the account."""
        access = []
        for kind, name, actions in map(split_scope, scopes):
            granted = account.granted(name, actions)
            if granted:
                access.append({"type": kind, "name": name, "actions": granted})
        now = int(self.clock())
        claims: dict[str, Any] = {
            "access": access,
            "aud": self.service,
            "exp": now + self.lifetime_s,
            "iat": now,
            "iss": self.issuer,
            "jti": f"token-{len(self.issued)}",
            "nbf": now,
            "sub": account.name,
        }
        return self.sign_issued(claims)

    def sign_issued(self, claims: dict[str, Any]) -> str:
        """The token with the claims of an account; they are kept in `issued`."""
        self.issued.append(claims)
        return self.sign(claims)

    def sign(self, claims: dict[str, Any]) -> str:
        """A JWT with exactly these claims, and with libtrust's `kid` and `jwk`."""
        headers = {"jwk": self.key.jwk, "kid": self.key.key_id}
        return jwt.encode(claims, self.key.private, algorithm="ES256", headers=headers)

    def claims(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that is valid now; None for any other."""
        verified = (token, self.key.key_id, self.service, self.issuer)
        if verified not in self._verified:
            try:
                self._verified[verified] = self._decode(token)
            except jwt.InvalidTokenError:
                return None
        claims = self._verified[verified]
        return claims if claims["nbf"] <= self.clock() < claims["exp"] else None

    def _decode(self, token: str) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            self.key.private.public_key(),
            algorithms=["ES256"],
            audience=self.service,
            issuer=self.issuer,
            # Checked for each request, against this service's own clock.
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
        return claims

    def allows(self, token: str, scope: str) -> bool | None:
        """Whether a token grants every action of a scope; None for an invalid token."""
        claims = self.claims(token)
        if claims is None:
            return None
        kind, name, actions = split_scope(scope)
        granted: set[str] = set()
        for entry in claims.get("access") or ():
            if (entry["type"], entry["name"]) == (kind, name):
                granted.update(entry["actions"])
        return "*" in granted or granted.issuperset(actions)

    def routes(self) -> list[web.AbstractRouteDef]:
        """The routes of this service, at the paths of all known products."""
        return [web.get(path, self.get) for path in TOKEN_PATHS]

    async def get(self, request: web.Request) -> web.Response:
        """The response to a GET (Token Authentication Specification)."""
        account = self.account(*(basic_credential(request) or (ANONYMOUS, "")))
        if account is None:
            return unauthorized('Basic realm="demo token service"')
        scopes = request.query.getall("scope", [])
        return web.json_response(self.response_fields(account, scopes))

    def response_fields(
        self, account: DemoAccount, scopes: Iterable[str]
    ) -> dict[str, object]:
        """The JSON of a response with a token for the scopes."""
        scopes = [scope for line in scopes for scope in line.split()]
        issued_at = datetime.fromtimestamp(int(self.clock()), UTC)
        token = self.issue(account, scopes)
        return {
            "token": token,
            "access_token": token,
            "expires_in": self.lifetime_s,
            "issued_at": issued_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


@dataclass(frozen=True, slots=True)
class BearerAccess:
    """Requires tokens of a token service, which runs at the registry's own origin.

    If the service's `realm` is a whole URL, that is the realm of the challenge.
    """

    tokens: DemoTokenService

    def refusal(self, request: web.Request, scope: str | None) -> web.Response | None:
        """401 with a Bearer challenge, as of distribution's token controller."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        reason = None
        if scheme.lower() == "bearer":
            if self.tokens.claims(token) is None:
                reason = "invalid_token"
            elif scope is None or self.tokens.allows(token, scope):
                return None
            else:
                reason = "insufficient_scope"
        return unauthorized(self._challenge(request, scope, reason), _detail(scope))

    def _challenge(
        self, request: web.Request, scope: str | None, error: str | None
    ) -> str:
        # With the host that the client used, as a proxy in front would have it.
        origin = URL(f"{request.scheme}://{request.host}")
        parameters = {
            "realm": str(origin.join(URL(self.tokens.realm))),
            "service": self.tokens.service,
            "scope": scope,
            "error": error,
        }
        return "Bearer " + ",".join(
            f'{name}="{value}"' for name, value in parameters.items() if value
        )

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The token service's routes."""
        return self.tokens.routes()


def _detail(scope: str | None) -> object:
    if scope is None:
        return None
    kind, name, actions = split_scope(scope)
    named = {"Type": kind, "Class": "", "Name": name}
    return [{**named, "Action": action} for action in actions]


def basic_credential(request: web.Request) -> tuple[str, str] | None:
    """User name and password of a Basic `Authorization` (RFC 7617), if there is one."""
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
    response = error(401, "UNAUTHORIZED", "authentication required", detail)
    response.headers["WWW-Authenticate"] = challenge
    return response
