"""Report files as SQL views: formats, damage, versions."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from auditor.analysis.duckdb_connection import MEMORY_LIMIT_BYTES, work_database
from auditor.analysis.report_views import (
    VIEWS,
    add_reports,
    open_reports,
    report_paths,
)
from auditor.cli.main import run
from auditor.errors import UsageError
from auditor.model import Shape
from auditor.report.shapes import encoder
from tests.records import EVERYTHING, RECORDS, REFUSED, failure, image

ENCODE = encoder(Shape.IMAGE)
REPORT = b"".join(ENCODE(record) for record in RECORDS)
GZIPPED = gzip.compress(REPORT, mtime=0)
LINES = REPORT.splitlines()
LINE = ENCODE(image())


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., str]:
    def write(content: bytes, name: str = "report.jsonl") -> str:
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return write


def rows(paths: str | list[str], select: str) -> list[tuple[Any, ...]]:
    files = [paths] if isinstance(paths, str) else paths
    views = VIEWS.keys() & set(re.findall(r"\w+", select))
    with open_reports(files, views=views) as connection:
        return connection.execute(select).fetchall()


def counts(paths: str | list[str]) -> tuple[int, ...]:
    """The number of images, platforms, layers and failures."""
    (found,) = rows(
        paths,
        "SELECT (SELECT count(*) FROM images), (SELECT count(*) FROM platforms),"
        " (SELECT count(*) FROM layers), (SELECT count(*) FROM failures)",
    )
    return found


def zst(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


ALL = (2, 5, 5, 2)  # of RECORDS


def test_every_record_is_in_the_views(put: Callable[..., str]) -> None:
    assert counts(put(REPORT)) == ALL


@pytest.mark.parametrize(
    ("select", "kind"),
    [
        (
            "SELECT to_json(one)::VARCHAR FROM"
            " (SELECT * EXCLUDE (created) FROM images) AS one",
            "image",
        ),
        ("SELECT to_json(one)::VARCHAR FROM failures AS one", "failure"),
    ],
)
def test_images_and_failures_have_the_fields_of_the_lines(
    select: str, kind: str, put: Callable[..., str]
) -> None:
    expected = [line for line in map(json.loads, LINES) if line["kind"] == kind]
    for line in expected:  # a timestamp, which DuckDB writes in its own format
        line["audited_at"] = line["audited_at"].replace("T", " ").removesuffix("Z")
        if kind == "image":
            line["end_of_life"] = None  # a column of the view only
    assert [json.loads(text) for (text,) in rows(put(REPORT), select)] == expected


def test_platforms_and_layers_agree_with_the_flat_shapes(
    put: Callable[..., str],
) -> None:
    """`digest` is that of the row; that of the image is `image_digest`."""
    platform_rows = [json.loads(line) for line in lines_of(Shape.PLATFORM)]
    assert rows(
        put(REPORT),
        "SELECT reference, platform, image_digest, digest, size, layer_count"
        " FROM platforms",
    ) == [
        tuple(
            row[name]
            for name in (
                "reference", "platform", "digest", "platform_digest", "size", "layers",
            )
        )
        for row in platform_rows
    ]  # fmt: skip
    layer_rows = [json.loads(line) for line in lines_of(Shape.LAYER)]
    assert rows(
        put(REPORT),
        "SELECT reference, platform, platform_digest, position, digest, size,"
        " media_type FROM layers",
    ) == [
        tuple(
            row[name]
            for name in (
                "reference", "platform", "platform_digest", "position", "layer_digest",
                "layer_size", "layer_media_type",
            )
        )
        for row in layer_rows
        if row["position"] is not None  # a line for unknown layers
    ]  # fmt: skip


def lines_of(shape: Shape) -> list[bytes]:
    encode = encoder(shape)
    return encode(image()).splitlines() + encode(EVERYTHING).splitlines()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.jsonl", REPORT[:-1], id="no newline at the end"),
        pytest.param("a.jsonl", b"\n" + REPORT + b"\n\n", id="blank lines"),
        pytest.param("a.jsonl", REPORT.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param("a.jsonl.gz", GZIPPED, id="gzip"),
        pytest.param(
            "a.jsonl.gz",
            b"".join(map(gzip.compress, REPORT.splitlines(keepends=True))),
            id="gzip in members",
        ),
        pytest.param("a.jsonl.zst", zst(REPORT), id="zstd"),
        pytest.param(
            "a.jsonl.zst", zst(REPORT[:99]) + zst(REPORT[99:]), id="two frames"
        ),
        pytest.param("it's [1] a*b?.jsonl", REPORT, id="a name with quotes and globs"),
    ],
)
def test_compressed_and_unusual_files_are_read(
    name: str, content: bytes, put: Callable[..., str]
) -> None:
    assert counts(put(content, name)) == ALL


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.jsonl", b""),
        ("e.jsonl.gz", gzip.compress(b"", mtime=0)),
        ("e.zst", zst(b"")),
    ],
)
def test_an_empty_report_has_no_rows(
    name: str, content: bytes, put: Callable[..., str]
) -> None:
    assert counts(put(content, name)) == (0, 0, 0, 0)


def test_fields_of_a_later_version_are_ignored(put: Callable[..., str]) -> None:
    line = json.loads(LINE) | {"news": {"of": [1]}}
    assert counts(put(json.dumps(line).encode())) == (1, 1, 2, 0)


def test_a_long_line_is_read(put: Callable[..., str]) -> None:
    long = ENCODE(image(annotations={"note": "x" * 20 * 1024**2}))
    assert counts(put(LINE + long + LINE)) == (3, 3, 6, 0)


def test_a_line_over_the_limit_is_an_error(
    put: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.analysis.report_views.MAX_LINE_BYTES", 16 * 1024**2)
    long = ENCODE(image(annotations={"note": "x" * 40 * 1024**2}))
    path = put(LINE + long + LINE)
    with pytest.raises(UsageError) as caught:
        counts(path)
    assert str(caught.value) == f"{path}: a line is longer than 16 MiB"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param(
            "a", LINE + LINE[:-50], "line 2, byte *: the line is truncated", id="torn"
        ),
        pytest.param(
            "a", LINE + b"oops\n" + LINE, "line 2, byte 1: unexpected character",
            id="no JSON",
        ),
        pytest.param(
            "a", b"\xef\xbb\xbf" + LINE,
            "line 1, byte 1: byte order mark (BOM) is not supported", id="BOM",
        ),
        pytest.param(
            "a", LINE.replace(b"team/app", b"team/\xff"),
            "line 1, byte *: invalid UTF-8 encoding in string", id="no UTF-8",
        ),
        pytest.param(
            "a", LINE + LINE.replace(b'"tag"', b'"tag":"0","tag"'),
            'line 2: Object * has duplicate key "tag"', id="a key twice",
        ),
        pytest.param("a", b"[1]\n", "not a report but a JSON array; a report is *"),
        pytest.param(
            "a", LINE + b"[1]\n", "line 2: Expected OBJECT, but got ARRAY: [1]"
        ),
        pytest.param(
            "a", b'{\n "a": 1\n}\n',
            "not a report but a JSON document of several lines; a report is *",
        ),
        *(
            pytest.param(
                "a", content,
                "not a report but another file: it does not begin with a JSON object;"
                " a report is what auditor audit -o writes",
            )
            for content in (b"hello\n", b"[rules.a]\n", b"\n17\n", b"\x00\x01")
        ),
        pytest.param(
            "a", b"\xff\xfe{\x00", "line 1, byte 1: UTF-16 encoding is not supported"
        ),
        pytest.param(
            "a", LINE + b'{"kind":"image"}\n',
            "not a report of schema 1: a line of schema (none) and kind image",
        ),
        pytest.param(
            "a", LINE + b"null\n",
            "not a report: a line has neither schema nor kind; a report is what *",
        ),
        pytest.param(
            "a", b'{"schema":1,"kind":"sbom"}\n',
            "not a report but an SBOM file; name it with --sbom",
        ),
        pytest.param(
            "a", LINE + LINE.replace(b'"schema":1', b'"schema":2'),
            "a report of schema 2, written by a newer auditor; this one reads schema 1",
        ),
        pytest.param(
            "a", LINE + encoder(Shape.PLATFORM)(image()),
            "a report of shape platform; this command needs one of shape image"
            " (audit without --shape)",
        ),
        pytest.param(
            "a", encoder(Shape.LAYER)(image()),
            "a report of shape layer; this command needs one of shape image"
            " (audit without --shape)",
        ),
        pytest.param("a", b"repository,tag\n", "not a report but a CSV file; a rep*"),
        pytest.param("a", b"<!doctype html>", "not a report but a page or an XML *"),
        pytest.param("a", b"PAR1", "not a report but a Parquet file; a report is *"),
        pytest.param(
            "a", b"        DUCK", "not a report but a DuckDB database; a report *"
        ),
        pytest.param("a", GZIPPED, "the file is compressed; its name must end in .gz"),
        pytest.param(
            "a", b'{"schema":1,"kind":"summary"}\n',
            "not a report but its summary (audit --summary)",
        ),
        pytest.param("a.gz", GZIPPED[:-9], "the file is truncated"),
        pytest.param("a.gz", REPORT, "not a gzip file"),
        pytest.param("a.gz", b"", "not a gzip file"),
        pytest.param(
            "a.zst", zst(REPORT)[:-1], "the file is truncated or not a zstd file"
        ),
        pytest.param("a.zst", REPORT, "the file is truncated or not a zstd file"),
    ],
)  # fmt: skip
def test_a_damaged_report_is_an_error_with_file_and_line(
    name: str, content: bytes, message: str, put: Callable[..., str]
) -> None:
    path = put(content, name)
    with pytest.raises(UsageError) as caught:
        rows(path, "SELECT kind, tag FROM lines")
    before, _, after = f"{path}: {message}".partition("*")
    assert str(caught.value).startswith(before)
    assert str(caught.value).endswith(after)


def test_an_image_without_platforms_is_an_error(put: Callable[..., str]) -> None:
    line = json.loads(LINE) | {"platforms": None}
    path = put(json.dumps(line).encode())
    with pytest.raises(UsageError, match="not a report: an image without platforms"):
        rows(path, "SELECT * FROM platforms")


def test_damage_in_the_middle_of_a_large_report_is_located(
    put: Callable[..., str],
) -> None:
    path = put(LINE * 20_000 + b"oops\n" + LINE * 20_000)
    with pytest.raises(UsageError, match=r"line 20001, byte 1: unexpected character$"):
        counts(path)


def test_a_missing_report_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"^/no/such/\*: no such report$"):
        report_paths(["/no/such/*"])


def test_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r": is a folder; name the files in it$"):
        report_paths([str(tmp_path)])


def test_a_pipe_is_an_error() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(UsageError, match="cannot be a pipe"):
            report_paths([f"/dev/fd/{read}"])
    finally:
        os.close(read)
        os.close(write)


def test_a_file_named_twice_is_read_once(
    put: Callable[..., str], tmp_path: Path
) -> None:
    one, two = put(LINE, "one.jsonl"), put(LINE, "two.jsonl")
    Path(tmp_path, "link.jsonl").symlink_to(one)
    named = [str(tmp_path / "*.jsonl"), one, str(tmp_path / "." / "two.jsonl"), two]
    assert len(report_paths(named)) == 2
    assert counts(named) == (2, 2, 4, 0)


def test_a_repeated_reference_is_two_rows(put: Callable[..., str]) -> None:
    assert counts(put(LINE + LINE)) == (2, 2, 4, 0)


def test_two_reports_can_be_open_at_once(put: Callable[..., str]) -> None:
    old, new = put(LINE, "old"), put(LINE * 2 + ENCODE(failure()), "new")
    with open_reports([old], schema="old") as connection:
        add_reports(connection, [new], schema="new")
        select = "SELECT (SELECT count(*) FROM {0}.layers), count(*) FROM {0}.failures"
        for schema, expected in (("old", (2, 0)), ("new", (4, 1))):
            assert connection.execute(select.format(schema)).fetchone() == expected


def test_a_malformed_reference_has_no_registry(put: Callable[..., str]) -> None:
    assert rows(put(ENCODE(REFUSED)), "SELECT registry, stage FROM failures") == [
        (None, "input")
    ]


def test_an_invalid_query_of_our_own_is_not_a_usage_error(
    put: Callable[..., str],
) -> None:
    with pytest.raises(duckdb.BinderException):
        rows(put(REPORT), "SELECT nothing FROM images")


def test_the_database_uses_no_network_and_limits_its_memory() -> None:
    with work_database() as connection:
        setting = "SELECT current_setting(?)"
        for name in ("autoinstall_known_extensions", "autoload_known_extensions"):
            assert connection.execute(setting, [name]).fetchone() == (False,)
        (limit,) = connection.execute(
            "SELECT parse_formatted_bytes(current_setting('memory_limit'))"
        ).fetchone() or (0,)
        assert 0 < limit <= MEMORY_LIMIT_BYTES
        loaded = connection.execute(
            "SELECT extension_name FROM duckdb_extensions()"
            " WHERE loaded AND install_mode = 'STATICALLY_LINKED'"
        ).fetchall()
        assert {("json",), ("parquet",)} <= set(loaded)


def test_the_database_and_spilled_data_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with work_database() as connection:
        assert any(tmp_path.iterdir())
        connection.execute("SET memory_limit = '50MB'")
        connection.execute("SET threads = 1")
        connection.execute(
            "CREATE TABLE much AS SELECT hash(i) AS h, repeat('x', 50) || i AS t"
            " FROM range(800000) AS numbers(i) ORDER BY h"
        )
        found = connection.execute("SELECT count(DISTINCT t) FROM much").fetchone()
        assert found == (800_000,)
    assert not any(tmp_path.iterdir())


# Fields that were added to schema 1 after its first version.
ADDED = {
    "platforms_left_out", "signed", "has_sbom", "has_provenance", "config", "base",
    "layer_traits", "predicates", "content", "alternatives",
}  # fmt: skip


def test_a_field_missing_from_an_older_report_is_null(
    put: Callable[..., str],
) -> None:
    def older(value: object) -> object:
        if isinstance(value, dict):
            return {k: older(one) for k, one in value.items() if k not in ADDED}
        return [older(one) for one in value] if isinstance(value, list) else value

    text = "".join(json.dumps(older(json.loads(line))) + "\n" for line in LINES)
    path = put(text.encode())
    assert counts(path) == ALL
    assert set(rows(path, "SELECT signed, platforms_left_out FROM images")) == {
        (None, None)
    }
    asked = "SELECT user, history, labels, base_name, layer_traits FROM platforms"
    assert set(map(str, rows(path, asked))) == {"(None, None, None, None, None)"}


def test_arm64_v8_in_an_older_report_is_read_as_arm64(put: Callable[..., str]) -> None:
    line = ENCODE(EVERYTHING).replace(b'"linux/arm64"', b'"linux/arm64/v8"')
    assert b'"linux/arm64/v8"' in line
    path = put(line)
    ((names,),) = rows(path, "SELECT architectures FROM images")
    assert names == ["linux/amd64", "linux/arm64"]
    assert ("linux/arm64",) in rows(path, "SELECT platform FROM platforms")


def earlier(line: bytes) -> bytes:
    """The line as the first version of the schema wrote it."""
    record = json.loads(line)
    for name in ("signed", "has_sbom", "has_provenance", "platforms_left_out"):
        record.pop(name, None)
    for one in record.get("platforms", ()):
        for name in ("config", "base", "layer_traits", "alternatives"):
            del one[name]
    for one in record.get("attachments", ()):
        del one["predicates"]
    if "access" in record:
        del record["access"]["credential"]
    return json.dumps(record).encode() + b"\n"


def test_every_command_reads_a_report_of_the_first_version(
    put: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = put(b"".join(map(earlier, LINES)), "old.jsonl")
    new = put(REPORT, "new.jsonl")
    assert counts(old) == ALL
    unknown = "SELECT count(signed), count(platforms_left_out) FROM images"
    assert rows(old, unknown) == [(0, 0)]
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[rules.all]\nforbid_root = true\nallowed_bases = ["*"]\n'
        'required_labels = ["a"]\nforbid_warnings = ["blob_missing"]\n'
        'required_platforms = ["linux/amd64"]\nrequired_attachments = ["sbom"]\n'
    )
    page = str(tmp_path / "page.html")
    for arguments, code in (
        (["diff", old, new, "--exit-code"], 0),
        (["layers", old], 0),
        (["check", old, "--policy", str(policy)], 1),
        (["export", old, "--to", "csv", "-o", str(tmp_path / "out")], 0),
        (["history", "add", str(tmp_path / "kept"), old], 0),
        (["html", old, "--previous", new, "--policy", str(policy), "-o", page], 0),
    ):
        assert (run(arguments), capsys.readouterr().err) == (code, "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["diff", "{whole}", "{partial}"], 2),
        (["diff", "{partial}", "{whole}"], 2),
        (["layers", "{partial}"], 2),
        (["layers", "{partial}", "--digest", "sha256:" + "a" * 64], 2),
        (["check", "{partial}", "--policy", "{policy}"], 2),
        (["bases", "{partial}"], 2),
        (["packages", "{partial}", "openssl", "--sbom", "{whole}"], 2),
        (["html", "{partial}", "-o", "{folder}/page.html"], 2),
        (["history", "add", "{folder}/kept", "{partial}"], 2),
        (["query", "{partial}", "select count(*) from images"], 0),
        (["export", "{partial}", "--to", "csv", "-o", "{folder}/out"], 0),
    ],
)
def test_a_question_about_all_needs_a_report_with_an_end(
    arguments: list[str],
    code: int,
    put: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What an unfinished report lacks looks removed, or like what no image has."""
    names = {
        "whole": put(REPORT, "whole.jsonl"),
        "partial": put(REPORT, "report.jsonl.partial"),
        "policy": put(b"[rules.all]\nforbid_root = true\n", "policy.toml"),
        "folder": str(tmp_path),
    }
    assert run([argument.format(**names) for argument in arguments]) == code
    error = capsys.readouterr().err
    assert ("did not come to its end; finish it with --resume" in error) == (code == 2)


