"""One registry: manifests, blobs and tag lists (OCI distribution-spec v1.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlencode

import orjson

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.protocol.answer import Answer
from auditor.protocol.digest import check_digest
from auditor.protocol.link import next_page
from auditor.protocol.media_types import ACCEPT_MANIFESTS
from auditor.protocol.realm import is_loopback_host, origin_of
from auditor.protocol.reference import api_host
from auditor.protocol.scope import pull_scope
from auditor.registry.auth import HostAuth, ScopeAuth
from auditor.registry.clock import Clock
from auditor.registry.credentials import Credential
from auditor.registry.exchange import Exchange, RequestCounts, RequestKind
from auditor.registry.plan import HostPlan
from auditor.registry.politeness import Politeness
from auditor.registry.token_service import TokenService
from auditor.registry.transport import Timeouts, Transport

if TYPE_CHECKING:
    from auditor.protocol.keys import KeySet

# A page of 1,000 tags of at most 128 characters is 132 KB. Some registries ignore
# `n` and send a whole list: a million tags fit in this.
MAX_LIST_BYTES = 128 * 1024 * 1024
# A list that is longer than this many pages is a loop that changes its links.
MAX_PAGES = 100_000
# Asked for when a page of the configured size is refused or times out.
SMALL_PAGE = 100

_MANIFEST_HEADERS = {"Accept": ACCEPT_MANIFESTS}
_BLOB_HEADERS = {"Accept": "*/*"}
_LIST_HEADERS = {"Accept": "application/json"}
# Statuses with which products refuse a page size.
_REFUSES_SIZE = frozenset({400, 405})


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list. `number` counts from 1, `unreadable` what is no string."""

    names: tuple[str, ...]
    unreadable: int
    number: int
    last: bool


class Registry:
    """A registry host. Use it as an async context manager."""

    def __init__(
        self,
        name: str,
        *,
        settings: RegistrySettings,
        credential: Credential | Failure | None,
        keys: KeySet | None,
        clock: Clock,
        counts: RequestCounts,
    ) -> None:
        self.name = name
        self.settings = settings
        host = api_host(name)
        self.base_url = f"{_scheme(host, settings)}://{host}"
        origin = origin_of(self.base_url)
        self._transport = Transport(
            origin=origin,
            most_at_once=settings.requests_at_once,
            timeouts=Timeouts(
                connect_s=settings.connect_timeout_s,
                read_s=settings.read_timeout_s,
                request_s=settings.request_timeout_s,
            ),
            ca_file=settings.ca_file,
            allowed_hosts=_allowed_hosts(settings),
        )
        self._exchange, token_exchange = (
            Exchange(
                transport=self._transport,
                politeness=Politeness(
                    most_at_once=settings.requests_at_once, clock=clock
                ),
                clock=clock,
                tries=settings.tries,
                counts=counts,
            )
            for _ in range(2)  # the token service has slots of its own
        )
        self.auth = HostAuth(
            plan=HostPlan(
                ping_url=f"{self.base_url}/v2/",
                settings=settings,
                exchange=self._exchange,
                clock=clock,
            ),
            credential=credential,
            service=TokenService(
                origin=origin,
                settings=settings,
                credential=credential if isinstance(credential, Credential) else None,
                keys=keys,
                exchange=token_exchange,
                clock=clock,
            ),
            clock=clock,
        )

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._transport.__aexit__(exc_type, exc, traceback)

    def pull_auth(self, repository: str) -> ScopeAuth:
        """The authorizer for pulling from `repository`."""
        return self.auth.for_scope(pull_scope(repository))

    # -- manifests and blobs ---------------------------------------------------

    async def get_manifest(self, repository: str, reference: str) -> Answer | Failure:
        """The raw answer for a tag or a digest (spec: "Pulling manifests")."""
        return await self._exchange.send(
            RequestKind.MANIFEST,
            "GET",
            f"{self.base_url}/v2/{repository}/manifests/{reference}",
            headers=_MANIFEST_HEADERS,
            max_bytes=self.settings.max_manifest_bytes,
            authorizer=self.pull_auth(repository),
        )

    async def get_blob(self, repository: str, digest: str) -> bytes | Failure:
        """A small blob's verified bytes (spec: "Pulling blobs").

        The cap is that of manifests: only configs are fetched.
        """
        answer = await self._exchange.send(
            RequestKind.BLOB,
            "GET",
            f"{self.base_url}/v2/{repository}/blobs/{digest}",
            headers=_BLOB_HEADERS,
            max_bytes=self.settings.max_manifest_bytes,
            authorizer=self.pull_auth(repository),
        )
        if isinstance(answer, Failure):
            return answer.at(Stage.CONFIG)
        try:
            check_digest(answer.body, digest, "blob")
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail, stage=Stage.CONFIG)
        return answer.body

    # -- lists -----------------------------------------------------------------

    async def list_tags(self, repository: str) -> AsyncIterator[Page | Failure]:
        """The pages of a repository's tags, then nothing or one `Failure`.

        Spec: "Listing Tags". The `Link` of each page is followed as it is; a page
        that was seen before or holds nothing new ends the list as a failure.
        """
        size: int | None = self.settings.page_size
        path = f"{self.base_url}/v2/{repository}/tags/list"
        url = f"{path}?{urlencode({'n': size})}"
        seen_urls = {url}
        seen_pages: set[int] = set()
        number = 0
        while True:
            answer = await self._exchange.send(
                RequestKind.LIST,
                "GET",
                url,
                headers=_LIST_HEADERS,
                max_bytes=MAX_LIST_BYTES,
                authorizer=self.pull_auth(repository),
                wanted=_REFUSES_SIZE if size is not None and number == 0 else (),
            )
            if isinstance(answer, Failure):
                if _timed_out(answer) and number == 0 and size and size > SMALL_PAGE:
                    size = SMALL_PAGE
                    url = f"{path}?{urlencode({'n': size})}"
                    continue
                yield _list_failure(answer, number)
                return
            if answer.status in _REFUSES_SIZE:
                size, url = None, path
                continue
            number += 1
            try:
                names, unreadable = _names(answer.body, "tags")
            except ProtocolError as error:
                failure = Failure(kind=error.kind, detail=error.detail)
                yield _list_failure(failure, number - 1)
                return
            following: str | Failure | None
            try:
                following = next_page(answer.headers.getall("Link", ()), answer.url)
            except ProtocolError as error:
                following = _incomplete(error.detail)
            yield Page(
                names=names,
                unreadable=unreadable,
                number=number,
                last=following is None,
            )
            if isinstance(following, Failure):
                yield following
            if following is None or isinstance(following, Failure):
                return
            page = hash(names)
            if following in seen_urls or page in seen_pages or number >= MAX_PAGES:
                yield _incomplete(f"the list of {repository} goes round in circles")
                return
            seen_urls.add(following)
            seen_pages.add(page)
            url = following


