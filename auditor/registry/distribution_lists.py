"""The lists of the registry API itself (OCI distribution-spec v1.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from urllib.parse import urlencode

import orjson

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.protocol.link import next_page
from auditor.registry.authorization import Authorizer
from auditor.registry.exchange import Exchange, RequestKind
from auditor.registry.lister import Page

# A page of 1,000 tags of at most 128 characters is 132 KB. Some registries ignore
# `n` and send a whole list: a million tags fit in this.
MAX_LIST_BYTES = 128 * 1024 * 1024
# A list that is longer than this many pages is a loop that changes its links.
MAX_PAGES = 100_000
# Asked for when a page of the configured size is refused or times out.
SMALL_PAGE = 100

_LIST_HEADERS = {"Accept": "application/json"}
# Statuses with which products refuse a page size.
_REFUSES_SIZE = frozenset({400, 405})


class DistributionLists:
    """A registry's lists, as its `/v2/` API gives them."""

    def __init__(
        self,
        base_url: str,
        *,
        page_size: int,
        exchange: Exchange,
        pull_auth: Callable[[str], Authorizer],
    ) -> None:
        self._base_url = base_url
        self._page_size = page_size
        self._exchange = exchange
        self._pull_auth = pull_auth

    async def tags(self, repository: str) -> AsyncIterator[Page | Failure]:
        """The pages of a repository's tags, then nothing or one `Failure`.

        Spec: "Listing Tags". The `Link` of each page is followed as it is; a page
        that was seen before or holds nothing new ends the list as a failure.
        """
        size: int | None = self._page_size
        path = f"{self._base_url}/v2/{repository}/tags/list"
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
                authorizer=self._pull_auth(repository),
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