_HEX = "a" * 64


@pytest.mark.parametrize(
    ("changes", "content"),
    [
        ({}, "image"),
        ({"tag": None}, "image"),
        ({"artifact_type": "application/x", "architectures": []}, "artifact"),
        # An index of images can have a type (OCI image-spec, image-index.md).
        ({"artifact_type": "application/x"}, "image"),
        ({"tag": f"sha256-{_HEX}.sig", "architectures": []}, "attachment"),
        ({"tag": f"sha256-{_HEX}.att"}, "attachment"),
        # The referrers fallback tag; imgpkg gives such tags to images.
        ({"tag": f"sha256-{_HEX}", "architectures": []}, "attachment"),
        ({"tag": f"sha256-{_HEX}"}, "image"),
        ({"tag": f"sha256-{_HEX}.imgpkg"}, "image"),
        ({"tag": "sha256-abc.sig"}, "image"),
    ],
)
def test_earlier_reports_are_read_as_if_they_said_what_a_reference_names(
    changes: dict[str, Any], content: str, put: Callable[..., str]
) -> None:
    line = {**json.loads(LINE), "architectures": ["linux/amd64"], **changes}
    del line["content"]
    with open_reports([put(json.dumps(line).encode())]) as connection:
        found = connection.execute("SELECT content FROM images").fetchall()
    assert found == [(content,)]


@pytest.mark.parametrize("variant", ["v8", "8", "V8"])
def test_the_views_name_a_platform_as_its_record_does(
    variant: str, put: Callable[..., str]
) -> None:
    line = json.loads(LINE) | {"architectures": [f"linux/aarch64/{variant}"]}
    line["platforms"] = [
        line["platforms"][0]
        | {"os": "linux", "architecture": "arm64", "variant": variant}
    ]
    with open_reports([put(json.dumps(line).encode())]) as connection:
        assert connection.execute(
            "SELECT architectures, platform, variant FROM images JOIN platforms"
            " USING (reference)"
        ).fetchall() == [(["linux/arm64"], "linux/arm64", variant)]
