"""The table that an audit prints on a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from auditor.errors import FailureKind
from auditor.model import ContentKind, ImageRecord, Record
from auditor.report.audit_table import (
    HEAD_ROWS,
    MAX_GROUPS,
    MAX_REFERENCES,
    AuditTable,
)
from auditor.util.terminal import ERASE_LINE, PIPE, Screen
from tests.records import failure, image, platform


def _named(number: int, **more: Any) -> ImageRecord:
    return image(reference=f"r.example.com/team/app:{number}", **more)


WIDE = Screen(100)


def _table(*records: Record, screen: Screen = WIDE) -> list[str]:
    table = AuditTable(screen)
    text = b"".join(map(table, records)) + table.rest()
    return text.decode().splitlines()


def test_an_image_is_a_row() -> None:
    one = image(
        digest="sha256:0123456789abcdef" + "0" * 48,
        size=28_200_000,
        architectures=("linux/386", "linux/amd64", "linux/arm64", "windows/amd64"),
        platforms=(platform(created="2026-01-02T03:04:05Z"),),
        signed=True,
    )
    assert _table(one) == [
        "reference                 digest        platforms              size"
        "  created     signed",
        "r.example.com/team/app:1  0123456789ab  amd64 arm64 386 +1  28.2 MB"
        "  2026-01-02  yes",
    ]


def test_the_date_can_come_from_an_annotation() -> None:
    created = {"org.opencontainers.image.created": "2025-12-31T23:59:59Z"}
    assert "2025-12-31" in _table(image(annotations=created, signed=False))[1]


@pytest.mark.parametrize(
    "placeholder", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "no time"]
)
def test_the_date_of_a_reproducible_build_is_unknown_not_unexamined(
    placeholder: str,
) -> None:
    one = image(platforms=(platform(created=placeholder),), signed=True, annotations={})
    *_, row = _table(one)
    assert row.endswith("  -        yes")


def test_what_was_not_examined_for_any_image_is_explained_once() -> None:
    *_, note = _table(_named(1), _named(2))
    assert note == (
        "created and signed: not examined; see them with --image-config always"
        " --attachments all"
    )
    lines = _table(_named(1, signed=True), _named(2))
    assert lines[-1] == "created: not examined; see it with --image-config always"


def test_what_is_no_image_is_named() -> None:
    lines = _table(image(content=ContentKind.ARTIFACT, architectures=()))
    assert "(artifact)" in lines[1]
    assert len(lines) == 2


def test_a_narrow_terminal_has_no_columns_of_unknown_values() -> None:
    name = "registry.example.com/team/backend:1.0.1"
    header, row, *_ = _table(image(reference=name), screen=Screen(80))
    assert header.split() == ["reference", "digest", "platforms", "size"]
    assert name in row
    assert len(row) <= 80


def test_a_value_without_a_column_is_announced() -> None:
    name = "registry.example.com/team/" + "backend-" * 4 + ":1.0.1"
    first = [image(reference=name)] * HEAD_ROWS
    lines = _table(*first, image(signed=True), screen=Screen(80))
    assert "signed: no column, the terminal is too narrow" in lines


def test_rows_appear_while_the_audit_runs() -> None:
    table = AuditTable(PIPE)
    for number in range(HEAD_ROWS - 1):
        assert table(_named(number)) == b""
    head = table(_named(HEAD_ROWS)).decode().splitlines()
    assert len(head) == HEAD_ROWS + 1
    assert head[0].startswith("reference")
    (row,) = table(_named(4)).decode().splitlines()
    assert row.index("amd64") == head[0].index("platforms")
    assert b"app:" not in table.rest()


def test_the_line_of_progress_is_erased_before_rows() -> None:
    table = AuditTable(Screen(80), over_progress=True)
    assert table(_named(1)) == b""
    assert table.rest().decode().startswith(f"{ERASE_LINE}reference")


def test_failures_follow_the_rows_with_the_next_step() -> None:
    lines = _table(failure(), image(signed=True, annotations={}))
    at = lines.index("failed (1)")
    assert lines[at - 1] == ""
    assert lines[at + 1 :] == [
        "  r.example.com/team/gone:1  not_found",
        "      not found, or not visible to this account (404)",
        "      next: auditor ls r.example.com/team/gone",
        "  what the codes mean: auditor explain not_found",
    ]


def test_a_missing_tag_latest_leads_to_the_other_tags() -> None:
    lines = _table(failure(reference="r.example.com/team/gone:latest", tag="latest"))
    text = " ".join(" ".join(lines).split())
    assert (
        "next: auditor ls r.example.com/team/gone; every tag:"
        " 'r.example.com/team/gone:*'"
    ) in text


@pytest.mark.parametrize(
    ("repository", "target"),
    [
        ("**", "r.example.com"),
        ("team/*", "r.example.com"),
        ("team/app", "r.example.com/team/app"),
    ],
)
def test_the_next_step_for_a_pattern_names_no_pattern(
    repository: str, target: str
) -> None:
    pattern = failure(
        reference=f"r.example.com/{repository}:1.*",
        repository=repository,
        tag=None,
        failure=FailureKind.DENIED,
    )
    assert f"      next: auditor doctor {target}" in _table(pattern)


@pytest.mark.parametrize("kind", list(FailureKind))
def test_every_kind_of_failure_has_lines(kind: FailureKind) -> None:
    lines = _table(failure(failure=kind))
    assert f"  r.example.com/team/gone:1  {kind}" in lines


def test_failures_of_one_kind_at_one_registry_are_one_group() -> None:
    many = [failure(reference=f"r.example.com/app:{number}") for number in range(900)]
    other = failure(registry="s.example.com", reference="s.example.com/app:1")
    lines = _table(*many, other)
    assert lines[1] == "failed (901)"
    assert f"  and {900 - MAX_REFERENCES} more like these" in lines
    assert sum(line.endswith("  not_found") for line in lines) == MAX_REFERENCES + 1
    assert sum("next: " in line for line in lines) == 2


def test_memory_for_failures_is_bounded() -> None:
    hosts = [failure(registry=f"r{number}.example.com") for number in range(1000)]
    lines = _table(*hosts)
    assert lines[1] == "failed (1,000)"
    assert lines[-2] == f"  and {1000 - MAX_GROUPS} others; -o FILE keeps all of them"


def test_text_of_a_registry_is_escaped() -> None:
    evil = "\x1b]0;title\x07"
    lines = _table(
        image(architectures=(evil,), annotations={}),
        failure(reference=evil, detail=evil, repository=evil),
    )
    assert "\x1b" not in "".join(lines)
