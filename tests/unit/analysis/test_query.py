"""A query reads the reports and nothing else."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from auditor.analysis import query
from auditor.analysis.query import QueryNames, RowFormat, run_query, write_result
from auditor.analysis.report_views import VIEWS
from auditor.errors import UsageError
from tests.records import EVERYTHING, RECORDS, failure, image
from tests.reports import write_report

HOSTILE = "=1+1\u202e\x1b[2J"


@pytest.fixture
def report(tmp_path: Path) -> str:
    return write_report(tmp_path / "report.jsonl", RECORDS)


def run_and_print(report: str, question: str, form: RowFormat = RowFormat.JSONL) -> str:
    out = io.StringIO()
    with run_query([report], question) as result:
        assert write_result(result, form, out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("question", "rows"),
    [
        ("SELECT count(*) AS n FROM images", [{"n": 2}]),
        ("FROM failures SELECT failure ORDER BY failure",
         [{"failure": "invalid_reference"}, {"failure": "not_found"}]),
        ("SELECT 1 AS one;", [{"one": 1}]),
        ("SELECT 1 AS one -- a note", [{"one": 1}]),
        ("SELECT ';' AS text;", [{"text": ";"}]),
        ("VALUES (1, 'a'), (2, NULL)",
         [{"col0": 1, "col1": "a"}, {"col0": 2, "col1": None}]),
        ("SELECT 1 AS a, 2 AS a", [{"a": 1, "a_1": 2}]),
        ('SELECT 1 AS "we ird ""q"""', [{'we ird "q"': 1}]),
        ("SELECT 'nan'::DOUBLE AS n, 0.5::DOUBLE AS h", [{"n": None, "h": 0.5}]),
        ("SELECT 18446744073709551616::HUGEINT AS big", [{"big": 2**64}]),
        ("SELECT DISTINCT audited_at::TIMESTAMPTZ::DATE AS day FROM images",
         [{"day": "2026-11-24"}]),
        ("SELECT now() > '2020-01-01' AS later", [{"later": True}]),
        ("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 4) "
          "SELECT sum(n) AS n FROM t", [{"n": 10}]),
        ("SELECT unnest(architectures) AS a FROM images GROUP BY a ORDER BY a",
         [{"a": "linux/amd64"}, {"a": "linux/arm64"}]),
        ("FROM (PIVOT platforms ON os IN ('linux', 'windows') USING count(*) "
          "GROUP BY tag)", [{"tag": "1", "linux": 3, "windows": 1}]),
        ("FROM attachments SELECT kind, predicates[1] AS says, subject = digest AS own",
         [{"kind": "attestation", "says": "https://slsa.dev/provenance/v1",
           "own": False}]),
        ("FROM warnings SELECT code, detail",
         [{"code": "child_missing", "detail": "one is missing"}]),
        ("FROM platforms SELECT base_name, labels['a'] AS a, \"user\", layer_traits "
          "WHERE base_digest IS NOT NULL",
         [{"base_name": "docker.io/library/alpine:3", "a": "\u202eb", "user": "app",
           "layer_traits": ["estargz", "zstd"]}]),
        ("SELECT i FROM range(2) AS t(i)", [{"i": 0}, {"i": 1}]),
        ("SELECT repository FROM images WHERE false", []),
    ],
)  # fmt: skip
def test_a_select_gives_rows(
    question: str, rows: list[dict[str, object]], report: str
) -> None:
    found = [json.loads(line) for line in run_and_print(report, question).splitlines()]
    assert found == rows


def test_describe_lists_the_columns(report: str) -> None:
    lines = run_and_print(report, "DESCRIBE failures").splitlines()
    assert [json.loads(line)["column_name"] for line in lines][:4] == [
        "schema", "kind", "reference", "registry",
    ]  # fmt: skip


def test_summarize_is_allowed(report: str) -> None:
    assert "approx_unique" in run_and_print(report, "SUMMARIZE layers", RowFormat.CSV)


