"""Screens, wrapped lines, tables and records."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from auditor.util.terminal import (
    PIPE,
    Screen,
    ScreenColumn,
    TableLayout,
    record_lines,
    screen_of,
    short_digests,
    styled,
    table_lines,
    with_short_digests,
    wrapped,
)

A, B = f"sha256:{'a' * 64}", f"sha256:{'a' * 12}{'b' * 52}"
C = f"sha256:{'c' * 64}"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def _columns(count: int) -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(count)
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


@pytest.mark.parametrize(
    ("environment", "on_terminal", "on_pipe"),
    [
        ({}, True, False),
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),  # no-color.org: only if it is not empty
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_colours_follow_the_variables(
    environment: dict[str, str], on_terminal: bool, on_pipe: bool
) -> None:
    with _columns(91):
        assert screen_of(_Terminal(), environment) == Screen(91, on_terminal)
        assert screen_of(io.StringIO(), environment) == Screen(None, on_pipe)


def test_a_closed_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()
    assert screen_of(stream, {}) == PIPE


def test_only_a_screen_with_colours_gets_escapes() -> None:
    assert styled("failed", "red", Screen(80, False)) == "failed"
    assert styled("failed", "red", Screen(80, True)) == "\x1b[31mfailed\x1b[0m"


def test_lines_are_wrapped_between_words_and_indented_further() -> None:
    text = "  next: log in with docker login registry.example.com/team/app:1.0"
    assert wrapped(text, PIPE) == [text]
    assert wrapped(text, Screen(40, False)) == [
        "  next: log in with docker login",
        "    registry.example.com/team/app:1.0",
    ]


def test_digests_are_shortened_where_their_first_digits_are_unique() -> None:
    assert short_digests([A, C, A, "team/app", "1.0"]) == {
        A: "a" * 12,
        C: "c" * 12,
    }
    assert short_digests([A, B, C]) == {C: "c" * 12}


COLUMNS = (
    ScreenColumn(title="reference"),
    ScreenColumn(title="detail"),
    ScreenColumn(title="size", is_number=True, folds=False),
)


def test_a_table_that_fits_is_as_narrow_as_its_cells() -> None:
    assert list(table_lines(COLUMNS, [["a:1", "x", "10 MB"]], Screen(80, False))) == [
        "reference  detail   size",
        "a:1        x       10 MB",
    ]


@pytest.mark.parametrize("width", [50, 60, 80, 120])
@pytest.mark.parametrize("colours", [False, True])
def test_no_line_is_wider_than_the_screen_and_nothing_is_lost(
    width: int, colours: bool
) -> None:
    reference = "registry.example.com/" + "team/" * 12 + "app:1.0"
    detail = "the registry answered with a status that no client expects"
    rows = [[reference, detail, "10 MB"]]
    lines = list(table_lines(COLUMNS, rows, Screen(width, False)))
    assert max(map(len, lines)) <= width
    shown = sorted("".join(lines[1:]).replace(" ", ""))
    assert shown == sorted("".join(rows[0]).replace(" ", ""))
    coloured = list(table_lines(COLUMNS, rows, Screen(width, colours)))
    assert ("\x1b" in "".join(coloured)) is colours
    assert not any(line.endswith(" ") for line in coloured)


def test_a_table_with_too_many_columns_is_shown_record_by_record() -> None:
    columns = [ScreenColumn(title=f"column {number}") for number in range(12)]
    row = [f"a long value of column {number}" for number in range(12)]
    lines = list(table_lines(columns, [row, row], Screen(80, False)))
    assert lines[0].startswith("-[ record 1 ]-")
    assert lines[1] == "column 0   a long value of column 0"
    assert lines[13].startswith("-[ record 2 ]-")


def test_a_record_shows_a_long_value_on_several_lines() -> None:
    lines = list(record_lines(COLUMNS, [["a:1", "words " * 10, ""]], Screen(40, False)))
    assert lines[1:] == [
        "reference  a:1",
        "detail     words words words words words",
        "           words words words words words",
        "size",
    ]


def test_a_table_is_folded_only_where_it_may_be() -> None:
    rows = [["a" * 60, "b" * 60, "1"]]
    folded = list(table_lines(COLUMNS, rows, Screen(80, False)))
    assert folded[0].startswith("reference ")
    records = list(table_lines(COLUMNS, rows, Screen(80, False), folds=False))
    assert records[0].startswith("-[ record 1 ]-")


def test_rows_that_come_later_are_folded_into_the_same_columns() -> None:
    layout = TableLayout(COLUMNS, [["app:1", "fine", "1 kB"]], Screen(80, False))
    (header,) = layout.lines([])
    lines = list(layout.lines([["app:123456789", "x", "2 kB"]], with_header=False))
    assert header == "reference  detail  size"
    assert lines == ["app:12345  x       2 kB", "6789"]


def test_wide_characters_take_two_columns() -> None:
    lines = list(table_lines(COLUMNS, [["見本:1", "x", "1"]], Screen(80, False)))
    assert lines[1] == "見本:1     x          1"


def test_text_that_looks_like_markup_is_printed_as_it_is() -> None:
    rows = [["[red]a[/red]:1", ":smile:", "1"]]
    lines = list(table_lines(COLUMNS, rows, Screen(80, True)))
    assert "[red]a[/red]:1" in lines[1]
    assert ":smile:" in lines[1]


def test_names_are_folded_last() -> None:
    columns = (
        ScreenColumn(title="reference", is_name=True),
        ScreenColumn(title="detail"),
    )
    name = "registry.example.com/team/app:1.0"
    lines = list(table_lines(columns, [[name, "words " * 12]], Screen(60, False)))
    assert lines[1].startswith(f"{name}  words ")
    assert max(map(len, lines)) <= 60


def test_digests_in_a_text_are_shortened() -> None:
    assert with_short_digests(f"latest: {A}; works") == f"latest: {'a' * 12}; works"
    assert with_short_digests(f"{A} or {B}") == f"{A} or {B}"
