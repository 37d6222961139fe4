"""The output formats of `auditor check`, one file each.

To add a format, add a file with a function that yields the output piece by piece, so
that all violations are never in memory at once, and name it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from auditor.analysis.check.findings import Findings
from auditor.analysis.check.formats import github, jsonl, junit, sarif, table

OutputFormat = Callable[[Findings], Iterator[str]]


def output_formats(limit: int) -> dict[str, OutputFormat]:
    """The formats by name; `limit` is the maximum of rows per table, 0 for all."""
    return {
        "table": partial(table.render_table, limit=limit),
        "markdown": partial(github.render_markdown, limit=limit),
        "jsonl": jsonl.render,
        "sarif": sarif.render,
        "junit": junit.render,
        "github": github.render_annotations,
    }
