"""Lists that a server may have cut without saying so.

Some send their largest page and no `Link`. The distribution-spec ("Listing Tags") lets
a client name the last entry that it has seen and ask for what comes after: where
nothing comes, the list is whole; where something new does, it was cut there. A server
that does not know the parameter sends the same again, and it stays unknown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise

from auditor.errors import Failure, ProtocolError
from auditor.protocol.answer import Answer
from auditor.protocol.listed import SUSPICIOUS_COUNTS

# Gives the answer that lists what comes after an entry.
After = Callable[[str], Awaitable[Answer | Failure]]


def may_be_cut(entries: Sequence[object], *, total: int | None) -> bool:
    """Whether an answer without a next page has a size at which servers cut."""
    return total is None and len(entries) in SUSPICIOUS_COUNTS


async def what_follows(
    names: Sequence[str],
    *,
    after: After,
    read: Callable[[Answer], Sequence[str]],
) -> Answer | bool:
    """The answer that goes on where `names` end; else whether they are known to be all.

    Only what is in order can be asked so: in a list without one, what is missing may
    be anywhere.
    """
    if any(one >= other for one, other in pairwise(names)):
        return False
    answer = await after(names[-1])
    if isinstance(answer, Failure) or not 200 <= answer.status < 300:
        return False
    try:
        more = read(answer)
    except ProtocolError:
        return False
    if not more:
        return True
    return answer if set(more).isdisjoint(names) else False
