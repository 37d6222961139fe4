"""The page's searchable table of references, and what a row opens to, as JSON.

    references  {"repositories": [NAME...], "digests": [DIGEST...],
                 "platforms": [[NAME...]...], "rows": [[repository, tag, digest,
                 platforms, size, created, state, known]...]}
    layers      {"layers": [[DIGEST, SIZE]...], "manifests": [[PLATFORM, DIGEST, SIZE,
                 DATE, [LAYER...]]...], "images": {"POSITION": [MANIFEST...]}}
    uses        {"texts": [TEXT...], "uses": {"POSITION": [TEXT...]}}

Repeated values are stored once: `repository`, `digest`, `platforms`, `LAYER`,
`MANIFEST` and the texts of `uses` are indexes into the lists before; -1 means none.
`POSITION` is the row in the table. What does not fit is missing from `images` and
`uses`.

`created` is a date; `state` is the kind of failure, or what a reference names that is
no image, and the warnings; `known` has two bits each for signature, SBOM and provenance
of an image: attached, and checked but not attached; then a bit for an image, and one
for warnings. Sizes are null where unknown, layers are null where they were left out of
the record. A use is a workload with its namespace and list, or a label of the input
with its values.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import orjson

from auditor.analysis.html.report_lines import ReportLines
from auditor.analysis.platform_sql import platform_name
from auditor.analysis.report_views import creation_time
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


# With `MAX_DATA_BYTES` the page stays below 5 MB.
MAX_LAYER_BYTES = 1_300_000
# Its position and the numbers of its manifests.
_BYTES_OF_AN_IMAGE = 40

_MANIFESTS = f"""
    WITH shown AS (
        SELECT reference, row_number() OVER () - 1 AS position FROM ({SHOWN})),
    one AS (
        SELECT position, p.digest AS digest, p.size AS size, p.layers AS layers,
               nullif({platform_name("p")}, '') AS platform,
               strftime({creation_time("p")}, '%Y-%m-%d') AS created
        FROM (SELECT position, annotations, unnest(platforms) AS p
              FROM (SELECT position, annotations, platforms
                    FROM report.lines JOIN shown USING (reference)
                    WHERE kind = 'image'
                    QUALIFY row_number() OVER
                      (PARTITION BY reference ORDER BY audited_at DESC) = 1)))
    SELECT * FROM one ORDER BY position"""


def read_layers(lines: ReportLines, rows: int) -> dict[str, Any]:
    """The manifests and layers of the first `rows` references of the table."""
    layers, manifests = Index(), Index()
    images: dict[str, list[int]] = {}
    kept = 0, 0
    for line in lines.rows(_MANIFESTS.format(limit=rows)):
        position = str(line.position)
        manifest = (
            shown_text(line.platform or ""),
            shown_text(line.digest or ""),
            line.size,
            line.created,
            None if line.layers is None else tuple(
                layers.number((shown_text(layer["digest"]), layer["size"]))
                for layer in line.layers
            ),
        )  # fmt: skip
        images.setdefault(position, []).append(manifests.number(manifest))
        used = layers.size + manifests.size + _BYTES_OF_AN_IMAGE * len(images)
        if used > MAX_LAYER_BYTES:
            del images[position]  # all of its manifests or none
            break
        kept = len(layers.numbers), len(manifests.numbers)
    return {
        "layers": list(layers.numbers)[: kept[0]],
        "manifests": list(manifests.numbers)[: kept[1]],
        "images": images,
    }


# With the other data, the page stays below 5 MB.
MAX_USE_BYTES = 500_000
_BYTES_OF_A_REFERENCE = 20

_USES = f"""
    WITH shown AS (
        SELECT reference, row_number() OVER () - 1 AS position FROM ({SHOWN}))
    SELECT position, sources, sources_left_out, input_labels
    FROM report.lines JOIN shown USING (reference)
    WHERE len(sources) > 0
    QUALIFY row_number() OVER (PARTITION BY reference ORDER BY audited_at DESC) = 1
    ORDER BY position"""


def read_uses(lines: ReportLines, rows: int) -> dict[str, Any]:
    """The uses of the first `rows` references of the table."""
    texts = Index()
    uses: dict[str, list[int]] = {}
    size = kept = 0
    for line in lines.rows(_USES.format(limit=rows)):
        numbers = [texts.number(shown_text(text)) for text in _texts(line)]
        size += _BYTES_OF_A_REFERENCE + 6 * len(numbers)
        if size + texts.size > MAX_USE_BYTES:
            break
        uses[str(line.position)] = numbers
        kept = len(texts.numbers)
    return {"texts": list(texts.numbers)[:kept], "uses": uses}


def _texts(line: Any) -> Iterator[str]:
    for source in line.sources:
        yield _source_text(source)
    if line.sources_left_out:
        yield f"and {line.sources_left_out:,} more"
    for name, values in (line.input_labels or {}).items():
        yield f"{name}: {', '.join(values)}"


def _source_text(source: dict[str, str | None]) -> str:
    if source["workload"] is None:
        return str(source["place"])
    container = f", {source['container']}" if source["container"] else ""
    namespace = f"{source['namespace']}/" if source["namespace"] else ""
    return f"{namespace}{source['workload']}{container} ({source['place']})"
