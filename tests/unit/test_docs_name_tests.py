"""The tests that the developer documentation names exist; user pages name none."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
_TEST = re.compile(r"\b(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)")
_TEST_FOLDER = re.compile(r"\btests/")
# Documents with tables in which each row is a promise and names its test.
PROMISES = (
    "docs/development/registry-tests.md",
    "docs/development/reliability-tests.md",
    "docs/development/threat-model.md",
)
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
)
USER_DOCUMENTS = [
    document
    for document in DOCUMENTS
    if document == "README.md"
    or (document.startswith("docs/") and not document.startswith("docs/development/"))
]


def _text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


@cache
def _functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_named_test_exists(document: str) -> None:
    missing = [
        f"{path}::{name}"
        for path, name in _TEST.findall(_text(document))
        if not (ROOT / path).is_file() or name not in _functions(ROOT / path)
    ]
    assert missing == []


@pytest.mark.parametrize("document", USER_DOCUMENTS)
def test_user_documentation_names_no_test(document: str) -> None:
    assert _TEST_FOLDER.findall(_text(document)) == []


def _promises(document: str) -> list[str]:
    """The rows of all tables whose last column is `test`."""
    rows, in_table = [], False
    for line in _text(document).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            in_table = False
        elif cells[-1] == "test":
            in_table = True
        elif in_table and not line.startswith("|-"):
            rows.append(line)
    return rows


@pytest.mark.parametrize("document", PROMISES)
def test_every_promise_names_its_test(document: str) -> None:
    rows = _promises(document)
    assert rows
    assert [row for row in rows if not _TEST.search(row)] == []


def test_there_are_at_least_a_hundred_distinct_failure_scenarios() -> None:
    rows = _promises("docs/development/reliability-tests.md")
    scenarios = {row.split(" | ")[0] for row in rows}
    assert len(scenarios) == len(rows) >= 100
