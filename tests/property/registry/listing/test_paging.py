"""Reading pages always ends, and a listing with gaps ends in a failure."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.registry.listing.interface import Page, ParsedPage
from auditor.registry.listing.paging import read_pages
from auditor.wire.response import Response

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


@settings(max_examples=200, deadline=None)
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
