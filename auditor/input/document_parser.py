"""YAML and JSON documents as plain values, in bounded memory.

YAML is built from the parser's events: tags never create objects, and the values of an
alias are counted each time it is used, so a few lines cannot mean a billion values.

JSON is read with the elements of its `items` one by one. A Kubernetes list can have a
hundred thousand pods of ten kilobytes; ijson parses it as it arrives, so only one
element is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Any

from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.list_reader import MAX_DOCUMENT_CHARS, ListReader
from auditor.util.text import safe_text

# Some 100 MB of strings and dictionaries: four thousand pods of 250 values.
MAX_VALUES = 1_000_000
# Kubernetes' deepest objects, its CRD schemas, have some forty levels.
MAX_DEPTH = 100

# Python converts at most 4,300 digits to an integer; beyond that, ijson's C module ends
# the process. JSON's usual numbers have 17 digits (RFC 8259 section 6). A run between
# half of this and this is refused if it covers an aligned half.
MAX_DIGITS = 4000
_DIGITS = b"0123456789"
# What can be before the digits of a number (RFC 8259 section 6), or before a number.
_BEFORE_DIGITS = frozenset(bytes([char]) for char in b" \t\r\n[,:-+.eE")

# The plain scalars that are null in YAML 1.2 (section 10.3.2, core schema).
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_MERGE = "<<"
_CORE = "tag:yaml.org,2002:"
# Compose's tags for merging files (compose-spec, "Merge"): one removes a value, the
# other replaces it. What `_REMOVED` stands for never leaves this file.
_RESET = "!reset"
_OVERRIDE = "!override"
_REMOVED = object()
_IMAGE_SUFFIXES = ("image", "images", "imageid", "imagename")

# The events of ijson.
_STARTS = frozenset({"start_map", "start_array"})
_ENDS = frozenset({"end_map", "end_array"})
_Events = Iterator[tuple[str, Any]]
_LINE_BREAKS_AS_BLANKS = bytes.maketrans(b"\r\n", b"  ")


class YamlString(str):
    """A scalar as it is written (`1.10` stays `1.10`), with its line number."""

    __slots__ = ("line",)
    line: int


@dataclass(frozen=True, slots=True)
class TaggedScalar:
    """A scalar with a tag that another program resolves (`!Ref`, `!vault`).

    What it stands for is not its text.
    """

    tag: str
    text: str
    line: int


def place_of(name: str, *values: object) -> str:
    """`name:line` of the first value with a line, else `name:` and the last value.

    Values of JSON documents have no line numbers.
    """
    for value in values:
        if isinstance(value, YamlString | TaggedScalar):
            return f"{name}:{value.line}"
    return f"{name}:{safe_text(str(values[-1]), 80)}"


def read_yaml(text: str, name: str) -> Iterator[Any]:
    """The documents of a YAML stream: `dict`, `list`, `YamlString`, `TaggedScalar`
    and `None`.

    Merge keys (`<<`) are resolved, and what Compose's `!reset` removes is left out. A
    key that occurs twice has its last value, as in Kubernetes' own tools. Raises
    `UsageError` with the line for text that is not YAML, values of a duplicate key
    that contradict each other about an image, and a document beyond the limits.
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
                    tree.scalar(event)
                case yaml.AliasEvent():
                    tree.alias(event.anchor)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    is_mapping = isinstance(event, yaml.MappingStartEvent)
                    tree.start(event, is_mapping=is_mapping)
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


@dataclass(slots=True)
class _OpenCollection:
    """A collection that has not ended; a mapping's `parts` are key, value, key, ..."""

    is_mapping: bool
    is_removed: bool
    anchor: str | None
    values_before: int
    parts: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Duplicate:
    """A key that occurs twice in a mapping, with different values."""

    key: str
    line: int
    is_about_image: bool


def _contradicts(key: str, first: object, second: object) -> bool:
    """Whether two values of a key differ in the images that they name."""
    return is_image_key(key) or images_in(first) != images_in(second)


def is_image_key(key: str) -> bool:
    """Whether the values of a key name images: `image`, `baseImage`, `imageID`, ...,
    and the `reference` of an image volume."""
    return key == "reference" or key.lower().endswith(_IMAGE_SUFFIXES)


