"""Versions have a total order in each ecosystem."""

from __future__ import annotations

import functools
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from auditor.analysis.package_versions import compare_versions, version_key
from tests.examples import examples

KINDS = st.sampled_from(
    ["apk", "deb", "gem", "golang", "generic", "maven", "npm", "nuget", "pypi", "rpm"]
)
PIECES = st.sampled_from(
    [
        "0", "1", "00", "10", "02", ".", "-", "~", "^", "+", "_", ":", "!", "a", "rc",
        "p", "alpha", "_alpha", "-r1", ".dev", ".post", "-rc.", "x", "git",
    ]
)  # fmt: skip
VERSIONS = st.lists(PIECES, min_size=1, max_size=6).map("".join)


@examples(200)
@given(KINDS, st.lists(VERSIONS, min_size=2, max_size=8))
def test_sorting_agrees_with_every_comparison(kind: str, versions: list[str]) -> None:
    known = [one for one in versions if version_key(kind, one) is not None]

    def compare(left: str, right: str) -> int:
        order = compare_versions(kind, left, right)
        assert order is not None
        return order

    ordered = sorted(known, key=functools.cmp_to_key(compare))
    for first, second in combinations(ordered, 2):
        assert compare(first, second) <= 0
        assert compare(second, first) >= 0
