"""The loop over pages ends, and says the truth of its end, whatever it is given."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.registry.listing.paging import SUSPICIOUS_COUNTS, Page, Reading, pages
from auditor.wire.response import Response

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

    async def get(url: str) -> Response | Failure:
        nonlocal asked
        asked += 1
        node = nodes[int(url) % len(nodes)]
        if node.wrong == "answer":
            return FAILURE
        return Response(status=200, headers=CIMultiDict(), body=b"", url=url)

    def read(answer: Response) -> Reading[str]:
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


# -- test_cut_lists --
# However a server cuts its lists: everything is read, or it is not called whole.


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Lists `names` in pages of `size`, with or without links.

    `knows_last`: it goes on after the name that a client gives.
    """

    names: list[str]
    size: int
    links: bool
    knows_last: bool

    def answer(self, first: int) -> Response:
        names = self.names[first : first + self.size]
        following = first + self.size if self.links else None
        if following is not None and following >= len(self.names):
            following = None
        return Response(
            status=200,
            headers=CIMultiDict(),
            body=orjson.dumps([names, following]),
            url=f"http://r/{first}",
        )

    async def get(self, url: str) -> Response | Failure:
        return self.answer(int(url.rpartition("/")[2]))

    async def after(self, name: str) -> Response | Failure:
        return self.answer(self.names.index(name) + 1 if self.knows_last else 0)

    def read(self, answer: Response) -> Reading[str]:
        names, following = orjson.loads(answer.body)
        url = None if following is None else f"http://r/{following}"
        return Reading(entries=names, following=url)


async def listed(server: Server) -> list[Page[str] | Failure]:
    return [
        page
        async for page in pages(
            server.answer(0),
            get=server.get,
            read=server.read,
            called="the list",
            after=server.after,
        )
    ]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 320) | st.sampled_from([100, 200, 300]),
    st.sampled_from([30, 100, 150]),
    st.booleans(),
    st.booleans(),
)
def test_a_list_is_read_whole_or_not_called_so(
    count: int, size: int, links: bool, knows_last: bool
) -> None:
    names = [f"{number:04}" for number in range(count)]
    server = Server(names=names, size=size, links=links, knows_last=knows_last)
    found = asyncio.run(listed(server))
    read = [page for page in found if isinstance(page, Page)]
    assert read == found
    came = [name for page in read for name in page.entries]
    assert came == names[: len(came)]
    assert read[-1].last
    if read[-1].checked or links or (knows_last and size in SUSPICIOUS_COUNTS):
        assert came == names
    # Nothing else has a size that tells of a cut: it cannot be known.
    if len(came) < count:
        assert not read[-1].checked
