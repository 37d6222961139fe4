"""Pretty-printed JSON, with the objects of its `items` one by one.

A Kubernetes list may have a hundred thousand pods of ten kilobytes. As kubectl and jq
print it, it comes apart at its lines: a JSON text has no line break inside a string,
so that a brace alone on a line, as deep as the items are, begins or ends one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.kubernetes import is_kubernetes
from auditor.sources.lists.whole_text import WholeText

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
