"""YAML as plain dictionaries, lists and texts, in bounded memory.

Built from the parser's events: no tag makes an object, and what aliases stand for is
counted as often as it is meant, so that a few lines cannot mean a billion values.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import field
from typing import Any, Self

import orjson

from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.kubernetes import is_kubernetes
from auditor.util.text import safe_text

# Some 100 MB of texts and dictionaries: four thousand pods of 250 values.
MAX_VALUES = 1_000_000
# Kubernetes' deepest objects, its CRD schemas, have some forty levels.
MAX_DEPTH = 100

# YAML 1.2 section 10.3.2 (core schema): plain scalars that are null.
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_MERGE = "<<"


class Text(str):
    """A scalar as it is written (`1.10` stays `1.10`), and the line it stands on."""

    __slots__ = ("line",)
    line: int


def line_of(value: object) -> int | None:
    """The line that a value of a YAML document stands on; null for other values."""
    return value.line if isinstance(value, Text) else None


def read_yaml(text: str, name: str) -> Iterator[Any]:
    """The documents of a YAML stream, of `dict`, `list`, `Text` and null.

    Merge keys (`<<`) are carried out. Raises `UsageError`, with the line, for what is
    not YAML, a key that stands twice, and what is beyond the limits.
    """
    import yaml  # noqa: PLC0415  (only who has such a list needs it)

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree = _Tree(name)
    try:
        for event in yaml.parse(text, Loader=loader):
            if event.start_mark is not None:
                tree.line = event.start_mark.line + 1
            match event:
                case yaml.ScalarEvent():
                    tree.scalar(event.value, event.anchor, plain=event.implicit[0])
                case yaml.AliasEvent():
                    tree.alias(event.anchor)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    is_mapping = isinstance(event, yaml.MappingStartEvent)
                    tree.start(event.anchor, is_mapping=is_mapping)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    tree.end()
                case yaml.DocumentEndEvent():
                    yield tree.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        reason = safe_text(str(error.problem or error.context), 120)
        raise UsageError(f"{place}: not YAML: {reason}") from None
    except yaml.YAMLError as error:
        reason = safe_text(str(error).partition("\n")[0], 120)
        raise UsageError(f"{name}: not YAML: {reason}") from None


@dataclass(slots=True, kw_only=True)
class _Open:
    """A collection that has not ended. Of a mapping: key, value, key, value."""

    is_mapping: bool
    anchor: str | None
    line: int
    values_before: int
    parts: list[Any] = field(default_factory=list)


class _Tree:
    """Puts documents together. `line` is that of the event it is given."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.line = 0
        self._values = 0
        self._open: list[_Open] = []
        self._root: Any = None
        # What an anchor stands for, and how many values that is.
        self._anchors: dict[str, tuple[Any, int]] = {}

    def scalar(self, value: str, anchor: str | None, *, plain: bool) -> None:
        text: Text | None = None
        if not plain or value not in _NULLS:
            text = Text(value)
            text.line = self.line
        self._put(text, anchor, values=1)

    def alias(self, anchor: str | None) -> None:
        found = self._anchors.get(anchor or "")
        if found is None:
            # Also one inside what it stands for, which would have no end.
            shown = safe_text(anchor or "", 40)
            raise self._wrong(f"nothing whole has the anchor &{shown}")
        value, values = found
        self._put(value, None, values=values)

    def start(self, anchor: str | None, *, is_mapping: bool) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise self._wrong(f"more than {MAX_DEPTH} levels")
        self._open.append(
            _Open(
                is_mapping=is_mapping,
                anchor=anchor,
                line=self.line,
                values_before=self._values,
            )
        )

    def end(self) -> None:
        closed = self._open.pop()
        value = self._mapping(closed.parts) if closed.is_mapping else closed.parts
        within = self._values - closed.values_before
        self._values = closed.values_before
        self._put(value, closed.anchor, values=within + 1)

    def document(self) -> Any:
        root, self._root = self._root, None
        self._anchors.clear()
        return root

    def _put(self, value: Any, anchor: str | None, *, values: int) -> None:
        self._count(values)
        if anchor is not None:
            self._anchors[anchor] = (value, values)
        if self._open:
            self._open[-1].parts.append(value)
        else:
            self._root = value

    def _count(self, values: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise self._wrong(f"the list means more than {MAX_VALUES:,} values")

    def _mapping(self, parts: list[Any]) -> dict[Text, Any]:
        own: dict[Text, Any] = {}
        merged: dict[Text, Any] = {}
        for key, value in zip(parts[::2], parts[1::2], strict=True):
            if not isinstance(key, Text):
                raise self._wrong("a key is not a text")
            if key == _MERGE:
                for one in value if isinstance(value, list) else [value]:
                    if not isinstance(one, dict):
                        raise self._wrong("<< stands for a mapping, or for several")
                    self._count(len(one))
                    merged = {**one, **merged}  # the first one counts
            elif key in own:
                shown = safe_text(key, 40)
                self.line = key.line
                raise self._wrong(f"the key {shown} stands twice in one mapping")
            else:
                own[key] = value
        return {**merged, **own}

    def _wrong(self, why: str) -> UsageError:
        return UsageError(f"{self._name}:{self.line}: {why}")


# -- places --
# Where in a document something stands.


def place_of(name: str, *values: object) -> str:
    """`name:line` of the first value whose line is known, else `name:` and the last.

    JSON documents have no lines that are worth telling.
    """
    for value in values:
        if (line := line_of(value)) is not None:
            return f"{name}:{line}"
    return f"{name}:{safe_text(str(values[-1]), 80)}"


# -- whole_text --
# The text of a document that means something only as a whole.

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


# -- json_parts --
# Pretty-printed JSON, with the objects of its `items` one by one.
#
# A Kubernetes list may have a hundred thousand pods of ten kilobytes. As kubectl and jq
# print it, it comes apart at its lines: a JSON text has no line break inside a string,
# so that a brace alone on a line, as deep as the items are, begins or ends one of them.

_ITEMS = '"items": ['
_ENDS = " \t\r"


@dataclass(frozen=True, slots=True)
class Part:
    """An object of `items` that says that it is one of the Kubernetes API."""

    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rest:
    """The document without its `Part`s; the last that comes."""

    document: Any


def parts_of(lines: Iterable[str], name: str) -> Iterator[Part | Rest]:
    """The objects of `items` that say what they are, then the document without them.

    What is printed in another way is a `Rest` and nothing else. Raises `UsageError`
    for what is not JSON, and for a part or a rest that is too large.
    """
    rest = WholeText(name)
    indent: str | None = None  # of the keys of the document
    inside = False  # of its items
    item: WholeText | None = None
    for number, line in enumerate(lines, 1):
        bare = line.rstrip(_ENDS)
        if item is not None:
            item.add(line)
            if bare.removesuffix(",") == f"{indent}{indent}}}":
                document = _parsed(item)
                if is_kubernetes(document):
                    yield Part(document)
                    rest.leave_out(len(item.lines))
                else:
                    rest.extend(item.lines)
                item = None
            continue
        if inside and bare == f"{indent}{indent}{{":
            item = WholeText(name, number)
            item.add(line)
            continue
        if inside and bare.removesuffix(",") == f"{indent}]":
            inside = False
            _end_list(rest.lines)
        elif indent is None and bare.lstrip(_ENDS) not in {"", "{"}:
            indent = line[: len(line) - len(line.lstrip(_ENDS))]
        inside |= bool(indent) and bare == f"{indent}{_ITEMS}"
        rest.add(line)
    if item is not None:
        rest.extend(item.lines)  # it does not end; that is told of the whole
    yield Rest(_parsed(rest))


def _end_list(lines: list[str]) -> None:
    """Take away the comma after an entry that was not the last before."""
    for index in range(len(lines) - 1, -1, -1):
        if bare := lines[index].rstrip(_ENDS):
            lines[index] = bare.removesuffix(",")
            return


def _parsed(whole: WholeText) -> Any:
    try:
        return orjson.loads(_without_comma(whole))
    except orjson.JSONDecodeError as error:
        place = f"{whole.name}:{whole.number(error.lineno - 1)}:{error.colno}"
        hint = (
            "; give an object a line, as `jq -c` prints it" if _is_more(error) else ""
        )
        raise UsageError(f"{place}: not JSON: {error.msg}{hint}") from None


def _is_more(error: orjson.JSONDecodeError) -> bool:
    """Whether another document follows, as when reports are printed with `jq .`."""
    return error.msg.startswith("unexpected content after")


def _without_comma(whole: WholeText) -> str:
    return whole.text().rstrip(_ENDS).removesuffix(",")
