"""CSV and SQLite preserve every text, and CSV has no formulas."""

from __future__ import annotations

import csv
import io
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from auditor.analysis.csv_lines import csv_text, escape_formula
from auditor.analysis.export import ExportFormat, export
from auditor.analysis.query import RowFormat, run_query, write_result
from auditor.util.compressed_file import is_complete_zstd
from tests.examples import examples
from tests.records import failure
from tests.reports import write_report

TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]))
    | st.text("=+-@\t\r\n\",;'\\a \x00\u202e\u3000"),
    min_size=1,
    max_size=20,
)


@examples(25)
@given(TEXTS)
def test_csv_preserves_every_text_and_has_no_formula(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = write_report(folder / "r", [failure(detail=text) for text in texts])
        export([report], target=ExportFormat.CSV, output=folder, tables=["failures"])
        with (folder / "failures.csv").open(newline="", encoding="utf-8") as lines:
            found = [row["detail"] for row in csv.DictReader(lines, strict=True)]
        assert found == [escape_formula(text) for text in texts]
        assert not [text for text in found if text.lstrip()[:1] in tuple("=+-@")]

        out = io.StringIO(newline="")
        with run_query([report], "SELECT detail FROM failures") as result:
            write_result(result, RowFormat.CSV, out)
        again = csv.reader(io.StringIO(out.getvalue(), newline=""), strict=True)
        assert [cell for (cell,) in again][1:] == [csv_text(text) for text in texts]


@examples(25)
@given(TEXTS)
def test_sqlite_preserves_every_text(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        report = write_report(Path(name, "r"), [failure(detail=text) for text in texts])
        out = Path(name, "out")
        export([report], target=ExportFormat.SQLITE, output=out, tables=["failures"])
        with closing(sqlite3.connect(out)) as database:
            found = database.execute("SELECT detail FROM failures").fetchall()
        assert found == [(text,) for text in texts]


@examples(100)
@given(st.lists(st.binary(max_size=300_000), min_size=1, max_size=3), st.data())
def test_zstd_is_complete_only_at_the_end_of_a_frame(
    contents: list[bytes], data: st.DataObject
) -> None:
    frames = [bytes(pa.compress(part, codec="zstd", asbytes=True)) for part in contents]
    content = b"".join(frames)
    ends = {sum(map(len, frames[:count])) for count in range(1, len(frames) + 1)}
    cut = data.draw(st.integers(0, len(content)))
    assert is_complete_zstd(io.BytesIO(content[:cut])) == (cut in ends)
