"""All references of a report as JSON for the page's searchable table.

    {"repositories": [NAME...], "digests": [DIGEST...], "platforms": [[NAME...]...],
     "rows": [[repository, tag, digest, platforms, size, created, state, known]...]}

`repository`, `digest` and `platforms` are indexes into the lists of these names, so
that repeated values are stored once; -1 means none. `created` is a date; `state` is the
kind of failure, or what a reference names that is no image, and the warnings; `known`
has two bits each for signature, SBOM and provenance of an image: attached, and checked
but not attached; then a bit for an image, and one for warnings.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson

from auditor.analysis.html.report_lines import ReportLines
from auditor.util.text import safe_text

# The longest reference has some 500 characters; it must not be truncated.
MAX_TEXT_CHARS = 500

# A phone's browser sorts this many rows without delay.
MAX_ROWS = 20_000
# Keeps the page below 5 MB.
MAX_DATA_BYTES = 3_000_000

# `</script` and `<!--` have a meaning in a script element (HTML 13.2.5.15). In JSON
# these characters occur in strings only, where an escape means the same.
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}

# If truncated, the table keeps failures, then images with warnings, then large images.
SHOWN = """
        SELECT * FROM line
        ORDER BY kind = 'failure' DESC, coalesce(len(warnings), 0) > 0 DESC,
                 size DESC NULLS LAST, reference
        LIMIT {limit}"""
_REFERENCES = f"""
    WITH shown AS ({SHOWN})
    SELECT reference, registry, repository, tag, digest, architectures, size,
           strftime(created, '%Y-%m-%d') AS created, kind, content, failure,
           warnings,
           signed, has_sbom, has_provenance
    FROM shown"""


def read_references(lines: ReportLines) -> SimpleNamespace:
    """The rows that fit into the page: `data` for JSON, `shown` of `total` rows."""
    repositories, digests, platforms = Index(), Index(), Index()
    rows: list[list[Any]] = []
    bytes_left = MAX_DATA_BYTES
    for line in lines.rows(_REFERENCES.format(limit=MAX_ROWS)):
        name, tag = _repository_and_tag(line, with_registry=lines.several_registries)
        row = [
            repositories.number(name),
            tag,
            digests.number(shown_text(line.digest)) if line.digest else -1,
            platforms.number(tuple(map(shown_text, line.architectures or ()))),
            line.size,
            line.created,
            _state(line),
            _known_bits(line),
        ]
        bytes_left -= len(script_json(row)) + 1
        if bytes_left < repositories.size + digests.size + platforms.size:
            break
        rows.append(row)
    data = {
        "repositories": list(repositories.numbers),
        "digests": list(digests.numbers),
        "platforms": list(platforms.numbers),
        "rows": rows,
    }
    return SimpleNamespace(data=data, shown=len(rows), total=lines.totals.lines)


def script_json(value: Any) -> str:
    """JSON for a `<script type="application/json">`."""
    return orjson.dumps(value).decode().translate(_ESCAPES)


def _repository_and_tag(line: Any, *, with_registry: bool) -> tuple[str, str]:
    """For text that could not be parsed as a reference, the text and no tag."""
    if line.repository is None:
        return shown_text(line.reference), ""
    name = line.repository
    if with_registry:
        name = f"{line.registry}/{name}"
    if line.tag is None and line.kind == "failure":
        # A failed listing is named by its pattern, a digest by itself.
        prefix = f"{line.registry}/{line.repository}"
        return shown_text(name), shown_text(
            line.reference.removeprefix(prefix).lstrip(":@")
        )
    return shown_text(name), shown_text(line.tag or line.digest or "")


def _state(line: Any) -> str:
    if line.kind == "failure":
        return "failed: " + shown_text(line.failure or "unknown").replace("_", " ")
    words = [] if line.content == "image" else [line.content]
    words += line.warnings or ()
    return ", ".join(shown_text(word).replace("_", " ") for word in words)


def _known_bits(line: Any) -> int:
    fields = (line.signed, line.has_sbom, line.has_provenance)
    bits = sum(
        (1 if attached else 2) << 2 * position
        for position, attached in enumerate(fields)
        if attached is not None
    )
    is_image: bool = line.content == "image"
    return bits | is_image << 6 | bool(line.warnings) << 7


def shown_text(text: str) -> str:
    """A text of the report as the page shows it, of at most `MAX_TEXT_CHARS`."""
    return safe_text(text, MAX_TEXT_CHARS)


class Index:
    """Numbers values in the order they first occur. `size` is that of their JSON."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}
        self.size = 0

    def number(self, value: Any) -> int:
        """The number of a value, a new one if it is new."""
        if value not in self.numbers:
            self.numbers[value] = len(self.numbers)
            self.size += len(script_json(value)) + 1
        return self.numbers[value]
