"""Lists with an item on each line, and how lists are opened and decoded."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from auditor.errors import UsageError
from auditor.input import list_reader
from auditor.input.input_items import (
    MAX_TEXT_CHARS,
    InputItem,
    InputSelector,
    RejectedEntry,
)
from auditor.input.list_reader import ListReader, open_list
from auditor.input.lists import read_list, read_list_file
from auditor.oci.reference import TagPattern

DIGEST = "sha256:" + "ab" * 32


def items(data: bytes) -> list[InputItem]:
    return list(read_list(ListReader(io.BytesIO(data), "list")))


def summaries(data: bytes) -> list[str]:
    """Each item as its line number and its reference or `! detail`."""
    return [
        f"{item.place.removeprefix('list:')} "
        + (
            str(item.selector)
            if isinstance(item, InputSelector)
            else f"! {item.failure.detail.removeprefix(f'{item.place}: ')}"
        )
        for item in items(data)
    ]


# -- formats ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n \n# nothing\n", []),
        (b"alpine", ["1 docker.io/library/alpine:latest"]),
        (b"alpine\n", ["1 docker.io/library/alpine:latest"]),
        (
            b"# images\r\n\r\n  ghcr.io/a/b:1 \t# why\r\nalpine#1\r\n",
            ["3 ghcr.io/a/b:1", "4 !"],
        ),
        (b"\xef\xbb\xbfghcr.io/a/b:1", ["1 ghcr.io/a/b:1"]),
        (f"ghcr.io/a/b@{DIGEST}".encode(), [f"1 ghcr.io/a/b@{DIGEST}"]),
        (b"ghcr.io/a/b:1.*\nh.io/a:*", ["1 ghcr.io/a/b:1.*", "2 h.io/a:*"]),
        (b"[::1]:5000/a:1", ["1 [::1]:5000/a:1"]),
        # jq -r '.items[].image'
        (
            b"h.io/a\nnull\nh.io/null # null\n",
            ["1 h.io/a:latest", "2 ! null is what jq", "3 h.io/null:latest"],
        ),
    ],
)
def test_text_has_a_reference_on_each_line_and_comments(
    data: bytes, expected: list[str]
) -> None:
    found = summaries(data)
    assert len(found) == len(expected)
    assert all(map(str.startswith, found, expected))


def test_a_tag_pattern_in_a_list() -> None:
    (item,) = items(b"ghcr.io/a/b:1.*")
    assert isinstance(item, InputSelector)
    assert item.selector == TagPattern(
        registry="ghcr.io", repository="a/b", pattern="1.*"
    )


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"reference": "ghcr.io/a/b:1"}, ["ghcr.io/a/b:1"]),
        ({"repository": "ghcr.io/a/b", "tag": "1"}, ["ghcr.io/a/b:1"]),
        ({"repository": "ghcr.io/a/b"}, ["ghcr.io/a/b:latest"]),
        (
            {"registry": "ghcr.io", "repository": "a/b", "tag": None, "digest": DIGEST},
            [f"ghcr.io/a/b@{DIGEST}"],
        ),
        (
            {"repository": "ghcr.io/a/b", "tag": "1", "digest": DIGEST},
            [f"ghcr.io/a/b:1@{DIGEST}"],
        ),
        (
            {"repository": "h:5000/a", "tags": ["1", "2.*"]},
            ["h:5000/a:1", "h:5000/a:2.*"],
        ),
        (
            {"registry": "docker.io", "repository": "alpine"},
            ["docker.io/library/alpine:latest"],
        ),
        (
            {"repository": 1, "tag": "1"},
            ["! the repository must be a string; write it in quotes"],
        ),
        (
            {"repository": "a", "tag": 1.1},
            ["! the tag must be a string; write it in quotes"],
        ),
        ({"tag": "1"}, ["! no reference and no repository is set"]),
        (
            {"repository": "app", "tag": "5000/x"},
            ["! the tag must not contain / : or @"],
        ),
        (
            {"registry": "dtr", "repository": "team/app"},
            ["! the registry has no dot and no port; write host:port"],
        ),
        (
            {"registry": "https://dtr.example.com", "repository": "team/app"},
            ["! the registry must be a host or host:port"],
        ),
        (
            {"repository": "a", "tags": []},
            ["! tags must be a list with at least one tag"],
        ),
        (
            {"repository": "a", "tags": ["1", 2]},
            ["! each of the tags must be a string"],
        ),
        (
            {"repository": "a", "tags": ["1"], "tag": "2"},
            ["! tags cannot be combined with a tag or a digest"],
        ),
        # Fields beside a reference are the parts that it lacks.
        ({"reference": "a.io/x", "tag": "1"}, ["a.io/x:1"]),
        ({"reference": "a.io:5000/x", "tag": "1.*"}, ["a.io:5000/x:1.*"]),
        ({"reference": "a.io/x", "tags": ["1", "2"]}, ["a.io/x:1", "a.io/x:2"]),
        ({"reference": "a.io/x", "digest": DIGEST}, [f"a.io/x@{DIGEST}"]),
        (
            {"reference": "a.io/x", "tag": "1", "digest": DIGEST},
            [f"a.io/x:1@{DIGEST}"],
        ),
        ({"registry": "a.io", "reference": "team/x:1"}, ["a.io/team/x:1"]),
        ({"registry": "a.io:5000", "reference": "x", "tag": "1"}, ["a.io:5000/x:1"]),
        (
            {"registry": "index.docker.io", "reference": "docker.io/alpine:3"},
            ["docker.io/library/alpine:3"],
        ),
        # A name that people gave a registry is none.
        ({"registry": "prod", "reference": "a.io/x:1"}, ["a.io/x:1"]),
        # The tag is audited, as of a report: the digest is what it named then.
        ({"reference": "a.io/x:1", "tag": "1", "digest": DIGEST}, ["a.io/x:1"]),
        ({"reference": f"a.io/x@{DIGEST}", "tag": "1"}, [f"a.io/x@{DIGEST}"]),
        ({"reference": "a.io/x:1", "tags": ["web"]}, ["a.io/x:1"]),
        (
            {"registry": "oci", "reference": "oci:/x:team/app:1", "tag": "team/app:1"},
            ["oci:/x:team/app:1"],
        ),
        ({"reference": "oci:/x", "digest": DIGEST}, ["oci:/x"]),
        # Parts that contradict it.
        (
            {"reference": "a.io/x:1", "tag": "2"},
            ["! the tag is not the one in the reference"],
        ),
        (
            {"reference": f"a.io/x@{DIGEST}", "digest": f"sha256:{'9' * 64}"},
            ["! the digest is not the one in the reference"],
        ),
        (
            {"registry": "b.io", "reference": "a.io/x:1"},
            ["! the registry is not the one in the reference"],
        ),
        (
            {"registry": "prod", "reference": "team/x:1"},
            ["! the registry has no dot and no port; write host:port"],
        ),
        (
            {"reference": "a.io/x", "tag": "5000/x"},
            ["! the tag must not contain / : or @"],
        ),
    ],
)
def test_a_json_line_has_a_reference_or_its_parts(
    document: dict[str, object], expected: list[str]
) -> None:
    data = json.dumps(document).encode()
    assert summaries(data) == [f"1 {line}" for line in expected]


def test_an_invalid_json_line_does_not_affect_the_others() -> None:
    data = b'{"repository":"a.io/x"}\n{"repo\n[1]\n\n{"reference":"a.io/y:1"}'
    assert summaries(data) == [
        "1 a.io/x:latest",
        "2 ! not JSON: unexpected end of data at column 7",
        "3 ! the line is JSON but not an object",
        "5 a.io/y:1",
    ]


def test_lines_of_a_report_can_be_audited_again() -> None:
    failure = {
        "schema": 1,
        "kind": "failure",
        "reference": "ghcr.io/a/b:1",
        "registry": "ghcr.io",
        "repository": "a/b",
        "tag": "1",
        "digest": None,
        "failure": "timeout",
    }
    image = {**failure, "kind": "image", "tag": "2", "reference": "ghcr.io/a/b:2"}
    data = "\n".join(map(json.dumps, (failure, image))).encode()
    assert summaries(data) == ["1 ghcr.io/a/b:1", "2 ghcr.io/a/b:2"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"reference\na.io/x:1\n", ["2 a.io/x:1"]),
        (b"repository,tag\na.io/x,1\na.io/x,\n", ["2 a.io/x:1", "3 a.io/x:latest"]),
        (b"\xef\xbb\xbfRepository;Tag\r\na.io/x;1\r\n", ["2 a.io/x:1"]),
        (b"tag\trepository\tnote\n1\ta.io/x\t\n", ["2 a.io/x:1"]),
        (b"# c\nrepository,tag\n# c\n\na.io/x,1", ["5 a.io/x:1"]),
        (
            b'"size, MB","repository","tag"\n"1,5","a.io/x","1"\n2," a.io/y ",""\n',
            ["2 a.io/x:1", "3 a.io/y:latest"],
        ),
        (
            f"registry,repository,digest\na.io,x,{DIGEST}".encode(),
            [f"2 a.io/x@{DIGEST}"],
        ),
        (b"reference,repository\na.io/x:1,b.io/y", ["2 a.io/x:1"]),
        (b"reference,tag\na.io/x,1\na.io/x,2\n", ["2 a.io/x:1", "3 a.io/x:2"]),
        (
            b"registry,reference\na.io,x:1\n,y:1\n",
            ["2 a.io/x:1", "3 docker.io/library/y:1"],
        ),
        (b"repository,note\na.io/x,caf\xe9", ["2 a.io/x:latest"]),
        (
            b'repository,tag\na.io/x,"1\na.io/y,2,3\na.io/z,1',
            [
                "2 ! the quotes on this line do not match",
                "3 ! the row has 3 fields, the header has 2",
                "4 a.io/z:1",
            ],
        ),
        (b"repository,tag\n,1", ["2 ! no reference and no repository is set"]),
        # As spreadsheets write them: rows that are empty, end early or are too long.
        (b"repository,tag,note\n,,\n\t\n,\na.io/x,1,\n", ["5 a.io/x:1"]),
        (
            b"note,repository,tag\n1,a.io/x\n2\n",
            ["2 a.io/x:latest", "3 ! no reference"],
        ),
        (b"repository;tag\r\na.io/x;1;;\r\n;;;;\r\n", ["2 a.io/x:1"]),
        (b'repository,tag\n"",""\n" "," "\na.io/x\n', ["4 a.io/x:latest"]),
        # Two columns with one name: the value that is there; both must agree.
        (
            b"tag,repository,tag\n1,a.io/x,1\n,a.io/y,2\n3,a.io/z\n1,a.io/x,2\n",
            [
                "2 a.io/x:1",
                "3 a.io/y:2",
                "4 a.io/z:3",
                "5 ! two columns named tag have different values",
            ],
        ),
    ],
)
def test_csv_columns_are_found_by_the_header(data: bytes, expected: list[str]) -> None:
    found = summaries(data)
    assert len(found) == len(expected), found
    assert all(map(str.startswith, found, expected)), found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"repository": "a.io/x", "tag": "1", "tag": "1"}', "1 a.io/x:1"),
        ('{"reference": "a.io/x", "a": {"reference": "b"}}', "1 a.io/x:latest"),
        ('{"reference": "a.io/x", "note": 1, "note": 2}', "1 a.io/x:latest"),
        ('{"reference": "a.io/x", "reference": "a.io/y"}', "1 ! the reference occurs"),
        (
            '{"repository": "a.io/x", "tag": "1", "tag": "2"}',
            "1 ! the tag occurs twice",
        ),
        (
            '{"repository": "a", "tags": ["1"], "tags": ["2"]}',
            "1 ! the tags occurs twi",
        ),
    ],
)
def test_a_field_that_occurs_twice_has_one_value(line: str, expected: str) -> None:
    (found,) = summaries(line.encode())
    assert found.startswith(expected)


# -- damage ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text", "detail"),
    [
        (b"a.io/x\xff", r"a.io/x\udcff", "the line is not UTF-8 text"),
        (b"a.io/\0x", r"a.io/\x00x", "the line contains a NUL byte"),
        (b"a.io/x\x1b[2J", r"a.io/x\x1b[2J", None),
        ("a.io/\u202ex".encode(), r"a.io/\u202ex", None),
    ],
)
def test_a_damaged_line_is_malformed_and_safe_to_print(
    line: bytes, text: str, detail: str | None
) -> None:
    first, bad, last = items(b"a.io/a\n" + line + b"\na.io/b\n")
    assert isinstance(first, InputSelector)
    assert isinstance(last, InputSelector)
    assert isinstance(bad, RejectedEntry)
    assert (bad.text, bad.place) == (text, "list:2")
    assert detail is None or bad.failure.detail == f"list:2: {detail}"
    assert bad.failure.detail.isprintable()
    assert bad.failure.attempts == 0  # no request was sent


@pytest.mark.parametrize("first", [b"", b"a.io/a\n", b"repository\n", b'{"tag":"1"}\n'])
def test_a_line_beyond_the_limit_is_malformed_in_every_format(
    monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    monkeypatch.setattr("auditor.input.lists.MAX_LINE_CHARS", 300)
    # The text before the limit is a valid reference.
    found = items(first + b"a.io/b" + b" " * 1000 + b"# long\n")
    assert isinstance(found[-1], RejectedEntry)
    assert found[-1].failure.detail.endswith(": the line is longer than 300 characters")
    assert len(found[-1].text) == MAX_TEXT_CHARS


def test_utf_16_is_an_error_with_advice() -> None:
    with pytest.raises(UsageError, match="list: the list is UTF-16; save it as UTF-8"):
        items("a.io/x\r\n".encode("utf-16"))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("a.io/x\r\na.io/y\r\n".encode("utf-16-le"), id="utf-16"),
        pytest.param("a.io/x".encode("utf-16-be"), id="utf-16, one line"),
        pytest.param(b"PK\x03\x04\x14\x00\x06\x00", id="a workbook"),
        pytest.param(b"\x7fELF\x02\x01\x01\x00\x00", id="a program"),
    ],
)
def test_a_list_that_is_not_text_is_one_error_not_one_for_each_line(
    data: bytes,
) -> None:
    with pytest.raises(UsageError, match="list: the list is not text; save a workbook"):
        items(data)


@pytest.mark.parametrize(
    ("compress", "how"),
    [
        (gzip.compress, r"\(gzip\); decompress it: gzip -dc FILE"),
        (lzma.compress, r"\(xz\); decompress it: xz -dc FILE"),
        # RFC 8878 section 3.1.1: the magic number, a descriptor, a block.
        (b"\x28\xb5\x2f\xfd\x04\x00".__add__, r"\(Zstandard\); .* zstd -dc FILE"),
    ],
)
def test_a_compressed_list_is_an_error_with_advice(
    compress: Callable[[bytes], bytes], how: str
) -> None:
    with pytest.raises(UsageError, match=f"list: the list is compressed {how}"):
        items(compress(b"a.io/x\n"))


@pytest.mark.parametrize("data", [b"[\n", b'[{"repository":"a"}]', b'\n [ "a" ]'])
def test_a_json_array_is_an_error_with_advice(data: bytes) -> None:
    with pytest.raises(
        UsageError, match=r"list:\d: JSON arrays are not supported; write one"
    ):
        items(data)


# -- streams ---------------------------------------------------------------------


class Trickle(io.BytesIO):
    """Returns a few bytes at a time, as pipes do."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__(data)
        self._step = step

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(self._step)


