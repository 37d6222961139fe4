"""Lists that a server may have cut without saying so.

Some send their largest page and no `Link`. The distribution-spec ("Listing Tags") lets
a client name the last entry that it has seen and ask for what comes after: where
nothing comes, the list is whole; where something new does, it was cut there. A server
that does not know the parameter begins again, and it stays unknown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Generic

from auditor.errors import Failure, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.protocol.listed import SUSPICIOUS_COUNTS, Entry, Reading
from auditor.wire.response import Answer

# Gives the answer that lists what comes after an entry.
After = Callable[[str], Awaitable[Answer | Failure]]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What is known of the end of an answer that names no next page.

    `rest` goes on with the list, which was cut there; `checked`: nothing comes after
    it; `in_doubt`: that could not be found out. `lost`: the list is known to be cut,
    and how this part goes on is not told.
    """

    rest: Answer | None = None
    checked: bool = False
    lost: bool = False
    in_doubt: bool = False


class Ends(Generic[Entry]):
    """Judges the ends of one list's answers; without `after`, it knows nothing.

    `sizes` are those at which the server may have cut it.
    """

    def __init__(
        self,
        *,
        after: After | None,
        read: Callable[[Answer], Reading[Entry]],
        sizes: frozenset[int] = SUSPICIOUS_COUNTS,
    ) -> None:
        self._sizes = sizes
        self._after = after
        self._read = read
        self._has_links = False
        self._was_cut = False

    async def of(self, found: Reading[Entry]) -> End:
        """Whether the list ends with this answer, of which each is asked about once."""
        if found.following is not None:
            self._has_links = True  # so a missing one has a meaning
        if self._after is None or self._has_links or not self._may_be_cut(found):
            return End()
        end = await self._asked(names_of(found), self._after)
        if end.rest is not None:
            self._was_cut = True
        elif self._was_cut and not end.checked:
            return End(lost=True)
        return replace(end, in_doubt=end.rest is None and not end.checked)

    def _may_be_cut(self, found: Reading[Entry]) -> bool:
        """Whether an answer has a size at which servers cut, and no count to prove
        it."""
        return found.total is None and len(counted_of(found)) in self._sizes

    async def _asked(self, names: Sequence[str], after: After) -> End:
        # In a list without order, what is missing may be anywhere.
        if any(one >= other for one, other in pairwise(names)):
            return End()
        answer = await after(names[-1])
        if isinstance(answer, Failure) or not 200 <= answer.status < 300:
            return End()
        try:
            more = names_of(self._read(answer))
        except ProtocolError:
            return End()
        if not more:
            return End(checked=True)
        return End(rest=answer if min(more) > names[-1] else None)


def names_of(found: Reading[Entry]) -> Sequence[str]:
    """The entries of an answer that are names, or what it says of their names."""
    return [name for name in counted_of(found) if isinstance(name, str)]


def counted_of(found: Reading[Entry]) -> Sequence[object]:
    """What the product counts of an answer."""
    return found.entries if found.counted is None else found.counted
