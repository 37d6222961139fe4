from __future__ import annotations

import csv
import io
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import ProtocolError, UsageError
from auditor.input.input_items import InputItem, InputSelector
from auditor.input.list_reader import ListReader
from auditor.input.lists import read_list
from auditor.input.skopeo import parse_constraint, parse_version
from auditor.oci.reference import parse_reference
from tests.examples import examples

# Values that a hostile or broken document may contain.
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    | st.sampled_from(["a.io/x:1", "${A}", "sha256:" + "a" * 64, "\x1b[2J", ">=1"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            [
                "spec", "containers", "initContainers", "image", "name", "metadata",
                "namespace", "template", "jobTemplate", "status", "containerStatuses",
                "imageID", "items", "images", "images-by-semver", "services", "build",
                "images-by-tag-regex", "credentials", "include", "a.io", "x", "volumes",
            ]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
FRAMES = st.sampled_from(
    [
        {"apiVersion": "v1", "kind": "Pod"},
        {"apiVersion": "v1", "kind": "PodList"},
        {"services": {}},
        {},
    ]
)
KEYS = st.sampled_from(["spec", "status", "items", "services", "a.io", "metadata"])
DOCUMENTS = st.builds(
    lambda frame, rest: {**frame, **rest},
    FRAMES,
    st.dictionaries(KEYS, VALUES, max_size=4),
)


def found_in(text: str) -> list[InputItem] | None:
    """The items of a document, which are printable; `None` if it is an error."""
    data = text.encode("utf-8", "surrogateescape")
    items: list[InputItem] = []
    refusal = ""
    try:
        items += read_list(ListReader(io.BytesIO(data), "list"))
    except UsageError as error:
        refusal = str(error)
    assert refusal.isprintable()
    for item in items:
        if not isinstance(item, InputSelector):
            assert item.failure.detail
            assert item.failure.detail.isprintable()
            assert item.text.isprintable()
    return None if refusal else items


@examples(200)
@given(DOCUMENTS)
def test_any_document_gives_printable_items_or_an_error(
    document: dict[str, Any],
) -> None:
    pretty = json.dumps(document, indent=1)
    as_json, as_yaml = (found_in(text) for text in (pretty, "---\n" + pretty))
    # JSON is YAML, but here a YAML scalar is always a string.
    if as_json is not None and as_yaml is not None:
        assert _selectors(as_json) <= _selectors(as_yaml)


def _selectors(items: list[InputItem]) -> set[str]:
    return {str(item.selector) for item in items if isinstance(item, InputSelector)}


FRAGMENTS = st.sampled_from(
    [
        "\n", " ", "  ", ":", "- ", "[", "]", "{", "}", "&a ", "*a", "<<: *a", "!!x ",
        '"', "'", "#", "---\n", "a", "a.io", "images", "services", "image", "|", "`",
        "kind: Pod", "apiVersion: v1", "FROM ", "ARG A=", "${A}", "COPY --from=",
        "\\\n", "<<EOF", "\t", "\x00", "\udc80", "\u202e", "AS b", "x:1",
    ]
)  # fmt: skip
NOISE = st.lists(FRAGMENTS, max_size=20).map("".join)


@examples(300)
@given(st.sampled_from(["a:", "---\n", "FROM a.io/x", "{\n", "a.io: {images: "]), NOISE)
def test_noise_in_a_document_gives_printable_items_or_an_error(
    start: str, noise: str
) -> None:
    found = found_in(start + noise)
    assert found is None or isinstance(found, list)


NUMBER = st.integers(min_value=0, max_value=30)
PRE = st.from_regex(r"(-[a-z0-9][a-z1-9]{0,2}(\.[1-9]){0,2})?", fullmatch=True)
VERSIONS = st.builds("{}.{}.{}{}".format, NUMBER, NUMBER, NUMBER, PRE)


@examples(300)
@given(VERSIONS, VERSIONS)
def test_comparisons_agree_with_the_order_of_versions(one: str, other: str) -> None:
    version, limit = parse_version(one), parse_version(other)
    if version is None or limit is None:
        return  # a number with a zero before it
    comparable = version.is_release or not limit.is_release

    def allows(operator: str) -> bool:
        assert version is not None
        return parse_constraint(operator + other).allows(version)

    assert allows("<") == (comparable and version < limit)
    assert allows("<=") == (comparable and version <= limit)
    assert allows("=") == (comparable and version == limit)
    assert allows("!=") == (comparable and version != limit)
    assert allows(">=") == (comparable and version >= limit)
    assert allows(">") == (comparable and version > limit)
    assert allows("<=") or not allows("<")
    assert not allows("~") or allows(">=")
    assert not allows("^") or allows(">=")


@examples(300)
@given(st.text(alphabet="0123.xX*v-+<>=!~^|, ab\n", max_size=30))
def test_any_constraint_is_parsed_or_rejected(text: str) -> None:
    version = parse_version("1.2.3")
    assert version is not None
    try:
        allowed = parse_constraint(text).allows(version)
    except ProtocolError:
        return
    assert allowed in {True, False}


PART = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}", fullmatch=True)
REFERENCES = st.lists(
    st.builds("{}.example/{}/{}:{}".format, PART, PART, PART, TAG),
    min_size=1,
    max_size=20,
)


def selectors(data: bytes) -> list[str]:
    found = list(read_list(ListReader(io.BytesIO(data), "list")))
    assert all(isinstance(item, InputSelector) for item in found)
    return [str(item.selector) for item in found if isinstance(item, InputSelector)]


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


@examples(100)
@given(REFERENCES, st.sampled_from(",;\t"))
def test_all_line_formats_give_the_same_references(
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
TEST_LISTS_NOISE = st.lists(FRAGMENT | st.binary(max_size=6), max_size=25).map(b"".join)


@examples(300)
@given(TEST_LISTS_NOISE)
def test_each_line_of_noise_gives_a_printable_item_or_the_list_an_error(
    data: bytes,
) -> None:
    try:
        found = list(read_list(ListReader(io.BytesIO(data), "list")))
    except UsageError:
        return
    numbers = [int(item.place.removeprefix("list:")) for item in found]
    assert numbers == sorted(numbers)
    for item in found:
        if not isinstance(item, InputSelector):
            json.dumps(item.text).encode()
            assert "\n" not in item.text
            assert item.failure.detail
    meaning = [
        number
        for number, line in enumerate(data.decode(errors="replace").split("\n"), 1)
        if line.strip("\ufeff \t\r") and not line.lstrip().startswith("#")
    ]
    # A CSV header, the first line that is not blank, is not an item.
    assert set(meaning[1:]) <= {*numbers, *_blank_to_python(data)}


def _blank_to_python(data: bytes) -> set[int]:
    """Lines that contain only blanks in the sense of Python (U+001F, U+0085, ...).

    So are rows of empty cells, which spreadsheets write below a table.
    """
    lines = data.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").split("\n")
    return {
        number
        for number, line in enumerate(lines, 1)
        if not line.strip()
        or line.strip().startswith("#")
        or (number > 1 and not line.strip(",;\t \r"))
    }


@examples(200)
@given(st.binary(max_size=60), st.integers(min_value=1, max_value=9))
def test_blocks_of_any_size_give_the_same_lines(data: bytes, size: int) -> None:
    class Blocks(io.BytesIO):
        def read1(self, _size: int | None = -1, /) -> bytes:
            return super().read1(size)

    compressed = (b"\x1f\x8b\x08", b"\x28\xb5\x2f", b"\xfd7z")
    if data.startswith((b"\xff\xfe", b"\xfe\xff", *compressed)):
        return
    if b"\0" in data.partition(b"\n")[0]:
        return  # it is not text
    whole = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    expected = whole.removesuffix("\n").split("\n") if whole else []
    assert list(ListReader(Blocks(data), "list")) == expected
