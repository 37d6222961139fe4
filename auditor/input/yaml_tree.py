"""YAML as plain dictionaries, lists and strings, in bounded memory.

Built from the parser's events: tags never create objects, and the values of an alias
are counted each time it is used, so that a few lines cannot mean a billion values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Any

from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_text

# Some 100 MB of strings and dictionaries: four thousand pods of 250 values.
MAX_VALUES = 1_000_000
# Kubernetes' deepest objects, its CRD schemas, have some forty levels.
MAX_DEPTH = 100

# The plain scalars that are null in YAML 1.2 (section 10.3.2, core schema).
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_MERGE = "<<"


class YamlString(str):
    """A scalar as it is written (`1.10` stays `1.10`), with its line number."""

    __slots__ = ("line",)
    line: int


def place_of(name: str, *values: object) -> str:
    """`name:line` of the first value whose line is known, else `name:` and the last
    value: JSON documents have no line numbers."""
    for value in values:
        if isinstance(value, YamlString):
            return f"{name}:{value.line}"
    return f"{name}:{safe_text(str(values[-1]), 80)}"


def read_yaml(text: str, name: str) -> Iterator[Any]:
    """The documents of a YAML stream, of `dict`, `list`, `YamlString` and `None`.

    Merge keys (`<<`) are resolved. Raises `UsageError` with the line for text that is
    not YAML, a duplicate key, and a document beyond the limits.
    """
    import yaml  # noqa: PLC0415  (only such a list needs it)

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree = _TreeBuilder(name)
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
class _OpenCollection:
    """A collection that has not ended; a mapping's `parts` are key, value, key, ..."""

    is_mapping: bool
    anchor: str | None
    values_before: int
    parts: list[Any] = field(default_factory=list)


class _TreeBuilder:
    """Builds documents from events; `line` is the line of the current event."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.line = 0
        self._values = 0
        self._open: list[_OpenCollection] = []
        self._root: Any = None
        # The value of each anchor, and the number of values in it.
        self._anchors: dict[str, tuple[Any, int]] = {}

    def scalar(self, value: str, anchor: str | None, *, plain: bool) -> None:
        text: YamlString | None = None
        if not plain or value not in _NULLS:
            text = YamlString(value)
            text.line = self.line
        self._put(text, anchor, values=1)

    def alias(self, anchor: str | None) -> None:
        anchored = self._anchors.get(anchor or "")
        if anchored is None:
            # Also an alias inside its own anchor, which would never end.
            shown = safe_text(anchor or "", 40)
            raise self._error(f"the alias *{shown} has no complete anchor before it")
        value, values = anchored
        self._put(value, None, values=values)

    def start(self, anchor: str | None, *, is_mapping: bool) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} levels")
        self._open.append(
            _OpenCollection(
                is_mapping=is_mapping,
                anchor=anchor,
                values_before=self._values,
            )
        )

    def end(self) -> None:
        closed = self._open.pop()
        value = self._mapping(closed.parts) if closed.is_mapping else closed.parts
        values = self._values - closed.values_before + 1
        self._values = closed.values_before
        self._put(value, closed.anchor, values=values)

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
            raise self._error(f"the list has more than {MAX_VALUES:,} values")

    def _mapping(self, parts: list[Any]) -> dict[YamlString, Any]:
        members: dict[YamlString, Any] = {}
        merged: dict[YamlString, Any] = {}
        for key, value in zip(parts[::2], parts[1::2], strict=True):
            if not isinstance(key, YamlString):
                raise self._error("a key is not a string")
            if key == _MERGE:
                for mapping in value if isinstance(value, list) else [value]:
                    if not isinstance(mapping, dict):
                        raise self._error(
                            "the value of << must be a mapping or a list of mappings"
                        )
                    self._count(len(mapping))
                    merged = {**mapping, **merged}  # the first mapping wins
            elif key in members:
                shown = safe_text(key, 40)
                self.line = key.line
                raise self._error(f"the key {shown} occurs twice in one mapping")
            else:
                members[key] = value
        return {**merged, **members}

    def _error(self, why: str) -> UsageError:
        return UsageError(f"{self._name}:{self.line}: {why}")
