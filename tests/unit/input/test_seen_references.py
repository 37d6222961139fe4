"""Deduplication with few references in memory and the rest in a table."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.input import seen_references
from auditor.input.seen_references import SeenReferences


@given(
    names=st.lists(st.integers(0, 40).map(str), max_size=120), most=st.integers(1, 9)
)
def test_a_reference_is_new_once_for_any_memory_limit(
    names: list[str], most: int
) -> None:
    seen: set[str] = set()
    with SeenReferences(most) as table:
        for name in names:
            assert table.add(name) == (name not in seen)
            seen.add(name)
            assert len(table._latest) <= most


def test_no_temporary_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    with SeenReferences(100) as table:
        assert all(table.add(str(number)) for number in range(5000))
        assert not any(table.add(str(number)) for number in range(5000))
        assert list(tmp_path.iterdir()) == []


def test_without_temporary_space_memory_is_used_after_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full() -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(seen_references, "_create_table", full)
    with SeenReferences(10) as table:
        assert all(table.add(str(number)) for number in range(100))
        assert not any(table.add(str(number)) for number in range(100))
    assert len(caplog.messages) == 1
    assert "full" in caplog.messages[0]


def test_a_full_table_never_reports_a_new_reference_as_seen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with SeenReferences(1000) as table:
        assert all(table.add(str(number)) for number in range(1000))
        assert table._table is not None
        table._table.execute("PRAGMA max_page_count = 12")
        assert all(table.add(str(number)) for number in range(1000, 9000))
        assert not any(table.add(str(number)) for number in range(8000, 9000))
        assert all(table.add(str(number)) for number in range(9000, 20_000))
        assert not any(table.add(str(number)) for number in range(9000, 20_000))
    assert len(caplog.messages) == 1
