"""The text of a document that means something only as a whole."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Self

from auditor.errors import UsageError

# As JSON some five hundred megabytes in memory. A single object has a few kilobytes.
MAX_DOCUMENT_CHARS = 64 * 1024 * 1024


class WholeText:
    """Lines of a list that are put together. `first` is the number of the first."""

    def __init__(self, name: str, first: int = 1) -> None:
        self.name = name
        self.lines: list[str] = []
        self._first = first
        self._size = 0
        # Lines that were left out: before which of these, and how many in all.
        self._left_out: list[tuple[int, int]] = []

    def add(self, line: str) -> None:
        """Add a line. Raises `UsageError` where it becomes too large."""
        self._size += len(line) + 1
        if self._size > MAX_DOCUMENT_CHARS:
            raise UsageError(
                f"{self.name}: the document is larger than {MAX_DOCUMENT_CHARS:,}"
                " characters; JSON with an object a line is read without a limit, as"
                " `jq -c '.items[]'` makes of what kubectl prints"
            )
        self.lines.append(line)

    def extend(self, lines: Iterable[str]) -> None:
        """Add several lines."""
        for line in lines:
            self.add(line)

    def leave_out(self, count: int) -> None:
        """Count lines that are not held."""
        here, before = len(self.lines), 0
        if self._left_out:
            before = self._left_out[-1][1]
            if self._left_out[-1][0] == here:
                self._left_out.pop()
        self._left_out.append((here, before + count))

    def number(self, index: int) -> int:
        """The number in the list of the line at this index (from 0)."""
        place = bisect_right(self._left_out, index, key=lambda entry: entry[0])
        return self._first + index + (self._left_out[place - 1][1] if place else 0)

    def text(self) -> str:
        """The lines as one text. Raises `UsageError` for what is not UTF-8."""
        text = "\n".join(self.lines)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            number = self.number(text.count("\n", 0, error.start))
            raise UsageError(
                f"{self.name}:{number}: the line is not UTF-8 text"
            ) from None
        return text

    @classmethod
    def of(cls, lines: Iterable[str], name: str) -> Self:
        """All of these lines."""
        whole = cls(name)
        whole.extend(lines)
        return whole
