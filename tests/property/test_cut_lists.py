"""However a server cuts its lists: everything is read, or it is not called whole."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from auditor.errors import Failure
from auditor.registry.listing.paging import SUSPICIOUS_COUNTS, Page, Reading, pages
from auditor.wire.response import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Lists `names` in pages of `size`, with or without links.

    `knows_last`: it goes on after the name that a client gives.
    """

    names: list[str]
    size: int
    links: bool
    knows_last: bool

    def answer(self, first: int) -> Answer:
        names = self.names[first : first + self.size]
        following = first + self.size if self.links else None
        if following is not None and following >= len(self.names):
            following = None
        return Answer(
            status=200,
            headers=CIMultiDict(),
            body=orjson.dumps([names, following]),
            url=f"http://r/{first}",
        )

    async def get(self, url: str) -> Answer | Failure:
        return self.answer(int(url.rpartition("/")[2]))

    async def after(self, name: str) -> Answer | Failure:
        return self.answer(self.names.index(name) + 1 if self.knows_last else 0)

    def read(self, answer: Answer) -> Reading[str]:
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
