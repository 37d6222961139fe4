"""Reading pages ends: with all entries, an end that is not verified, or a failure."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.model import SUSPICIOUS_COUNTS
from auditor.registry.listing.interface import Page, ParsedPage
from auditor.registry.listing.paging import read_pages
from auditor.wire.response import Response
from tests.examples import examples

FAILURE = Failure(kind=FailureKind.TIMEOUT, detail="too late")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A page: its entries, the number of its next page, and what is wrong with it."""

    entries: tuple[str, ...]
    next_page: int | None
    unreadable: int = 0
    total: int | None = None
    wrong: str = ""


NODES = st.lists(
    st.builds(
        Node,
        entries=st.lists(st.sampled_from("abcdefgh"), max_size=3).map(tuple),
        next_page=st.none() | st.integers(min_value=0, max_value=5),
        unreadable=st.sampled_from([0, 0, 0, 1]),
        total=st.none() | st.integers(min_value=0, max_value=8),
        wrong=st.sampled_from(["", "", "", "", "response", "document", "link"]),
    ),
    min_size=1,
    max_size=6,
)


def walk(nodes: list[Node]) -> tuple[list[Page[str] | Failure], int]:
    """The pages of the listing, and the number of requests."""
    requests = 0

    async def get(url: str) -> Response | Failure:
        nonlocal requests
        requests += 1
        node = nodes[int(url) % len(nodes)]
        if node.wrong == "response":
            return FAILURE
        return Response(status=200, headers=CIMultiDict(), body=b"", url=url)

    def parse(response: Response) -> ParsedPage[str]:
        node = nodes[int(response.url) % len(nodes)]
        if node.wrong == "document":
            raise ProtocolError("not a list")
        next_url: str | Failure | None = None
        if node.next_page is not None:
            next_url = FAILURE if node.wrong == "link" else str(node.next_page)
        return ParsedPage(
            entries=node.entries,
            next_url=next_url,
            unreadable=node.unreadable,
            total=node.total,
        )

    async def run() -> list[Page[str] | Failure]:
        first = await get("0")
        return [
            page
            async for page in read_pages(
                first, get=get, parse=parse, listing="the listing"
            )
        ]

    # It never waits, so it runs without an event loop, which would be slower.
    with pytest.raises(StopIteration) as ended:
        run().send(None)
    return ended.value.value, requests


@examples(200)
@given(NODES)
def test_a_listing_ends_with_a_last_page_or_with_one_failure(nodes: list[Node]) -> None:
    found, requests = walk(nodes)
    assert requests <= len(nodes) + 1
    *before, end = found
    assert all(isinstance(page, Page) and not page.last for page in before)
    assert isinstance(end, Failure) or end.last
    read = [page for page in found if isinstance(page, Page)]
    assert [page.number for page in read] == list(range(1, len(read) + 1))
    if isinstance(end, Failure):
        assert end.stage in {Stage.LIST, FAILURE.stage}
        return
    # Complete: as many entries came as the product counts, repeated ones once.
    counted = [index for index, page in enumerate(read) if page.total is not None]
    if counted:
        entries = {entry for page in read[counted[0] :] for entry in page.entries}
        others = sum(len(page.entries) for page in read[: counted[0]])
        unreadable = sum(page.unreadable for page in read)
        assert len(entries) + others + unreadable >= (read[counted[-1]].total or 0)


# -- truncated listings -----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A registry that lists `names` in pages of `size`, with or without links.

    `knows_last`: it supports `last`, the name after which a page begins.
    """

    names: list[str]
    size: int
    links: bool
    knows_last: bool

    def page(self, first: int) -> Response:
        names = self.names[first : first + self.size]
        next_first = first + self.size if self.links else None
        if next_first is not None and next_first >= len(self.names):
            next_first = None
        return Response(
            status=200,
            headers=CIMultiDict(),
            body=orjson.dumps([names, next_first]),
            url=f"http://r/{first}",
        )

    async def get(self, url: str) -> Response | Failure:
        return self.page(int(url.rpartition("/")[2]))

    async def list_after(self, name: str) -> Response | Failure:
        return self.page(self.names.index(name) + 1 if self.knows_last else 0)

    def parse(self, response: Response) -> ParsedPage[str]:
        names, next_first = orjson.loads(response.body)
        next_url = None if next_first is None else f"http://r/{next_first}"
        return ParsedPage(entries=names, next_url=next_url)


async def listed(server: Server) -> list[Page[str] | Failure]:
    return [
        page
        async for page in read_pages(
            server.page(0),
            get=server.get,
            parse=server.parse,
            listing="the listing",
            list_after=server.list_after,
        )
    ]


@examples(150)
@given(
    st.integers(0, 320) | st.sampled_from([100, 200, 300]),
    st.sampled_from([30, 100, 150]),
    st.booleans(),
    st.booleans(),
)
def test_a_truncated_listing_is_read_completely_or_not_verified(
    count: int, size: int, links: bool, knows_last: bool
) -> None:
    names = [f"{number:04}" for number in range(count)]
    server = Server(names=names, size=size, links=links, knows_last=knows_last)
    pages = asyncio.run(listed(server))
    read = [page for page in pages if isinstance(page, Page)]
    assert read == pages
    names_read = [name for page in read for name in page.entries]
    assert names_read == names[: len(names_read)]
    assert read[-1].last
    if read[-1].end_verified or links or (knows_last and size in SUSPICIOUS_COUNTS):
        assert names_read == names
    # At any other page size, truncation cannot be detected.
    if len(names_read) < count:
        assert not read[-1].end_verified
