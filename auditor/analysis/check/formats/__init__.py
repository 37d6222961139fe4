"""The output formats of `auditor check`, one file each.

`output_formats` has all of them by name. Each is a function that yields its output
piece by piece from `Findings`, so that all violations are never in memory at once. To
add a format, add a file with such a function, name it in `output_formats`, and add its
name to the option of `cli.check_command`; tests/unit/analysis/check/formats checks that
hostile text stays text in it.
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