WRITES = "a query can only read: "
ONE_SELECT = "a query must be one SELECT, DESCRIBE or SUMMARIZE"
VIEWS_ONLY = "a query can only read the views"
COPY_AND_READ = (
    "WITH x AS (COPY (SELECT 1) TO ''{report}'' (USE_TMP_FILE false)) SELECT 1"
)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("", ONE_SELECT),
        ("-- nothing", ONE_SELECT),
        ("SELECT 1; SELECT 2", ONE_SELECT),
        ("COPY images TO '{report}'", ONE_SELECT),
        ("COPY (SELECT 1) TO '{other}'", ONE_SELECT),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{report}'", ONE_SELECT),
        ("CREATE TABLE t AS SELECT 1", ONE_SELECT),
        ("DROP VIEW images", ONE_SELECT),
        ("SET enable_external_access = true", ONE_SELECT),
        ("RESET lock_configuration", ONE_SELECT),
        ("ATTACH '{other}'", ONE_SELECT),
        ("INSTALL httpfs", ONE_SELECT),
        ("LOAD httpfs", ONE_SELECT),
        ("CALL pragma_version()", ONE_SELECT),
        ("PRAGMA version", ONE_SELECT),
        ("EXPORT DATABASE '{other}'", ONE_SELECT),
        ("PIVOT images ON tag USING count(*)", ONE_SELECT),
        ("WITH x AS (COPY (SELECT 1) TO '{report}') SELECT 1", WRITES),
        ("WITH x AS (COPY (SELECT 1) TO '{report}' (USE_TMP_FILE false)) FROM images",
         WRITES),
        ("WITH x AS (COPY (SELECT 1) TO '{other}') SELECT 1", WRITES),
        ("WITH x AS (INSERT INTO t VALUES (1) RETURNING *) FROM x", WRITES),
        ("WITH x AS (DELETE FROM t RETURNING *) FROM x", WRITES),
        ("SELECT * FROM read_text('{secret}')", VIEWS_ONLY),
        ("SELECT * FROM READ_CSV('{report}')", VIEWS_ONLY),
        ("SELECT (SELECT count(*) FROM glob('/*'))", VIEWS_ONLY),
        ("FROM images WHERE EXISTS (FROM read_blob('{secret}'))", VIEWS_ONLY),
        ("WITH x AS (FROM read_json('{report}')) FROM x", VIEWS_ONLY),
        ("DESCRIBE SELECT * FROM read_text('{secret}')", VIEWS_ONLY),
        ("FROM query('SELECT 1')", VIEWS_ONLY),
        (f"FROM json_execute_serialized_sql(json_serialize_sql('{COPY_AND_READ}'))",
         VIEWS_ONLY),
        ("FROM enable_logging(storage = 'file', storage_path = '{other}')", VIEWS_ONLY),
        ("FROM duckdb_secrets()", VIEWS_ONLY),
        ("SELECT current_setting('temp_directory')", "current_setting() is not all"),
        ("FROM images WHERE write_log('x') IS NULL", "write_log() is not allowed"),
        ("SELECT * FROM '{secret}'", "the query: Cannot access file"),
        ("SELECT * FROM report", "the query: there is no table report"),
        ("SELECT nothing FROM images", "the query: there is no column nothing in im"),
        ("SELECT 1) AS a; COPY images TO '{report}'; SELECT * FROM (SELECT 1",
         "the query: syntax error at )"),
        ("SELEC 1", "the query: syntax error"),
        ("SELECT no_such_function(1)", "there is no function no_such_function()"),
    ],
)  # fmt: skip
def test_anything_but_a_select_on_the_views_is_refused(
    question: str, message: str, report: str, tmp_path: Path
) -> None:
    secret, other = tmp_path / "secret.csv", tmp_path / "other"
    secret.write_text("a,b\n1,2\n")
    before = Path(report).read_bytes()
    text = question.format(report=report, secret=secret, other=other)
    with pytest.raises(UsageError) as caught:
        run_and_print(report, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert Path(report).read_bytes() == before
    assert sorted(tmp_path.iterdir()) == sorted([Path(report), secret])


def test_files_cannot_be_accessed_even_by_sql_that_passes(
    report: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second defence, with the first one disabled."""
    monkeypatch.setattr("auditor.analysis.query._check_tree", lambda _: QueryNames())
    other = tmp_path / "other"
    other.write_text("secret")
    for question in (
        f"FROM read_text('{other}')",
        f"WITH x AS (COPY (SELECT 1) TO '{other}') SELECT 1",
        "FROM glob('/*')",
        "FROM enable_logging('QueryLog')",
    ):
        with pytest.raises(UsageError):
            run_and_print(report, question)
    assert other.read_text() == "secret"


def test_the_views_are_listed_also_beside_one_of_them(report: str) -> None:
    names = {(name,) for name in ("lines", *VIEWS)}
    for question in ("SHOW TABLES", "SELECT s.name FROM images, (SHOW TABLES) AS s"):
        with run_query([report], question) as result:
            assert set(result.rows()) == names


def test_a_python_variable_is_not_a_table(report: str) -> None:
    secret = [{"a": 1}]
    with pytest.raises(UsageError, match="there is no table secret"):
        run_and_print(report, "SELECT * FROM secret")
    assert secret


def test_a_damaged_report_is_not_an_error_of_the_query(tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    write_report(report, [image()])
    report.write_bytes(report.read_bytes() * 2 + b'{"schema":1,')
    with pytest.raises(
        UsageError, match=rf"^{report}: line 3, byte \d+: the line is truncated"
    ):
        run_and_print(str(report), "SELECT count(*) FROM images")


def test_a_table_aligns_numbers_to_the_right(report: str) -> None:
    assert run_and_print(
        report,
        "SELECT repository, count(*) AS n, 1000 AS size FROM failures"
        " GROUP BY ALL ORDER BY n, repository NULLS LAST",
        RowFormat.TABLE,
    ).splitlines() == [
        "repository  n  size",
        "team/gone   1  1000",
        "            1  1000",
    ]


def test_a_table_escapes_hostile_text(tmp_path: Path) -> None:
    report = write_report(tmp_path / "r", [failure(detail=HOSTILE)])
    table = run_and_print(report, "SELECT detail FROM failures", RowFormat.TABLE)
    assert table.splitlines()[1] == r"=1+1\u202e\x1b[2J"


def test_a_table_is_truncated_to_the_maximum_of_rows(
    report: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "MAX_TABLE_ROWS", 3)
    out = io.StringIO()
    with run_query([report], "SELECT i FROM range(4) AS t(i)") as result:
        assert not write_result(result, RowFormat.TABLE, out)
    assert out.getvalue().split() == ["i", "0", "1", "2"]


def test_the_csv_module_reads_csv_output(tmp_path: Path) -> None:
    report = write_report(tmp_path / "r", [EVERYTHING, failure(detail='a,"b"\n=c')])
    text = run_and_print(
        report, "SELECT detail, -1 AS n, NULL AS z FROM failures", RowFormat.CSV
    )
    assert list(csv.reader(io.StringIO(text))) == [
        ["detail", "n", "z"],
        ['a,"b"\n=c', "-1", ""],
    ]
    nested = run_and_print(
        report, "SELECT annotations, access FROM images", RowFormat.CSV
    )
    (row,) = csv.DictReader(io.StringIO(nested))
    assert json.loads(row["annotations"]) == EVERYTHING.annotations
    assert json.loads(row["access"])["actions"] == ["pull"]


def test_csv_has_no_formulas(tmp_path: Path) -> None:
    report = write_report(tmp_path / "r", [failure(detail=HOSTILE)])
    text = run_and_print(report, 'SELECT detail AS "=x" FROM failures', RowFormat.CSV)
    escaped = r"'=1+1\u202e\x1b[2J"
    assert list(csv.reader(io.StringIO(text))) == [["'=x"], [escaped]]


def test_the_name_of_a_report_can_have_globs_and_quotes(tmp_path: Path) -> None:
    report = write_report(tmp_path / "it's [1]*.jsonl", RECORDS)
    assert run_and_print(report, "SELECT count(*) AS n FROM images") == '{"n":2}\n'


def test_several_reports_have_a_column_with_the_file(report: str) -> None:
    other = write_report(Path(report).with_name("other.jsonl"), [failure()])
    question = "SELECT report FROM failures WHERE tag IS NOT NULL ORDER BY report"
    out = io.StringIO()
    with run_query([report, other], question) as result:
        write_result(result, RowFormat.JSONL, out)
    files = [json.loads(line)["report"] for line in out.getvalue().splitlines()]
    assert files == [other, report]


def test_times_are_timestamps(report: str) -> None:
    for view in ("images", "platforms", "layers", "warnings", "failures"):
        question = f"SELECT DISTINCT typeof(audited_at) AS t FROM {view}"  # noqa: S608
        rows = run_and_print(report, question)
        assert json.loads(rows) == {"t": "TIMESTAMP"}, view
