"""Lists that are one whole document: YAML, JSON over several lines, Dockerfiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

from auditor.errors import UsageError
from auditor.input.compose import is_compose, read_compose
from auditor.input.dockerfile import is_dockerfile, read_dockerfile
from auditor.input.items import Item
from auditor.input.kubernetes import is_kubernetes, read_kubernetes
from auditor.input.yaml_tree import read_yaml
from auditor.sources.lists.json_parts import Part, parts_of
from auditor.sources.lists.whole_text import WholeText
from auditor.util.lazy_regex import Pattern

# `key:` or `"key":` with a value or nothing after it; what begins with any other of
# YAML's indicators is no mapping. No reference has a colon at its end or before a
# blank.
_YAML = Pattern(
    r"---(?:\s|$)|%YAML\s"
    r"|(?:\"[^\"]*\"|'[^']*'|[^\s\"'#\[\]{},&*!|>%@`?-][^#\"']*?)\s*:(?:\s|$)"
)
_KUBERNETES = Pattern(r'\{\s*"(?:apiVersion|kind|items|metadata)"\s*:')
_KNOWN = "skopeo's sync YAML, Kubernetes objects or a compose file"

# The lines of a document, and its name, to the items that it gives.
Document = Callable[[Iterable[str], str], Iterator[Item]]


def document_format(line: str) -> Document | None:
    """The reader of the document that begins with this line; null: it is none.

    The line is the first one that is neither blank nor a comment.
    """
    line = line.strip()
    if line == "{" or _begins_kubernetes(line):
        return _read_json
    if is_dockerfile(line):
        return _read_dockerfile
    return _read_yaml if _YAML.match(line) else None


def _begins_kubernetes(line: str) -> bool:
    """Whether it is the first of several lines of an object; one that is whole may be
    the first of an object a line."""
    if _KUBERNETES.match(line) is None:
        return False
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return True
    return False


def read_object(document: object, name: str) -> Iterator[Item] | None:
    """The items of a document of a known format, or null for any other."""
    if is_kubernetes(document):
        return read_kubernetes(document, name)
    if is_compose(document):
        return read_compose(document, name)
    # Brings rules of tags and versions, which nothing else needs.
    from auditor.input.skopeo import is_skopeo, read_skopeo  # noqa: PLC0415

    if is_skopeo(document):
        return read_skopeo(document, name)
    return None


def _read_yaml(lines: Iterable[str], name: str) -> Iterator[Item]:
    for document in read_yaml(WholeText.of(lines, name).text(), name):
        if document is not None:
            yield from _known(document, name)


def _read_dockerfile(lines: Iterable[str], name: str) -> Iterator[Item]:
    return read_dockerfile(WholeText.of(lines, name).text(), name)


def _read_json(lines: Iterable[str], name: str) -> Iterator[Item]:
    """The objects of a Kubernetes list one by one, whatever else it is as a whole."""
    seen: set[str] = set()
    for part in parts_of(lines, name):
        if isinstance(part, Part) or is_kubernetes(part.document):
            yield from read_kubernetes(part.document, name, seen)
        else:
            yield from _known(part.document, name)


def _known(document: Any, name: str) -> Iterator[Item]:
    items = read_object(document, name)
    if items is None:
        raise UsageError(f"{name}: neither a list of references nor {_KNOWN}")
    return items
