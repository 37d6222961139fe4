"""JSON documents of any length, with the elements of their `items` one by one.

A Kubernetes list can have a hundred thousand pods of ten kilobytes. ijson parses it as
it arrives, however it is laid out, so only one element is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.list_reader import MAX_DOCUMENT_CHARS, ListReader
from auditor.util.text import safe_text

# Kubernetes' deepest objects, its CRD schemas, have some forty levels.
MAX_DEPTH = 100

_STARTS = frozenset({"start_map", "start_array"})
_ENDS = frozenset({"end_map", "end_array"})

_LINE_BREAKS_AS_BLANKS = bytes.maketrans(b"\r\n", b"  ")

_Events = Iterator[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class JsonElement:
    """An element of the array `items` of a document."""

    value: Any


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """A document after its elements: its members, with `items` empty if it is an
    array."""

    members: dict[str, Any]


def read_json_stream(reader: ListReader) -> Iterator[JsonElement | JsonDocument]:
    """The elements of each document, then the document without them.

    Raises `UsageError` for text that is not JSON, a document that is not an object, and
    values that are too large or nested too deeply.
    """
    import ijson  # noqa: PLC0415  (only such a list needs it)

    source = _Source(reader)
    try:
        # Several documents may follow each other, as kubectl prints them when it is
        # called several times.
        events = iter(ijson.basic_parse(source, multiple_values=True))
        for event, _ in events:
            if event != "start_map":
                raise source.error("the document is JSON but not an object")
            yield from _read_document(events, source)
    except ijson.JSONError as error:
        raise source.syntax_error(error) from None


class _Source:
    """The file object for ijson: blocks of the list, and the place of an error."""

    def __init__(self, reader: ListReader) -> None:
        self._name = reader.name
        self._blocks = reader.blocks(without_comments=True)
        self._block = b""
        self._line = 1  # of the start of the block
        self._size = 0

    def read(self, size: int) -> bytes:
        """The next block; ijson first reads 0 bytes to see the type."""
        block = next(self._blocks, b"") if size else b""
        if block:
            self._line += self._block.count(b"\n")
            self._block = block
            self._size += len(block)
            if self._size > MAX_DOCUMENT_CHARS + 2 * len(block):
                raise self.error(
                    f"an object is larger than {MAX_DOCUMENT_CHARS:,} bytes"
                )
        return block

    def value_ended(self) -> None:
        """Count the size limit from here."""
        self._size = 0

    def error(self, why: str) -> UsageError:
        """An error in the current block, of which only the first line is known."""
        return UsageError(f"{self._name}:{self._line}: {why}")

    def syntax_error(self, error: Exception) -> UsageError:
        """The error for yajl's message, which has three lines: the reason, the text
        around the position, and an arrow to the position. The text is not shown: it may
        contain a password."""
        # If the text is not UTF-8, ijson gives the `repr` of the bytes.
        text = str(error).removeprefix("b'").removeprefix('b"').replace("\\n", "\n")
        reason, around, arrow = [*text.split("\n"), "", ""][:3]
        for prefix in ("parse error: ", "lexical error: "):
            reason = reason.removeprefix(prefix)
        shown = around.strip()
        offset = -1
        if "premature EOF" in reason or "ncomplete" in reason:
            reason, offset = "the document is incomplete", len(self._block)
        elif shown:
            # yajl replaces line breaks in the text by blanks.
            block = self._block.translate(_LINE_BREAKS_AS_BLANKS)
            start = block.find(shown.encode())
            if start >= 0:
                indent = len(around) - len(around.lstrip())
                offset = start + max(0, arrow.find("^") - indent)
        place = self._name
        if offset >= 0:  # otherwise the position is not known
            line = self._line + self._block.count(b"\n", 0, offset)
            column = max(1, offset - self._block.rfind(b"\n", 0, offset) - 1)
            place = f"{place}:{line}:{column}"
        return UsageError(f"{place}: not JSON: {safe_text(reason.rstrip('.'), 120)}")


def _read_document(
    events: _Events, source: _Source
) -> Iterator[JsonElement | JsonDocument]:
    members: dict[str, Any] = {}
    for event, key in events:
        if event == "end_map":
            break
        event, value = next(events)  # noqa: PLW2901
        if key == "items" and event == "start_array":
            members[key] = []
            for event, value in events:  # noqa: PLW2901
                if event == "end_array":
                    break
                yield JsonElement(_read_value(event, value, events, source))
                source.value_ended()
        else:
            members[key] = _read_value(event, value, events, source)
    yield JsonDocument(members)
    source.value_ended()


def _read_value(event: str, value: Any, events: _Events, source: _Source) -> Any:
    if event not in _STARTS:
        return value
    from ijson.common import ObjectBuilder  # noqa: PLC0415

    builder = ObjectBuilder()
    builder.event(event, value)
    depth = 1
    for event, value in events:  # noqa: PLR1704
        builder.event(event, value)
        if event in _ENDS:
            depth -= 1
            if not depth:
                break
        elif event in _STARTS:
            depth += 1
            if depth > MAX_DEPTH:
                raise source.error(f"more than {MAX_DEPTH} levels")
    return builder.value
