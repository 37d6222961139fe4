"""A truncated listing is read completely, or its end is not verified."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from auditor.errors import Failure
from auditor.model import SUSPICIOUS_COUNTS
from auditor.registry.listing.interface import Page, ParsedPage
from auditor.registry.listing.paging import read_pages
from auditor.wire.response import Response


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


@settings(max_examples=150, deadline=None)
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
