"""Tables as aligned text and Markdown, in which no cell is markup."""

from __future__ import annotations

from operator import itemgetter

import pytest
from markdown_it import MarkdownIt

from auditor.analysis.diff import GrowthThreshold, parse_growth_threshold
from auditor.analysis.text_tables import (
    TitledTable,
    code_column,
    code_span,
    markdown_lines,
    markdown_text,
    number_column,
    text_column,
    text_lines,
)
from auditor.errors import UsageError
from auditor.util.terminal import Screen

TABLE = TitledTable(
    title="moved",
    columns=(
        code_column("reference", itemgetter(0)),
        number_column("size", itemgetter(1)),
        text_column("why", itemgetter(2)),
    ),
    rows=(("a", "12.0 MB", "one"), ("long/name:1", "7 B", "two")),
    total=5,
    note="a note",
)
HOSTILE = [
    "<script>alert(1)</script>", "a|b", "`code`", "``", "`", "a`b``c", "*bold*",
    "[link](http://x)", "![image](x)", "line\nbreak", "\x1b[31mred", "\u202eevil",
    "&amp;", "\\", "\\|", "a\\|b|", "~~gone~~", "@everyone", "_x_", "http://x.example",
    "a@b.example", "# head", "- item", "|", "``|``",
]  # fmt: skip


def test_text_is_aligned_and_says_how_many_rows_are_left_out() -> None:
    assert list(text_lines([TABLE])) == [
        "",
        "moved (5)",
        "  a note",
        "  reference       size  why",
        "  a            12.0 MB  one",
        "  long/name:1      7 B  two",
        "  and 3 more; --limit 0 shows all",
    ]


def test_a_table_without_rows_is_its_title_on_a_terminal() -> None:
    empty = TitledTable(
        title="moved", columns=TABLE.columns, rows=(), total=0, note="a note"
    )
    assert list(text_lines([empty], Screen(80))) == ["", "moved (0)"]
    assert "  reference  size  why" in list(text_lines([empty]))


def test_markdown_is_a_heading_and_a_table() -> None:
    assert list(markdown_lines([TABLE])) == [
        "",
        "### moved (5)",
        "",
        "a note",
        "",
        "| reference | size | why |",
        "| --- | ---: | --- |",
        "| `a` | 12.0 MB | one |",
        "| `long/name:1` | 7 B | two |",
        "",
        "and 3 more; --limit 0 shows all",
    ]


def cells(markdown: str) -> list[str]:
    """The text of a table's cells, which hold nothing but text and code."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    found = []
    for token in tokens.parse(markdown):
        if token.type != "inline":
            continue
        kinds = {child.type for child in token.children or ()}
        assert kinds <= {"text", "code_inline", "text_special"}, kinds
        found.append("".join(child.content for child in token.children or ()))
    return found


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_in_a_cell_is_escaped(text: str) -> None:
    table = TitledTable(
        title="t",
        columns=(code_column("code", str), text_column("text", str)),
        rows=(text,),
        total=1,
    )
    expected = (
        text.encode("unicode_escape").decode() if not text.isprintable() else text
    )
    found = cells("\n".join(markdown_lines([table])))
    # cmark and GitHub remove the backslash of an escaped pipe, inside code too
    assert found[0] == "t (1)"
    assert [one.strip() for one in found[-2:]] == [expected.strip()] * 2


def test_an_empty_code_cell_is_an_empty_cell() -> None:
    assert code_span("") == ""
    assert code_span("  ") == ""


def test_a_mention_is_escaped() -> None:
    assert markdown_text("@team") == "\\@team"


@pytest.mark.parametrize(
    ("text", "growth"),
    [
        ("10%", GrowthThreshold(percent=10.0)),
        ("0%", GrowthThreshold()),
        ("12.5 %", GrowthThreshold(percent=12.5)),
        ("50MB", GrowthThreshold(minimum_bytes=50e6)),
        ("1 GB", GrowthThreshold(minimum_bytes=1e9)),
        ("1.5kB", GrowthThreshold(minimum_bytes=1500.0)),
        ("50M", GrowthThreshold(minimum_bytes=50 * 1024**2)),
        ("7B", GrowthThreshold(minimum_bytes=7.0)),
    ],
)
def test_growth_is_a_percentage_or_a_size(text: str, growth: GrowthThreshold) -> None:
    assert parse_growth_threshold(text) == growth


@pytest.mark.parametrize("text", ["", "10", "-1%", "MB", "10 MiB", "nan%", "1e9B"])
def test_an_invalid_growth_is_a_usage_error(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"expected a percentage or a size \(10%, 50MB\)"
    ):
        parse_growth_threshold(text)


def test_a_table_that_is_too_wide_has_no_columns_of_equal_cells() -> None:
    table = TitledTable(
        title="images",
        columns=(
            code_column("reference", itemgetter(0)),
            code_column("registry", itemgetter(1)),
            code_column("digest", itemgetter(2)),
        ),
        rows=[
            ("team/app:1", "registry.example.com", f"sha256:1{'0' * 63}"),
            ("team/app:2", "registry.example.com", f"sha256:2{'0' * 63}"),
        ],
        total=2,
    )
    assert list(text_lines([table], Screen(40)))[1:] == [
        "images (2)",
        "  the same in all rows: registry",
        "    registry.example.com",
        "  reference   digest",
        "  team/app:1  100000000000",
        "  team/app:2  200000000000",
    ]
    wide = list(text_lines([table], Screen(200)))
    assert wide[2].split() == ["reference", "registry", "digest"]
