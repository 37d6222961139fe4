"""The token service of one registry: requests a token for one scope.

This is the exchange of the article "How do I use API V2 with DTR?":

    GET https://$host/auth/v2/token/?service=$host&scope=repository:$reponame:pull
    Authorization: Basic $username:$password

The realm (the URL) and the service come from the registry's challenge, the scope from
the repository; the `access` claim of the token in the response holds the grant.

Sources: distribution, "Token Authentication Specification" (GET with Basic) and
"OAuth2 Token Authentication" (POST with a refresh token).
"""

from __future__ import annotations

import base64
from dataclasses import field, replace
from typing import TYPE_CHECKING

import anyio

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.fast_dataclass import dataclass
from auditor.registry.auth.authorization import (
    REFUSAL_HOLD_S,
    CachedToken,
    TokenKey,
)
from auditor.registry.auth.docker_config import TOKEN_USER, FoundCredential
from auditor.registry.request import RequestKind, RequestSender
from auditor.util.clock import Clock
from auditor.util.secret import KnownSecrets
from auditor.util.text import safe_url
from auditor.wire.challenge import parse_scope
from auditor.wire.cloud_hosts import cloud_of_url
from auditor.wire.credential import Credential, IdentityToken, Login
from auditor.wire.error_body import error_sentence
from auditor.wire.redirect import Redirects
from auditor.wire.response import Response
from auditor.wire.retry_policy import (
    RETRYABLE_STATUSES,
    TOKEN_SERVICE,
    failure_from_response,
)
from auditor.wire.token import access_of, parse_token_response, refresh_form
from auditor.wire.url_policy import Origin, check_realm, origin_of, token_url

if TYPE_CHECKING:
    from auditor.util.secret import Secret
    from auditor.wire.token_keys import KeySet

# A token response is a JWT and a few fields; the largest seen hold some dozen grants.
MAX_TOKEN_RESPONSE_BYTES = 64 * 1024
# Statuses that reject a credential or a scope: 401, 403 (olareg, GitLab), and 400 from
# ECR's public service when the password has expired; others, if the URL is wrong.
_REFUSED = frozenset(range(400, 500)) - RETRYABLE_STATUSES
# Statuses that may mean that POST is not supported: GCR 404, Artifactory 401, ACR 400
# for an unknown grant type, others 405 (containerd, remotes/docker/authorizer.go).
_NO_POST = frozenset({400, 401, 404, 405})
_EXPIRED = 400
_REJECTED = frozenset({_EXPIRED, 401, 403})


