"""YAML as plain dictionaries, lists and texts, in bounded memory.

Built from the parser's events: no tag makes an object, and what aliases stand for is
counted as often as it is meant, so that a few lines cannot mean a billion values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Any

from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
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
