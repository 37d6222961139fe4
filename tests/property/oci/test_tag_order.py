from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditor.input.skopeo import parse_version
from auditor.oci.tag_order import natural_key, tag_order

NUMBER = st.integers(0, 12)
RELEASE = st.builds("{}.{}.{}".format, NUMBER, NUMBER, NUMBER)
ANNOUNCED = st.sampled_from(["alpha", "beta", "rc"])
# Versions that must have the order of semver.org.
SEMVER = st.one_of(
    RELEASE,
    st.builds("v{}".format, RELEASE),
    st.builds("{}-{}".format, RELEASE, ANNOUNCED),
    st.builds("{}-{}.{}".format, RELEASE, ANNOUNCED, NUMBER),
)
# Text similar to tags that are versions.
TAG = st.lists(
    st.sampled_from(
        ["v", "1", "2", "10", "0", "007", ".", ".", "-", "_", "rc", "RC", "a", "b1",
         "alpha", "beta.2", "alpine", "latest", "main", "sha", "20240131", "x"]
    ),
    min_size=1,
    max_size=8,
).map("".join)  # fmt: skip


@given(SEMVER, SEMVER)
def test_semantic_versions_keep_their_order(one: str, other: str) -> None:
    first, second = parse_version(one), parse_version(other)
    assert first is not None
    assert second is not None
    if first != second:
        assert (tag_order(one) < tag_order(other)) is (first < second)


@given(TAG | st.text(), TAG | st.text())
def test_the_tag_order_is_total(one: str, other: str) -> None:
    first, second = tag_order(one), tag_order(other)
    assert (first == second) is (one == other)
    assert (first < second) is not (first >= second)


@given(RELEASE | st.builds("v{}".format, RELEASE) | st.builds("{}".format, NUMBER))
def test_pre_release_variant_and_release_sort_in_this_order(tag: str) -> None:
    assert tag_order(f"{tag}-rc1") < tag_order(f"{tag}-slim") < tag_order(tag)


@given(st.text(), st.text())
def test_numbers_in_names_are_compared_as_numbers(one: str, other: str) -> None:
    assert (natural_key(one) == natural_key(other)) is (one == other)
    assert natural_key(f"{one.rstrip('0123456789')}9") < natural_key(
        f"{one.rstrip('0123456789')}10"
    )
