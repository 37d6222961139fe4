"""The formats of `auditor check`: one file each, but for the two that people read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from auditor.analysis.check.findings import Findings
from auditor.analysis.check.formats import github, jsonl, junit, people, sarif

# Gives the output piece by piece, so that no format holds all violations at once.
Format = Callable[[Findings], Iterator[str]]


def formats(limit: int) -> dict[str, Format]:
    """The formats by name. `limit` rows of each table are for people; 0 for all."""
    return {
        "table": partial(people.text, limit=limit),
        "markdown": partial(people.markdown, limit=limit),
        "jsonl": jsonl.pieces,
        "sarif": sarif.pieces,
        "junit": junit.pieces,
        "github": github.pieces,
    }