def _scheme(host: str, settings: RegistrySettings) -> str:
    """Plain HTTP where the user says so, and, as container tools have it, on a
    loopback address of which the user says nothing."""
    if settings.insecure_http is not None:
        return "http" if settings.insecure_http else "https"
    local = is_loopback_host(origin_of(f"https://{host}").host)
    return "http" if local and settings.ca_file is None else "https"


def _allowed_hosts(settings: RegistrySettings) -> frozenset[str]:
    hosts = set(settings.realm_hosts)
    if settings.token_url:
        hosts.add(origin_of(settings.token_url).host)
    return frozenset(hosts)


def _names(body: bytes, key: str) -> tuple[tuple[str, ...], int]:
    """The strings of a list answer, and how many entries are neither string nor null.

    `null` where a list should be is an empty one (Go writes it so).
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"the list is not JSON: {error.msg}") from None
    if not isinstance(document, dict):
        raise ProtocolError("the list is JSON but not an object")
    if key not in document:
        raise ProtocolError(f'the list holds no "{key}"')
    entries = document[key]
    if entries is None:
        return (), 0
    if not isinstance(entries, list):
        raise ProtocolError(f'the "{key}" of the list is not a list')
    names = tuple(name for name in entries if isinstance(name, str))
    # Some products put a null where a name was deleted.
    nulls = sum(entry is None for entry in entries)
    return names, len(entries) - len(names) - nulls


def _timed_out(failure: Failure) -> bool:
    return failure.kind is FailureKind.TIMEOUT or failure.status == 504


def _list_failure(failure: Failure, pages: int) -> Failure:
    if pages == 0:
        return failure.at(Stage.LIST)
    return _incomplete(f"after {pages} good pages: {failure.detail}")


def _incomplete(detail: str) -> Failure:
    return Failure(kind=FailureKind.INCOMPLETE_LISTING, detail=detail, stage=Stage.LIST)
