from __future__ import annotations

import io
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.errors import ProtocolError, UsageError
from auditor.input.lists import Item, Listed, read_lines, read_list
from auditor.input.skopeo import parse_constraint, parse_version

# What a hostile or clumsy document may hold where something else is expected.
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


def found_in(text: str) -> list[Item] | None:
    """The items of a document, safe to show; null for one that is refused."""
    data = text.encode("utf-8", "surrogateescape")
    items: list[Item] = []
    refusal = ""
    try:
        items += read_list(read_lines(io.BytesIO(data), "list"), "list")
    except UsageError as error:
        refusal = str(error)
    assert refusal.isprintable()
    for item in items:
        if not isinstance(item, Listed):
            assert item.detail
            assert item.detail.isprintable()
            assert item.text.isprintable()
    return None if refusal else items


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS)
def test_any_document_gives_safe_items_or_is_refused_however_it_is_written(
    document: dict[str, Any],
) -> None:
    pretty = json.dumps(document, indent=1)
    as_json, as_yaml = (found_in(text) for text in (pretty, "---\n" + pretty))
    # JSON is YAML; but for YAML everything that stands alone is a text.
    if as_json is not None and as_yaml is not None:
        assert _selectors(as_json) <= _selectors(as_yaml)


def _selectors(items: list[Item]) -> set[str]:
    return {str(item.selector) for item in items if isinstance(item, Listed)}


FRAGMENTS = st.sampled_from(
    [
        "\n", " ", "  ", ":", "- ", "[", "]", "{", "}", "&a ", "*a", "<<: *a", "!!x ",
        '"', "'", "#", "---\n", "a", "a.io", "images", "services", "image", "|", "`",
        "kind: Pod", "apiVersion: v1", "FROM ", "ARG A=", "${A}", "COPY --from=",
        "\\\n", "<<EOF", "\t", "\x00", "\udc80", "\u202e", "AS b", "x:1",
    ]
)  # fmt: skip
NOISE = st.lists(FRAGMENTS, max_size=20).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["a:", "---\n", "FROM a.io/x", "{\n", "a.io: {images: "]), NOISE)
def test_noise_after_the_beginning_of_a_document_gives_safe_items_or_is_refused(
    start: str, noise: str
) -> None:
    found = found_in(start + noise)
    assert found is None or isinstance(found, list)


NUMBER = st.integers(min_value=0, max_value=30)
PRE = st.from_regex(r"(-[a-z0-9][a-z1-9]{0,2}(\.[1-9]){0,2})?", fullmatch=True)
VERSIONS = st.builds("{}.{}.{}{}".format, NUMBER, NUMBER, NUMBER, PRE)


@settings(max_examples=300, deadline=None)
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


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123.xX*v-+<>=!~^|, ab\n", max_size=30))
def test_a_constraint_of_noise_is_read_or_refused(text: str) -> None:
    version = parse_version("1.2.3")
    assert version is not None
    try:
        allowed = parse_constraint(text).allows(version)
    except ProtocolError:
        return
    assert allowed in {True, False}
