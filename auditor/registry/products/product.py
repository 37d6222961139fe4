"""A registry product's API: the paths of its listings, and what these return.

Each product has a file with a class that implements `Product`, without I/O. The sources
are the products' own API references.

`ProductLister` sends the requests, with the login of the registry: to the registry's
own origin, to the configured `api_url`, or to the API that is known to belong to a
registry (Docker Hub).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import field, replace
from enum import Enum
from typing import Protocol
from urllib.parse import urlencode

import orjson

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.fast_dataclass import dataclass
from auditor.model import SUSPICIOUS_COUNTS, Access, AccessState
from auditor.registry.auth.authorization import (
    ANONYMOUS,
    Authorization,
    Authorizer,
)
from auditor.registry.auth.token_service import MAX_TOKEN_RESPONSE_BYTES, basic_header
from auditor.registry.listing.interface import (
    Entry,
    ListedTag,
    Lister,
    Page,
    ParsedPage,
    incomplete,
)
from auditor.registry.listing.paging import read_pages
from auditor.registry.request import RequestKind, RequestSender
from auditor.util.tasks import SingleFlight
from auditor.wire.challenge import Challenge
from auditor.wire.credential import Credential, Login
from auditor.wire.redirect import Redirects
from auditor.wire.response import Response
from auditor.wire.retry_policy import failure_from_response
from auditor.wire.token import is_bearer_token


class LoginMethod(Enum):
    """How an API takes a login."""

    BASIC = "basic"
    BEARER = "bearer"  # the password is a token
    OAUTH_TOKEN = "oauth token"  # the same, if the user name is `$oauthtoken`
    EXCHANGE = "exchange"  # the API exchanges the login for a token
    REGISTRY = "registry"  # the same tokens as requests to the registry


class Product(Protocol):
    """One product's API. Paths begin with `/` and include the query.

    `max_page_size` is the largest page that the API grants. `pages_by_last`: the
    parameter `last` asks for the entries after one. Without `selects`, repositories are
    listed whatever the prefix. By default, tags are listed by the registry itself.
    `lists_untagged`: the listing at `manifests_path` has manifests without a tag.
    """

    name: str
    login_method: LoginMethod
    max_page_size: int
    pages_by_last: bool = False
    selects: bool = True
    lists_untagged: bool = False

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The first page of the repositories below a prefix, or of all repositories.

        None if the API cannot list all repositories and needs a prefix.
        """

    def other_repositories_path(self, prefix: str, size: int) -> str | None:
        """The path to use where the first one is answered with 404; None without it."""
        del prefix, size
        return None

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """The full names of the repositories; raises `ProtocolError` without a list."""

    def tags_path(self, repository: str, size: int) -> str | None:
        """The first page of a repository's tags; None to use the registry's listing."""
        del repository, size
        return None

    def other_tags_path(self, repository: str, size: int) -> str | None:
        """As `other_repositories_path`."""
        del repository, size
        return None

    def parse_tags(self, response: Response) -> ParsedPage[ListedTag]:
        """The tags in a response; raises the errors of `parse_repositories`."""
        del response
        return ParsedPage(entries=(), next_url=None)

    def manifests_path(self, repository: str, size: int) -> str | None:
        """The first page of a repository's tags and manifests without a tag."""
        return self.tags_path(repository, size)

    def parse_manifests(self, response: Response) -> ParsedPage[ListedTag]:
        """The tags, and the manifests without a tag, in a response."""
        return self.parse_tags(response)

    def refusal(self, response: Response) -> Failure | None:
        """What a 403 means at this API, if it is not a missing right."""
        del response
        return None


def first_component(prefix: str) -> str:
    """The namespace, project or owner that a prefix begins with."""
    return prefix.partition("/")[0]


# -- requests --

# A page of 1,000 tags with digests, platforms and times, at 16 KB each.
MAX_API_BYTES = 16 * 1024 * 1024
_FORBIDDEN = frozenset({403})
# Quay's user name for an OAuth token ("Using robot accounts and access tokens").
_OAUTH_USER = "$oauthtoken"