@dataclass(eq=False, kw_only=True)
class TokenService:
    """Requests tokens with one credential, or anonymously.

    A login is sent by GET with Basic. An identity token is sent by POST, or, if the
    service does not support that, by GET in place of a password.
    """

    origin: Origin
    settings: RegistrySettings
    found: FoundCredential | None
    keys: KeySet | None
    sender: RequestSender
    clock: Clock
    secrets: KnownSecrets = field(default_factory=KnownSecrets)

    def __post_init__(self) -> None:
        self._credential = None if self.found is None else self.found.credential
        self._rejected: Failure | None = None
        # Monotonic seconds; None until the service accepts the credential.
        self._accepted_at: float | None = None
        self._one_at_a_time = anyio.Lock()
        self._use_post = isinstance(self._credential, IdentityToken)
        self._rotates = False

    async def fetch(self, key: TokenKey) -> CachedToken | Failure:
        """Request the token for the one scope of `key`.

        The first request with a credential runs alone, and a credential that was
        rejected is not sent again: repeated wrong passwords lock accounts.
        """
        outcome = await self._fetch_once_accepted(key)
        return outcome.at(Stage.TOKEN) if isinstance(outcome, Failure) else outcome

    async def _fetch_once_accepted(self, key: TokenKey) -> CachedToken | Failure:
        is_accepted = self._accepted_at is not None
        if self._credential is not None and (self._rotates or not is_accepted):
            async with self._one_at_a_time:
                # A service that replaces the identity token with each response
                # accepts it once: then all requests run one at a time.
                if self._rejected is None and (
                    self._rotates or self._accepted_at is None
                ):
                    return await self._fetch(key)
        if self._rejected is not None:
            return self._rejected
        return await self._fetch(key)

    async def _fetch(self, key: TokenKey) -> CachedToken | Failure:
        try:
            realm = allowed_realm(
                key.realm,
                registry=self.origin,
                settings=self.settings,
                found=self.found,
            )
            scope = parse_scope(key.scope) if key.scope else None
            url = token_url(realm, service=key.service, scope=scope)
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail)
        # What is no token may be a page of a proxy, or cut: asked again, once.
        for is_last in (False, True):
            sent_at = self.clock.monotonic()
            response = await self._request(realm, url, key, new_connection=is_last)
            if isinstance(response, Failure):
                if response.kind is FailureKind.REDIRECT_REFUSED:
                    return await self._no_token(response, realm, key)
                return response
            if response.status in _REFUSED:
                return await self._refusal(response, realm, key)
            try:
                parsed = parse_token_response(response.body)
                break
            except ProtocolError as error:
                failure = Failure(
                    kind=error.kind, detail=error.detail, status=response.status
                )
                failure = await self._no_token(failure, realm, key)
                if is_last or self._uses_post or self._rejected is not None:
                    return failure
        self._accepted_at = sent_at
        self._adopt(parsed.refresh_token)
        token = parsed.token.reveal()
        return CachedToken(
            key=key,
            authorization="Bearer " + token,
            access=access_of(
                token,
                scope.name if scope else "",
                resource=scope.type if scope else "repository",
                verified=self._is_verified(token, key.service),
                credential=None if self.found is None else self.found.source,
            ),
            obtained_at=sent_at,
            expires_at=sent_at + parsed.expires_in_s,
        )

    @property
    def _uses_post(self) -> bool:
        """Whether an identity token is sent, which a service may accept only once."""
        return self._use_post and isinstance(self._credential, IdentityToken)

    async def _request(
        self, realm: str, url: str, key: TokenKey, *, new_connection: bool = False
    ) -> Response | Failure:
        credential = self._credential
        if isinstance(credential, IdentityToken) and self._use_post:
            supported = self._accepted_at is not None
            response = await self._send(
                "POST",
                realm,
                {"Content-Type": "application/x-www-form-urlencoded"},
                refresh_form(credential.token, service=key.service, scope=key.scope),
            )
            if isinstance(response, Failure) or supported:
                return response
            if response.status not in _NO_POST:
                return response
            self._use_post = False
        headers = {}
        if credential is not None:
            headers["Authorization"] = basic_header(credential)
        return await self._send("GET", url, headers, new_connection=new_connection)

    async def _send(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | None = None,
        *,
        new_connection: bool = False,
    ) -> Response | Failure:
        return await self.sender.send(
            RequestKind.TOKEN,
            method,
            url,
            headers=headers,
            max_bytes=MAX_TOKEN_RESPONSE_BYTES,
            body=body,
            new_connection=new_connection,
            redirects=Redirects.REFUSED,
            accepted_statuses=_REFUSED,
        )

    async def _refusal(self, response: Response, realm: str, key: TokenKey) -> Failure:
        """The failure for a refused token request.

        The credential is not sent again unless it is only the scope that is refused.
        """
        failure = failure_from_response(response, server=TOKEN_SERVICE)
        if self.found is None:
            if response.status == 401:
                host = origin_of(realm).name
                detail = f"{TOKEN_SERVICE} {host} requires a login (401)"
                return replace(failure, detail=detail)
            return failure
        name, now = self.found.name, self.clock.monotonic()
        is_first_401 = response.status == 401 and self._accepted_at is None
        if not is_first_401 and await self._is_only_the_scope(realm, key, now):
            message = error_sentence(
                response.body,
                content_type=response.content_type,
                status=response.status,
            )
            detail = (
                f"{TOKEN_SERVICE} refused {name} a token for {key.scope}"
                f" ({response.status}" + (f": {message})" if message else ")")
            )
            return replace(failure, detail=detail)
        if response.status not in _REJECTED:
            # No login is refused with it: the realm may be a wrong URL.
            detail = f"{failure.detail}; the token was requested from {safe_url(realm)}"
            self._rejected = replace(failure, detail=detail)
            return self._rejected
        expired = ", which may have expired" if response.status == _EXPIRED else ""
        self._rejected = replace(
            failure,
            kind=FailureKind.DENIED,
            detail=f"{TOKEN_SERVICE} {origin_of(realm).name} rejected {name}"
            f" ({failure.status}); check the"
            f" credential in {self.found.location}{expired}",
        )
        return self._rejected

    async def _no_token(self, failure: Failure, realm: str, key: TokenKey) -> Failure:
        """The failure for a redirect, a web page or other documents without a token.

        Sites with a page to log in answer a wrong password so. As for a refusal, the
        credential is not sent again unless it is only the scope.
        """
        now = self.clock.monotonic()
        if self.found is None or await self._is_only_the_scope(realm, key, now):
            return failure
        detail = (
            f"{failure.detail}; if {safe_url(realm)} is the token service, check"
            f" {self.found.name} in {self.found.location}"
        )
        self._rejected = replace(failure, detail=detail)
        return self._rejected

    async def _is_only_the_scope(self, realm: str, key: TokenKey, now: float) -> bool:
        """Whether a credential that was refused a scope is still accepted.

        To find out, a token without a scope is requested, as `docker login` does.
        """
        accepted_at = self._accepted_at
        if accepted_at is not None and now < accepted_at + REFUSAL_HOLD_S:
            return True
        if key.scope is None:
            return False
        key = replace(key, scope=None)
        url = token_url(realm, service=key.service, scope=None)
        response = await self._request(realm, url, key)
        if isinstance(response, Failure):
            # Otherwise not known: the service may be down by now.
            return response.kind is not FailureKind.REDIRECT_REFUSED
        if response.status in _REFUSED:
            return False
        try:
            parsed = parse_token_response(response.body)
        except ProtocolError:
            return False
        self._accepted_at = now
        self._adopt(parsed.refresh_token)
        return True

    def _adopt(self, refresh_token: Secret | None) -> None:
        """Use the identity token that replaces the one sent (RFC 6749 section 6)."""
        credential = self._credential
        if (
            isinstance(credential, IdentityToken)
            and self._use_post
            and refresh_token is not None
            and refresh_token != credential.token
        ):
            self.secrets.add(refresh_token)
            self._credential = replace(credential, token=refresh_token)
            self._rotates = True

    def _is_verified(self, token: str, service: str | None) -> bool:
        if self.keys is None:
            return False
        # Loads the cryptography library, which only runs with keys need.
        from auditor.wire.token_keys import verify_token  # noqa: PLC0415

        now = self.clock.epoch()
        return verify_token(token, self.keys, audience=service, now=now).verified


