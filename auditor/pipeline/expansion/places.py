"""Where the records of a share stand in the whole input, in the records' order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from auditor.input.steps import Turn


class Places:
    """Knows the turns of the entries that have no record yet, and tells those of the
    records as they are written. What an earlier run has kept has its record already.
    """

    def __init__(self, tell: Callable[[Turn], None]) -> None:
        self._tell = tell
        self._waiting: deque[tuple[Turn, bool]] = deque()

    def entry(self, turn: Turn, *, kept: bool) -> None:
        """The next entry of the input."""
        self._waiting.append((turn, kept))
        self._pass_kept()

    def made(self, *, written: bool) -> None:
        """The next entry that was not kept has come to its end, with a record or
        without."""
        turn, _ = self._waiting.popleft()
        if written:
            self._tell(turn)
        self._pass_kept()

    def _pass_kept(self) -> None:
        while self._waiting and self._waiting[0][1]:
            self._tell(self._waiting.popleft()[0])
