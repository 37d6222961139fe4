from __future__ import annotations

import gzip
import io
import itertools
import json
import lzma
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auditor.errors import UsageError
from auditor.input import items as lines_module
from auditor.input.items import MAX_TEXT_CHARS
from auditor.input.lists import (
    Item,
    Listed,
    Malformed,
    open_list,
    read_lines,
    read_list,
    read_list_file,
)
from auditor.oci.reference import TagPattern

DIGEST = "sha256:" + "ab" * 32


def items(data: bytes) -> list[Item]:
    return list(read_list(read_lines(io.BytesIO(data), "list"), "list"))


def told(data: bytes) -> list[str]:
    """Each item in short: the reference, or `! why not`, after its line number."""
    return [
        f"{item.place.removeprefix('list:')} "
        + (str(item.selector) if isinstance(item, Listed) else f"! {item.detail}")
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
    ],
)
def test_text_is_a_reference_a_line_with_comments(
    data: bytes, expected: list[str]
) -> None:
    found = told(data)
    assert len(found) == len(expected)
    assert all(map(str.startswith, found, expected))


def test_a_tag_pattern_is_listed_as_one() -> None:
    (item,) = items(b"ghcr.io/a/b:1.*")
    assert isinstance(item, Listed)
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
            ["! the repository is not a text; write it in quotes"],
        ),
        (
            {"repository": "a", "tag": 1.1},
            ["! the tag is not a text; write it in quotes"],
        ),
        ({"tag": "1"}, ["! neither a reference nor a repository is given"]),
        (
            {"repository": "app", "tag": "5000/x"},
            ["! the tag holds one of / : @ and is not a tag"],
        ),
        (
            {"registry": "dtr", "repository": "team/app"},
            ["! the registry has neither a dot nor a port"],
        ),
        (
            {"registry": "https://dtr.example.com", "repository": "team/app"},
            ["! the registry is not a host or host:port alone"],
        ),
        (
            {"repository": "a", "tags": []},
            ["! the tags are not a list with something in it"],
        ),
        ({"repository": "a", "tags": ["1", 2]}, ["! one of the tags is not a text"]),
        (
            {"repository": "a", "tags": ["1"], "tag": "2"},
            ["! tags are given beside a tag or a digest"],
        ),
    ],
)
def test_a_json_line_tells_a_reference_whole_or_in_parts(
    document: dict[str, object], expected: list[str]
) -> None:
    data = json.dumps(document).encode()
    assert told(data) == [f"1 {line}" for line in expected]


def test_a_json_line_with_a_mistake_does_not_harm_the_others() -> None:
    data = b'{"repository":"a.io/x"}\n{"repo\n[1]\n\n{"reference":"a.io/y:1"}'
    assert told(data) == [
        "1 a.io/x:latest",
        "2 ! not JSON: unexpected end of data at column 7",
        "3 ! JSON but not an object",
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
    assert told(data) == ["1 ghcr.io/a/b:1", "2 ghcr.io/a/b:2"]


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
        (b"repository,note\na.io/x,caf\xe9", ["2 a.io/x:latest"]),
        (
            b'repository,tag\na.io/x,"1\na.io/y,2,3\na.io/z,1',
            [
                "2 ! the quotes on this line do not match",
                "3 ! 3 fields where the header has 2",
                "4 a.io/z:1",
            ],
        ),
        (b"repository,tag\n,1", ["2 ! neither a reference nor a repository is given"]),
    ],
)
def test_csv_is_read_by_the_names_in_its_header(
    data: bytes, expected: list[str]
) -> None:
    assert told(data) == expected


