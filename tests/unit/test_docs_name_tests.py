"""A test that the documentation names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
_NAMED = re.compile(r"\b(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)")
# Documents that promise something in each row of their tables, by a test.
PROMISES = (
    "docs/registries.md",
    "docs/reliability.md",
    "docs/development/threat-model.md",
)


@cache
def _tests_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def _documents() -> list[str]:
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


@pytest.mark.parametrize("document", _documents())
def test_every_test_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    missing = [
        f"{path}::{name}"
        for path, name in _NAMED.findall(text)
        if not (ROOT / path).is_file() or name not in _tests_in(ROOT / path)
    ]
    assert not missing


def _promises(document: str) -> list[str]:
    """The rows of tables whose head ends with `test`."""
    rows, in_table = [], False
    for line in (ROOT / document).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            in_table = False
        elif cells[-1] in {"test", "tests"}:
            in_table = True
        elif in_table and not line.startswith("|-"):
            rows.append(line)
    return rows


@pytest.mark.parametrize("document", PROMISES)
def test_every_promise_names_its_test(document: str) -> None:
    rows = _promises(document)
    assert rows
    assert [row for row in rows if not _NAMED.search(row)] == []


def test_reliability_is_at_least_sixty_scenarios_none_of_them_twice() -> None:
    rows = _promises("docs/reliability.md")
    stimuli = {row.split(" | ")[0] for row in rows}
    assert len(stimuli) == len(rows) >= 60
