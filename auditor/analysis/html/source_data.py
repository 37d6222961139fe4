"""Who uses the references in the page's table, as JSON: sources and labels of input.

    {"texts": [TEXT...], "uses": {"POSITION": [TEXT...]}}

A text of `uses` is an index into `texts`: a workload with its namespace and list, or a
label with its values. `POSITION` is the row in the table of references. References that
do not fit are missing.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditor.analysis.html.reference_data import SHOWN, Index, shown_text
from auditor.analysis.html.report_lines import ReportLines

# With the other data, the page stays below 5 MB.
MAX_BYTES = 500_000
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
        if size + texts.size > MAX_BYTES:
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
