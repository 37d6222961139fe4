"""Values that are moved to a temporary file come back equal, and nothing remains."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from auditor.audit.spill_file import SpillFile
from auditor.input.input_items import InputSelector, ReferenceEntry, parse_item
from auditor.oci.reference import Reference
from auditor.registry.listing.interface import ListedTag
from tests.records import EVERYTHING, failure

NAME = "registry.example.com/team/app"


def _entry(text: str, **more: Any) -> object:
    item = parse_item(text, text, "list.txt:1")
    if isinstance(item, InputSelector) and isinstance(item.selector, Reference):
        return ReferenceEntry(reference=item.selector, **more)
    return item


@pytest.mark.parametrize(
    "value",
    [
        _entry(f"{NAME}:1"),
        _entry(f"{NAME}:1", listed_tag=ListedTag("1"), age_unknown=True),
        _entry(f"{NAME}@sha256:{64 * 'a'}", digest=f"sha256:{64 * 'a'}"),
        _entry("UPPER/case:1"),
        _entry(f"{NAME}:1.*"),
        _entry("registry.example.com/team/**:*"),
        failure(),
        EVERYTHING,
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_value_comes_back_equal(value: object) -> None:
    file = SpillFile()
    try:
        spilled = file.put([value])
        assert file.take(spilled) == [value]
    finally:
        file.close()


def test_the_space_of_a_file_without_values_is_used_again() -> None:
    file = SpillFile()
    try:
        first, second = file.put("a" * 1000), file.put("b" * 1000)
        assert file.take(second) == "b" * 1000
        assert file.take(first) == "a" * 1000
        assert file.put("c").offset == 0
    finally:
        file.close()


def test_the_file_has_no_name(tmp_path: Path) -> None:
    file = SpillFile(tmp_path)
    file.put("x")
    assert list(tmp_path.iterdir()) == []
    file.close()
    assert not file.is_open


def test_writes_and_reads_in_parts_are_continued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pwrite, pread = os.pwrite, os.pread
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:3], at))
    monkeypatch.setattr(os, "pread", lambda fd, size, at: pread(fd, min(size, 2), at))
    file = SpillFile()
    try:
        assert file.take(file.put("some value")) == "some value"
    finally:
        file.close()