def allowed_realm(
    realm: str,
    *,
    registry: Origin,
    settings: RegistrySettings,
    found: FoundCredential | None = None,
) -> str:
    """The realm, if a credential may be sent to it.

    Raises `ProtocolError(REALM_REFUSED)` otherwise. A login with the identity of this
    machine (`found`) is sent to hosts of its cloud only, whatever is configured.
    """
    if found is not None and found.machine is not None:
        host, cloud = cloud_of_url(realm), found.machine.cloud
        if host is None or host.cloud is not cloud:
            raise ProtocolError(
                f"{safe_url(realm)} is no https URL of {cloud.display_name}: it does"
                f" not get this machine's {cloud.display_name} identity; configure"
                " another login, or cloud_login = off",
                FailureKind.REALM_REFUSED,
            )
    if realm == settings.token_url:
        return realm  # configured by the user
    return check_realm(realm, registry=registry, allowed_hosts=settings.realm_hosts)


def basic_header(credential: Credential) -> str:
    """The Authorization field for Basic (RFC 7617, UTF-8).

    A token takes the place of the password; without a user name, docker's name for
    identity tokens is sent.
    """
    secret = credential.password if isinstance(credential, Login) else credential.token
    pair = f"{credential.username or TOKEN_USER}:{secret.reveal()}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")