@pytest.mark.parametrize("step", range(1, 8))
def test_lines_do_not_depend_on_block_boundaries(step: int) -> None:
    data = "\ufeffa\nb€\r\n\n\ncdefghij".encode()
    found = list(ListReader(Trickle(data, step), "list"))
    assert found == ["a", "b€\r", "", "", "cdefghij"]


def test_a_line_beyond_the_limit_is_not_kept_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(list_reader, "BLOCK_BYTES", 10)
    monkeypatch.setattr(list_reader, "MAX_LINE_CHARS", 20)
    data = b"a\n" + b"x" * 1000 + b"\nb\n"
    first, long, last = ListReader(io.BytesIO(data), "list")
    assert (first, last) == ("a", "b")
    assert 20 < len(long) < 120


@pytest.mark.parametrize(
    "data",
    [
        b"{}\n",
        b'{"reference": "{}"}\n',
        b'{"repository": "{}"}\n',
        b"reference\n{}\n",
        b"registry,repository\n,{}\n",
        b"FROM {}\n",
        b"ARG BASE={}\nFROM $BASE\n",
        b"services: {a: {image: '{}'}}\n",
        b"apiVersion: v1\nkind: Pod\nspec: {containers: [{image: '{}'}]}\n",
        b'{"apiVersion": "v1", "kind": "Pod",'
        b' "spec": {"containers": [{"image": "{}"}]}}',
    ],
)
@pytest.mark.parametrize(
    "text", [b"registry.example.com", b"localhost:5000", b"myhost:5000"]
)
def test_a_host_alone_is_refused_in_every_format(data: bytes, text: bytes) -> None:
    def one(name: bytes) -> InputItem:
        (item,) = items(data.replace(b"{}", name))
        return item

    refused = one(text)
    assert isinstance(refused, RejectedEntry)
    assert f"write {text.decode()}/repository:tag" in refused.failure.detail
    image = one(b"nginx:1.25")
    assert isinstance(image, InputSelector)
    assert str(image.selector) == "docker.io/library/nginx:1.25"


def test_items_are_returned_before_the_list_ends() -> None:
    class Endless(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return b"a.io/x\n"

    found = itertools.islice(read_list(ListReader(Endless(), "list")), 3)
    assert [item.place for item in found] == ["list:1", "list:2", "list:3"]


def test_places_name_the_list_file(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a.io/x\n!\n")
    good, bad = read_list_file(str(path))
    assert isinstance(good, InputSelector)
    assert isinstance(bad, RejectedEntry)
    assert (good.place, bad.place) == (f"{path}:1", f"{path}:2")


def test_standard_input_is_read_and_left_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a.io/x")
    with path.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        (item,) = read_list_file("-")
        assert item.place == "stdin:1"
        assert stdin.seek(0) == 0  # its descriptor is open


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gone.txt", "No such file or directory"), (".", "Is a directory")],
)
def test_a_list_that_cannot_be_opened_is_an_error(
    tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=f"the list cannot be read: {reason}"):
        open_list(str(tmp_path / name))
