"""Which format of a single document a list has, from its first line.

The readers of the formats (documents.py) are imported only for such a list.
"""

from __future__ import annotations

import re
from enum import StrEnum

import orjson

from auditor.input.list_reader import BLOCK_BYTES
from auditor.util.lazy_regex import LazyPattern

# `key:` or `"key":` with a value or nothing after it; a line that begins with another
# indicator of YAML is not a mapping. A reference never has a colon before a blank.
_YAML = LazyPattern(
    r"---(?:\s|$)|%YAML\s"
    r"|(?:\"[^\"]*\"\s*+|'[^']*'\s*+|[^\s\"'#\[\]{},&*!|>%@`?-][^#\"']*?):(?:\s|$)"
)
_KUBERNETES = LazyPattern(r'\{\s*"(?:apiVersion|kind|items|metadata)"\s*:')
_DOCKERFILE = LazyPattern(r"(?:FROM|ARG)\s+\S", re.IGNORECASE)


class DocumentFormat(StrEnum):
    """The syntax of a document."""

    JSON = "JSON"
    DOCKERFILE = "Dockerfile"
    YAML = "YAML"


def document_format(first_line: str) -> DocumentFormat | None:
    """The format of the document that begins with this line; `None` if each line is an
    item of its own. The line is the first one that is neither blank nor a comment."""
    line = first_line.strip()
    if line == "{" or _begins_kubernetes(line):
        return DocumentFormat.JSON
    if _DOCKERFILE.match(line):
        return DocumentFormat.DOCKERFILE
    return DocumentFormat.YAML if _YAML.match(line) else None


def _begins_kubernetes(line: str) -> bool:
    """Whether a Kubernetes document begins here that is longer than the line, or too
    long to be parsed at once. A complete object can be the first of one object a line.
    """
    if _KUBERNETES.match(line) is None:
        return False
    if len(line) >= BLOCK_BYTES:
        return True
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return True
    return False