# -- damage ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text", "detail"),
    [
        (b"a.io/x\xff", r"a.io/x\udcff", "the line is not UTF-8 text"),
        (b"a.io/\0x", r"a.io/\x00x", "the line holds a NUL byte"),
        (b"a.io/x\x1b[2J", r"a.io/x\x1b[2J", None),
        ("a.io/\u202ex".encode(), r"a.io/\u202ex", None),
    ],
)
def test_a_damaged_line_is_malformed_and_safe_to_print(
    line: bytes, text: str, detail: str | None
) -> None:
    first, bad, last = items(b"a.io/a\n" + line + b"\na.io/b\n")
    assert isinstance(first, Listed)
    assert isinstance(last, Listed)
    assert isinstance(bad, Malformed)
    assert (bad.text, bad.place) == (text, "list:2")
    assert detail in (None, bad.detail)
    assert bad.detail.isprintable()


@pytest.mark.parametrize("first", [b"", b"a.io/a\n", b"repository\n", b'{"tag":"1"}\n'])
def test_an_overlong_line_is_malformed_in_every_format(
    monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    monkeypatch.setattr("auditor.input.lists.MAX_LINE_CHARS", 300)
    # What stands before the limit would be a good reference.
    found = items(first + b"a.io/b" + b" " * 1000 + b"# long\n")
    assert isinstance(found[-1], Malformed)
    assert found[-1].detail == "the line is longer than 300 characters"
    assert len(found[-1].text) == MAX_TEXT_CHARS


def test_utf_16_is_refused_with_what_to_do_about_it() -> None:
    with pytest.raises(UsageError, match="list: the list is UTF-16; save it as UTF-8"):
        items("a.io/x\r\n".encode("utf-16"))


@pytest.mark.parametrize(
    ("compress", "how"),
    [
        (gzip.compress, r"\(gzip\); give its text, as in gzip -dc FILE"),
        (lzma.compress, r"\(xz\); give its text, as in xz -dc FILE"),
        # RFC 8878 section 3.1.1: the magic number, a descriptor, a block.
        (b"\x28\xb5\x2f\xfd\x04\x00".__add__, r"\(Zstandard\); .* zstd -dc FILE"),
    ],
)
def test_a_compressed_list_is_refused_with_what_to_do_about_it(
    compress: Callable[[bytes], bytes], how: str
) -> None:
    with pytest.raises(UsageError, match=f"list: the list is compressed {how}"):
        items(compress(b"a.io/x\n"))


@pytest.mark.parametrize("data", [b"[\n", b'[{"repository":"a"}]', b'\n [ "a" ]'])
def test_a_json_array_is_refused_with_what_to_do_about_it(data: bytes) -> None:
    with pytest.raises(UsageError, match=r"list:\d: a JSON array; one object a line"):
        items(data)


# -- streams ---------------------------------------------------------------------


class Trickle(io.BytesIO):
    """Gives a few bytes at a time, as pipes do."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__(data)
        self._step = step

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(self._step)


@pytest.mark.parametrize("step", range(1, 8))
def test_lines_do_not_depend_on_how_the_bytes_come_in(step: int) -> None:
    data = "\ufeffa\nb€\r\n\n\ncdefghij".encode()
    found = list(read_lines(Trickle(data, step), "list"))
    assert found == ["a", "b€\r", "", "", "cdefghij"]


def test_of_a_line_without_an_end_no_more_is_kept_than_shows_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines_module, "BLOCK_BYTES", 10)
    data = b"a\n" + b"x" * 1000 + b"\nb\n"
    first, long, last = read_lines(io.BytesIO(data), "list", max_line_chars=20)
    assert (first, last) == ("a", "b")
    assert 20 < len(long) < 120


def test_an_item_is_there_before_the_rest_of_the_list_is_read() -> None:
    def endless() -> Iterator[str]:
        for number in itertools.count():
            yield f"a.io/x:{number}"

    found = itertools.islice(read_list(endless(), "list"), 3)
    assert [item.place for item in found] == ["list:1", "list:2", "list:3"]


def test_a_list_file_is_read_and_named_in_places(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a.io/x\n!\n")
    good, bad = read_list_file(str(path))
    assert isinstance(good, Listed)
    assert isinstance(bad, Malformed)
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
def test_a_list_that_cannot_be_opened_is_said_so(
    tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=f"the list cannot be read: {reason}"):
        open_list(str(tmp_path / name))