class ProductLister:
    """The listings of one registry by the API of its product.

    `credential` gives the credential of a repository or namespace, `registry_auth` the
    authorizer of the registry for a repository ("" is the catalog). Without a prefix,
    the namespaces in the settings are listed. `registry` lists the tags that the
    API does not list. With `untagged`, tags come with the manifests without a tag, if
    the API lists these. If the configured login does not fit the API, repositories are
    listed anonymously and end with a failure, because private ones are missing.
    """

    def __init__(
        self,
        product: Product,
        *,
        api_url: str,
        settings: RegistrySettings,
        sender: RequestSender,
        credential: Callable[[str], Awaitable[Credential | Failure | None]],
        registry_auth: Callable[[str], Authorizer],
        registry: Lister,
        untagged: bool = False,
    ) -> None:
        self._product = product
        self._sender = sender
        self._api_url = api_url
        self._registry_auth = registry_auth
        # The namespaces with the other path.
        self._others: set[str] = set()
        self._page_size = min(settings.page_size, product.max_page_size)
        self._namespaces = settings.list_namespaces
        self._auth = ApiAuthorizer(
            method=product.login_method,
            api_url=api_url,
            sender=sender,
            credential=credential,
        )
        self._registry = registry
        self._untagged = untagged and product.lists_untagged

    async def tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The tags of a repository, from the registry if the API answers 404.

        A proxy that decodes `%2F` in paths makes the API answer 404 for all names
        with a slash.
        """
        path, parse = self._product.tags_path, self._product.parse_tags
        if self._untagged:
            path, parse = self._product.manifests_path, self._product.parse_manifests
        first = path(repository, self._page_size)
        if first is not None:
            async for page in self._pages(
                first,
                parse,
                other=self._product.other_tags_path(repository, self._page_size),
                auth=replace(self._auth, name=repository),
                listing=f"tags of {repository}",
            ):
                # On later pages this is another kind of failure.
                if isinstance(page, Failure) and page.kind is FailureKind.NOT_FOUND:
                    first = None
                else:
                    yield page
        if first is None:
            async for page in self._registry.tags(repository):
                yield page

    async def repositories(
        self, prefix: str | None
    ) -> AsyncIterator[Page[str] | Failure]:
        """The repositories below a prefix, or in the configured namespaces.

        The pages of several namespaces are numbered as one listing. After a namespace
        that cannot be listed, it continues with the next one.
        """
        prefixes = (prefix,) if prefix is not None else self._namespaces or (None,)
        if not self._product.selects:
            prefixes = (None,)
        number = 0
        for index, namespace in enumerate(prefixes):
            is_last = index == len(prefixes) - 1
            count = 0
            async for page in self._namespace(namespace):
                if isinstance(page, Failure):
                    yield page
                    continue
                count = page.number
                yield replace(
                    page,
                    number=number + page.number,
                    last=page.last and is_last,
                    total=page.total if len(prefixes) == 1 else None,
                )
            number += count

    async def _namespace(
        self, namespace: str | None
    ) -> AsyncIterator[Page[str] | Failure]:
        path = self._product.repositories_path(namespace, self._page_size)
        if path is None:
            yield incomplete(
                f"{self._product.name} cannot list all repositories; put a namespace"
                " before the first * or into list_namespaces"
            )
            return
        # The owner of a namespace may have capitals, the repositories have none.
        auth = replace(self._auth, name=(namespace or "").lower())
        listing = "repositories" + (f" of {namespace}" if namespace else "")
        failed = False
        async for page in self._pages(
            path,
            self._product.parse_repositories,
            other=namespace
            and self._product.other_repositories_path(namespace, self._page_size),
            auth=auth,
            listing=listing,
        ):
            failed = failed or isinstance(page, Failure)
            yield page
        reason = None
        if not failed and self._product.login_method is not LoginMethod.REGISTRY:
            reason = await auth.unused_login()
        if reason is not None:
            yield incomplete(f"{listing}: only public ones are listed: {reason}")

    async def _pages(
        self,
        path: str,
        parse: Callable[[Response], ParsedPage[Entry]],
        *,
        other: str | None,
        auth: ApiAuthorizer,
        listing: str,
    ) -> AsyncIterator[Page[Entry] | Failure]:
        """The pages at `path`, or at the path `other` if that is answered with 404."""
        authorizer: Authorizer = auth
        if self._product.login_method is LoginMethod.REGISTRY:
            authorizer = self._registry_auth(auth.name)

        async def get(url: str) -> Response | Failure:
            return await self._get(url, authorizer)

        async def list_after(last: str) -> Response | Failure:
            after = "&" if "?" in path else "?"
            return await get(f"{self._api_url}{path}{after}{urlencode({'last': last})}")

        namespace = auth.name.partition("/")[0]
        if other is not None and namespace in self._others:
            path, other = other, path
        first = await get(self._api_url + path)
        is_missing = isinstance(first, Failure) and first.status == 404
        if is_missing and other is not None:
            path = other
            first = await get(self._api_url + path)
            if not isinstance(first, Failure):
                self._others ^= {namespace}
        async for page in read_pages(
            first,
            get=get,
            parse=parse,
            listing=listing,
            list_after=list_after if self._product.pages_by_last else None,
            sizes=SUSPICIOUS_COUNTS | {self._page_size},
        ):
            yield page

    async def _get(self, url: str, authorizer: Authorizer) -> Response | Failure:
        response = await self._sender.send(
            RequestKind.LIST,
            "GET",
            url,
            headers={"Accept": "application/json"},
            max_bytes=MAX_API_BYTES,
            authorizer=authorizer,
            accepted_statuses=_FORBIDDEN,
        )
        if isinstance(response, Response) and response.status in _FORBIDDEN:
            response = self._product.refusal(response) or failure_from_response(
                response
            )
        if not isinstance(response, Failure):
            return response
        # So that a denied API is not mistaken for a denied catalog.
        detail = f"the API of {self._product.name}: {response.detail}"
        return replace(response, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAuthorizer:
    """The `Authorizer` of the repository or namespace `name` at one API.

    `replace` makes an authorizer for another name, with the same tokens and rejected
    logins.
    """

    method: LoginMethod
    api_url: str
    sender: RequestSender
    credential: Callable[[str], Awaitable[Credential | Failure | None]]
    name: str = ""
    rejected: dict[Login, Failure] = field(default_factory=dict)
    tokens: dict[Login, Authorization] = field(default_factory=dict)
    flights: SingleFlight[Login, Authorization | Failure] = field(
        default_factory=SingleFlight
    )

    def cached(self) -> Authorization | None:
        """Always None: there are too few listings to need a cache."""
        return None

    async def authorization(self) -> Authorization | Failure:
        """A valid authorization, fetched if needed; anonymous if no login is usable."""
        login = await self.credential(self.name)
        if isinstance(login, Failure):
            return login
        if not isinstance(login, Login) or self._expected_instead(login) is not None:
            return ANONYMOUS
        if self.method is LoginMethod.EXCHANGE:
            return await self.flights.run(login, lambda: self._token(login))
        if login in self.rejected:
            return self.rejected[login]
        if self.method is LoginMethod.BASIC:
            return _authorization(basic_header(login), login)
        return _authorization(f"Bearer {login.password.reveal()}", login)

    async def unused_login(self) -> str | None:
        """Why the configured credential is not sent; None if it is, or none exists."""
        credential = await self.credential(self.name)
        if credential is None or isinstance(credential, Failure):
            return None
        expected = self._expected_instead(credential)
        if expected is None:
            return None
        account = f" of {credential.username!r}" if credential.username else ""
        return f"the login{account} was not used, because the API expects {expected}"

    def _expected_instead(self, credential: Credential) -> str | None:
        """The kind of credential that the API expects, if it does not take this one."""
        if not isinstance(credential, Login):
            return "a user name and a password"
        is_oauth = credential.username == _OAUTH_USER
        if self.method is LoginMethod.OAUTH_TOKEN and not is_oauth:
            return f"an OAuth token, with the user name {_OAUTH_USER}"
        return None

    async def after_401(
        self, refused: Authorization, challenge: Challenge | None
    ) -> Authorization | Failure:
        """Another authorization, if the refused one was an exchanged token.

        A password that was refused is not sent again: that locks accounts.
        """
        del challenge
        current = await self.authorization()
        if isinstance(current, Failure) or current.header != refused.header:
            return current  # a helper gave another login, or the token was renewed
        login = await self.credential(self.name)
        if current.header is None or not isinstance(login, Login):
            return _denied("the API requires a login, and none that fits is configured")
        if self.tokens.pop(login, None) is not None:
            return await self.authorization()
        failure = _denied(f"the API rejected the login of {login.username!r}")
        return self.rejected.setdefault(login, failure)

    async def elsewhere(
        self, refused: Authorization, challenge: Challenge, url: str
    ) -> None:
        """No authorization: no API is known to redirect to another host."""

    async def _token(self, login: Login) -> Authorization | Failure:
        """A token of Docker Hub ("Create access token"); it is valid for minutes."""
        if known := self.tokens.get(login) or self.rejected.get(login):
            return known
        body = {"identifier": login.username, "secret": login.password.reveal()}
        response = await self.sender.send(
            RequestKind.TOKEN,
            "POST",
            f"{self.api_url}/v2/auth/token",
            headers={"Content-Type": "application/json"},
            body=orjson.dumps(body),
            max_bytes=MAX_TOKEN_RESPONSE_BYTES,
            redirects=Redirects.REFUSED,
        )
        if isinstance(response, Failure):
            failure = response.at(Stage.TOKEN)
            if response.status is not None and not response.kind.retryable:
                self.rejected[login] = failure
            return failure
        try:
            token = parse_access_token(response.body)
        except ProtocolError as error:
            failure = Failure(kind=error.kind, detail=error.detail, stage=Stage.TOKEN)
            return self.rejected.setdefault(login, failure)
        self.tokens[login] = _authorization(f"Bearer {token}", login)
        return self.tokens[login]


def parse_access_token(body: bytes) -> str:
    """The `access_token` of a response; raises `ProtocolError` without one."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"the token response is not JSON: {error.msg}") from None
    token = document.get("access_token") if isinstance(document, dict) else None
    if not is_bearer_token(token):
        raise ProtocolError("the token response contains no token")
    return token


def _denied(detail: str) -> Failure:
    return Failure(
        kind=FailureKind.DENIED, stage=Stage.LIST, status=401, detail=f"{detail} (401)"
    )


def _authorization(header: str, login: Login) -> Authorization:
    return Authorization(
        header=header,
        # Not of an image: no record shows the source of the credential.
        access=Access(state=AccessState.UNVERIFIABLE, subject=login.username),
    )