def images_in(value: object) -> list[object]:
    """The values below a value whose keys name images, in their order."""
    found: list[object] = []
    rest = [value]
    while rest:
        node = rest.pop()
        if isinstance(node, list):
            rest += reversed(node)
        elif isinstance(node, dict):
            found += [inner for key, inner in node.items() if is_image_key(key)]
            rest += reversed(
                [inner for key, inner in node.items() if not is_image_key(key)]
            )
    return found


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
        self._duplicates: list[_Duplicate] = []

    def scalar(self, event: Any) -> None:
        self._put(self._scalar(event), event.anchor, values=1)

    def _scalar(self, event: Any) -> object:
        if event.tag == _RESET:
            return _REMOVED
        is_null = event.implicit[0] and event.value in _NULLS
        if is_null or event.tag == f"{_CORE}null":
            return None
        is_text = event.tag in {None, "!", _OVERRIDE} or event.tag.startswith(_CORE)
        if not is_text:
            return TaggedScalar(event.tag, event.value, self.line)
        text = YamlString(event.value)
        text.line = self.line
        return text

    def alias(self, anchor: str | None) -> None:
        anchored = self._anchors.get(anchor or "")
        if anchored is None:
            # Also an alias inside its own anchor, which would never end.
            shown = safe_text(anchor or "", 40)
            raise self._error(f"the alias *{shown} has no complete anchor before it")
        self._put(anchored[0], None, values=anchored[1])

    def start(self, event: Any, *, is_mapping: bool) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} levels")
        is_removed = event.tag == _RESET
        self._open.append(
            _OpenCollection(is_mapping, is_removed, event.anchor, self._values)
        )

    def end(self) -> None:
        closed = self._open.pop()
        value: object = _REMOVED
        if not closed.is_removed:
            parts = closed.parts
            value = (
                self._mapping(parts)
                if closed.is_mapping
                else [part for part in parts if part is not _REMOVED]
            )
        values = self._values - closed.values_before + 1
        self._values = closed.values_before
        self._put(value, closed.anchor, values=values)

    def document(self) -> Any:
        root, self._root = self._root, None
        duplicates, self._duplicates = self._duplicates, []
        self._anchors.clear()
        # Compose and skopeo refuse any key that occurs twice, Kubernetes' tools none.
        is_kubernetes = isinstance(root, dict) and {"apiVersion", "kind"} <= root.keys()
        for one in duplicates:
            if one.is_about_image or not is_kubernetes:
                self.line = one.line
                shown = safe_text(one.key, 40)
                raise self._error(f"the key {shown} occurs twice in one mapping")
        return None if root is _REMOVED else root

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
            if isinstance(key, TaggedScalar):
                key = self._key(key)  # noqa: PLW2901
            if value is _REMOVED:
                continue
            if not isinstance(key, YamlString):
                raise self._error("a key is not a string")
            if key == _MERGE:
                for mapping in value if isinstance(value, list) else [value]:
                    if not isinstance(mapping, dict):
                        raise self._error(
                            "the value of << must be a mapping or a list of mappings"
                        )
                    self._count(len(mapping))
                    for name, inner in mapping.items():
                        merged.setdefault(name, inner)  # the first mapping wins
            else:
                if key in members and members[key] != value:
                    is_about_image = _contradicts(key, members[key], value)
                    self._duplicates.append(_Duplicate(key, key.line, is_about_image))
                members[key] = value
        return {**merged, **members}

    def _key(self, scalar: TaggedScalar) -> YamlString:
        key = YamlString(scalar.text)
        key.line = scalar.line
        return key

    def _error(self, why: str) -> UsageError:
        return UsageError(f"{self._name}:{self.line}: {why}")


@dataclass(frozen=True, slots=True)
class JsonElement:
    """An element of the array `items` of a document."""

    value: Any


def read_json_stream(reader: ListReader) -> Iterator[JsonElement | dict[str, Any]]:
    """The elements of each document, then the document, with `items` empty if it is an
    array.

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
        self._end = b""  # of the blocks so far

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
            joined = self._end + block
            if _has_long_number(joined):
                raise self.error("a number has thousands of digits")
            self._end = joined[-MAX_DIGITS:]
            if self._end[:1].isdigit():  # of a string, or it was refused above
                self._end = b'"' + self._end
        return block

    def value_ended(self) -> None:
        """Count the size limit from here."""
        self._size = 0

    def error(self, why: str) -> UsageError:
        """An error in the current block, reported at the first line of the block."""
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


def _has_long_number(block: bytes) -> bool:
    """Whether more than `MAX_DIGITS` digits follow each other outside of a string."""
    half = MAX_DIGITS // 2
    position = 0
    while position + half <= len(block):
        if not block[position : position + half].isdigit():
            position += half
            continue
        start = len(block[:position].rstrip(_DIGITS))
        # In a string, a quote or other text is before the digits.
        if block[start - 1 : start] in _BEFORE_DIGITS or start == 0:
            return True
        position = len(block) - len(block[position:].lstrip(_DIGITS))
    return False


def _read_document(
    events: _Events, source: _Source
) -> Iterator[JsonElement | dict[str, Any]]:
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
    yield members
    source.value_ended()


def _read_value(event: str, value: Any, events: _Events, source: _Source) -> Any:
    """The value that begins with this event.

    An object with a key twice has its last value, if both name the same images.
    """
    if event not in _STARTS:
        return value
    node: Any = {} if event == "start_map" else []
    parents: list[tuple[Any, str]] = []  # with the key of the node in it
    key = ""
    for event, value in events:  # noqa: PLR1704
        if event == "map_key":
            key = value
            continue
        inner = value
        if event in _STARTS:
            if len(parents) + 2 > MAX_DEPTH:
                raise source.error(f"more than {MAX_DEPTH} levels")
            parents.append((node, key))
            node = {} if event == "start_map" else []
            continue
        if event in _ENDS:
            if not parents:
                break
            inner = node
            node, key = parents.pop()
        if isinstance(node, list):
            node.append(inner)
            continue
        if key in node and node[key] != inner and _contradicts(key, node[key], inner):
            shown = safe_text(key, 40)
            raise source.error(f"the key {shown} occurs twice in one object")
        node[key] = inner
    return node
