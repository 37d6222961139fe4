"""The loop over pages ends, and says the truth of its end, whatever it is given."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.registry.listing.paging import Page, Reading, pages
from auditor.wire.response import Answer

FAILURE = Failure(kind=FailureKind.TIMEOUT, detail="too late")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A page: its entries, the page that it names, and what goes wrong with it."""

    entries: tuple[str, ...]
    following: int | None
    unreadable: int = 0
    total: int | None = None
    wrong: str = ""


NODES = st.lists(
    st.builds(
        Node,
        entries=st.lists(st.sampled_from("abcdefgh"), max_size=3).map(tuple),
        following=st.none() | st.integers(min_value=0, max_value=5),
        unreadable=st.sampled_from([0, 0, 0, 1]),
        total=st.none() | st.integers(min_value=0, max_value=8),
        wrong=st.sampled_from(["", "", "", "", "answer", "document", "link"]),
    ),
    min_size=1,
    max_size=6,
)


def walk(nodes: list[Node]) -> tuple[list[Page[str] | Failure], int]:
    """What the loop gives, and how many answers it took."""
    asked = 0

    async def get(url: str) -> Answer | Failure:
        nonlocal asked
        asked += 1
        node = nodes[int(url) % len(nodes)]
        if node.wrong == "answer":
            return FAILURE
        return Answer(status=200, headers=CIMultiDict(), body=b"", url=url)

    def read(answer: Answer) -> Reading[str]:
        node = nodes[int(answer.url) % len(nodes)]
        if node.wrong == "document":
            raise ProtocolError("not a list")
        following: str | Failure | None = None
        if node.following is not None:
            following = FAILURE if node.wrong == "link" else str(node.following)
        return Reading(
            entries=node.entries,
            following=following,
            unreadable=node.unreadable,
            total=node.total,
        )

    async def run() -> list[Page[str] | Failure]:
        first = await get("0")
        return [
            page async for page in pages(first, get=get, read=read, called="the list")
        ]

    # Nothing in it waits, so that it needs no event loop, which takes its time.
    with pytest.raises(StopIteration) as ended:
        run().send(None)
    return ended.value.value, asked


@settings(max_examples=200, deadline=None)
@given(NODES)
def test_any_pages_end_with_the_last_one_or_with_one_failure(nodes: list[Node]) -> None:
    found, asked = walk(nodes)
    assert asked <= len(nodes) + 1
    *before, end = found
    assert all(isinstance(page, Page) and not page.last for page in before)
    assert isinstance(end, Failure) or end.last
    read = [page for page in found if isinstance(page, Page)]
    assert [page.number for page in read] == list(range(1, len(read) + 1))
    if isinstance(end, Failure):
        assert end.stage in {Stage.LIST, FAILURE.stage}
        return
    # It ended well, so everything came that is counted, things told twice once.
    told = [index for index, page in enumerate(read) if page.total is not None]
    if told:
        named = {entry for page in read[told[0] :] for entry in page.entries}
        others = sum(len(page.entries) for page in read[: told[0]])
        unreadable = sum(page.unreadable for page in read)
        assert len(named) + others + unreadable >= (read[told[-1]].total or 0)
