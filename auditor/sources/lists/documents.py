"""Lists that are one whole document: YAML, JSON over several lines, Dockerfiles.

They are held in memory, which is why they have a limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

from auditor.errors import UsageError
from auditor.sources.lists.compose import is_compose, read_compose
from auditor.sources.lists.dockerfile import is_dockerfile, read_dockerfile
from auditor.sources.lists.items import Item
from auditor.sources.lists.kubernetes import is_kubernetes, read_kubernetes
from auditor.sources.lists.skopeo import is_skopeo, read_skopeo
from auditor.sources.lists.yaml_tree import read_yaml

# Some eight thousand pods, at the 8 KB that one takes in kubectl's JSON.
MAX_DOCUMENT_CHARS = 64 * 1024 * 1024

# `key:` or `"key":` with a value or nothing after it; what begins with any other of
# YAML's indicators is no mapping. No reference has a colon at its end or before a
# blank.
_YAML = re.compile(
    r"---(?:\s|$)|%YAML\s"
    r"|(?:\"[^\"]*\"|'[^']*'|[^\s\"'#\[\]{},&*!|>%@`?-][^#\"']*?)\s*:(?:\s|$)"
)
_KNOWN = "skopeo's sync YAML, Kubernetes objects or a compose file"

# The text of a document, and its name, to the items that it gives.
Document = Callable[[str, str], Iterator[Item]]


def document_format(line: str) -> Document | None:
    """The reader of the document that begins with this line; null: it is none.

    The line is the first one that is neither blank nor a comment.
    """
    line = line.strip()
    if line == "{":
        return _read_json
    if is_dockerfile(line):
        return read_dockerfile
    return _read_yaml if _YAML.match(line) else None


def read_whole(read: Document, lines: Iterable[str], name: str) -> Iterator[Item]:
    """The items of a document whose lines these are.

    Raises `UsageError` for one that is too large or not what it began as.
    """
    parts: list[str] = []
    size = 0
    for line in lines:
        size += len(line) + 1
        if size > MAX_DOCUMENT_CHARS:
            raise UsageError(
                f"{name}: the document is larger than {MAX_DOCUMENT_CHARS:,}"
                " characters; an object a line is read without a limit, as"
                " `jq -c '.items[]'` makes of what kubectl prints"
            )
        parts += (line, "\n")
    text = "".join(parts)
    _check_text(text, name)
    yield from read(text, name)


def read_object(document: object, name: str) -> Iterator[Item] | None:
    """The items of a document of a known format, or null for any other."""
    if is_kubernetes(document):
        return read_kubernetes(document, name)
    if is_compose(document):
        return read_compose(document, name)
    if is_skopeo(document):
        return read_skopeo(document, name)
    return None


def _read_yaml(text: str, name: str) -> Iterator[Item]:
    for document in read_yaml(text, name):
        if document is not None:
            yield from _known(document, name)


def _read_json(text: str, name: str) -> Iterator[Item]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        place = f"{name}:{error.lineno}:{error.colno}"
        raise UsageError(f"{place}: not JSON: {error.msg}") from None
    yield from _known(document, name)


def _known(document: Any, name: str) -> Iterator[Item]:
    items = read_object(document, name)
    if items is None:
        raise UsageError(f"{name}: neither a list of references nor {_KNOWN}")
    return items


def _check_text(text: str, name: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise UsageError(f"{name}:{line}: the line is not UTF-8 text") from None
