from __future__ import annotations

import csv
import io
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.errors import UsageError
from auditor.input.items import read_lines as read_lines_in_blocks
from auditor.input.lists import Listed, read_lines, read_list
from auditor.oci.reference import parse_reference

PART = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}", fullmatch=True)
REFERENCES = st.lists(
    st.builds("{}.example/{}/{}:{}".format, PART, PART, PART, TAG),
    min_size=1,
    max_size=20,
)


def selectors(data: bytes) -> list[str]:
    found = list(read_list(read_lines(io.BytesIO(data), "list"), "list"))
    assert all(isinstance(item, Listed) for item in found)
    return [str(item.selector) for item in found if isinstance(item, Listed)]


def as_text(references: list[str]) -> bytes:
    return "\n".join(references).encode()


def as_json(references: list[str]) -> bytes:
    lines = []
    for text in references:
        found = parse_reference(text)
        lines.append(
            json.dumps(
                {
                    "registry": found.registry,
                    "repository": found.repository,
                    "tag": found.tag,
                }
            )
        )
    return "\n".join(lines).encode()


def as_csv(references: list[str], delimiter: str) -> bytes:
    stream = io.StringIO(newline="")
    rows = csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    rows.writerow(["note, of no use", "tag", "repository"])
    for text in references:
        repository, _, tag = text.rpartition(":")
        rows.writerow(['a "note"; ,\t', tag, repository])
    return stream.getvalue().encode()


@settings(max_examples=100, deadline=None)
@given(REFERENCES, st.sampled_from(",;\t"))
def test_every_format_tells_the_same_references(
    references: list[str], delimiter: str
) -> None:
    assert selectors(as_text(references)) == references
    assert selectors(as_json(references)) == references
    assert selectors(as_csv(references, delimiter)) == references


FRAGMENT = st.sampled_from(
    [
        b"\n", b"\r\n", b"#", b" ", b",", b";", b"\t", b'"', b"{", b"}", b"[", b"\0",
        b"\xff", b"\xef\xbb\xbf", b"reference", b"repository", b"tag", b"tags", b":",
        b"@", b"*", b"alpine", b'{"reference":"a"}', b'{"repository":"a","tags":["1"]}',
        b"null", "\u202e".encode(),
    ]
)  # fmt: skip
NOISE = st.lists(FRAGMENT | st.binary(max_size=6), max_size=25).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(NOISE)
def test_each_line_of_noise_gives_one_safe_item_or_the_list_is_refused(
    data: bytes,
) -> None:
    try:
        found = list(read_list(read_lines(io.BytesIO(data), "list"), "list"))
    except UsageError:
        return
    numbers = [int(item.place.removeprefix("list:")) for item in found]
    assert numbers == sorted(numbers)
    for item in found:
        if not isinstance(item, Listed):
            json.dumps(item.text).encode()
            assert "\n" not in item.text
            assert item.detail
    meaning = [
        number
        for number, line in enumerate(data.decode(errors="replace").split("\n"), 1)
        if line.strip("\ufeff \t\r") and not line.lstrip().startswith("#")
    ]
    # A CSV header, in the first line that means something, is no item.
    assert set(meaning[1:]) <= {*numbers, *_blank_to_python(data)}


def _blank_to_python(data: bytes) -> set[int]:
    """Lines of nothing but what Python takes for blanks (U+001F, U+0085, ...)."""
    lines = data.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").split("\n")
    return {
        number
        for number, line in enumerate(lines, 1)
        if not line.strip() or line.strip().startswith("#")
    }


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(min_value=1, max_value=9))
def test_blocks_of_any_size_give_the_same_lines(data: bytes, size: int) -> None:
    class Blocks(io.BytesIO):
        def read1(self, _size: int | None = -1, /) -> bytes:
            return super().read1(size)

    compressed = (b"\x1f\x8b\x08", b"\x28\xb5\x2f", b"\xfd7z")
    if data.startswith((b"\xff\xfe", b"\xfe\xff", *compressed)):
        return
    whole = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    expected = whole.removesuffix("\n").split("\n") if whole else []
    assert list(read_lines_in_blocks(Blocks(data), "list")) == expected
