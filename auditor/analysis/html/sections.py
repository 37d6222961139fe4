"""All references of a report as data for the page's own table.

    {"repositories": [NAME...], "digests": [DIGEST...], "platforms": [[NAME...]...],
     "rows": [[repository, tag, digest, platforms, size, created, failure, known]...]}

A number names an element of its list; -1 is none. `created` is a date, `failure` the
kind of failure or what warnings there are, `known` what is attached, as bits: signed,
not signed, SBOM, none, provenance, none. What repeats stands once.
"""

from __future__ import annotations

from typing import Any

from auditor.analysis.html.embed import script_json
from auditor.analysis.html.lines import Lines
from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_text

# What a browser on a phone still sorts at once, and what keeps the page below 5 MB.
MAX_ROWS = 20_000
MAX_DATA_BYTES = 3_000_000
# The longest reference has some 500 characters.
MAX_TEXT_CHARS = 500

# What has to be looked at stays in the page: failures, warnings, then what is large.
_REFERENCES = """
    WITH shown AS (
        SELECT * FROM line
        ORDER BY kind = 'failure' DESC, coalesce(len(warnings), 0) > 0 DESC,
                 size DESC NULLS LAST, reference
        LIMIT {limit})
    SELECT reference, registry, repository, tag, digest, architectures, size,
           strftime(created, '%Y-%m-%d') AS created, kind, failure, warnings,
           signed, has_sbom, has_provenance
    FROM shown"""


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """The data, how many rows are in it, and how many there are in all."""

    data: dict[str, list[Any]]
    shown: int
    total: int

    @property
    def left_out(self) -> int:
        """How many rows are not shown."""
        return self.total - self.shown


def read_references(lines: Lines) -> References:
    """As many rows as the page may hold."""
    repositories, digests, platforms = _Numbers(), _Numbers(), _Numbers()
    rows: list[list[Any]] = []
    room = MAX_DATA_BYTES
    for row in lines.rows(_REFERENCES.format(limit=MAX_ROWS)):
        name, tag = _name(row, many_registries=lines.many_registries)
        one = [
            repositories.number(name),
            tag,
            digests.number(_text(row["digest"])) if row["digest"] else -1,
            platforms.number(tuple(map(_text, row["architectures"] or ()))),
            row["size"],
            row["created"],
            _state(row),
            _attached(row),
        ]
        room -= len(script_json(one)) + 1
        if room < repositories.size + digests.size + platforms.size:
            break
        rows.append(one)
    data = {
        "repositories": list(repositories.known),
        "digests": list(digests.known),
        "platforms": list(platforms.known),
        "rows": rows,
    }
    return References(data=data, shown=len(rows), total=lines.totals.lines)


def _name(row: dict[str, Any], *, many_registries: bool) -> tuple[str, str]:
    """Repository and tag; what could not be read as a reference is all one name."""
    if row["repository"] is None:
        return _text(row["reference"]), ""
    name = row["repository"]
    if many_registries:
        name = f"{row['registry']}/{name}"
    if row["tag"] is None and row["kind"] == "failure":
        # A listing that failed is named by its pattern, a digest by itself.
        prefix = f"{row['registry']}/{row['repository']}"
        return _text(name), _text(row["reference"].removeprefix(prefix).lstrip(":@"))
    return _text(name), _text(row["tag"] or row["digest"] or "")


def _state(row: dict[str, Any]) -> str:
    if row["kind"] == "failure":
        return "failed: " + _text(row["failure"] or "unknown").replace("_", " ")
    return ", ".join(_text(code).replace("_", " ") for code in row["warnings"] or ())


def _attached(row: dict[str, Any]) -> int:
    answers = (row["signed"], row["has_sbom"], row["has_provenance"])
    return sum(
        (1 if answer else 2) << 2 * place
        for place, answer in enumerate(answers)
        if answer is not None
    )


def _text(text: str) -> str:
    return safe_text(text, MAX_TEXT_CHARS)


class _Numbers:
    """Numbers things in the order in which they come. `size` is their JSON's."""

    def __init__(self) -> None:
        self.known: dict[Any, int] = {}
        self.size = 0

    def number(self, thing: Any) -> int:
        if thing not in self.known:
            self.known[thing] = len(self.known)
            self.size += len(script_json(thing)) + 1
        return self.known[thing]
