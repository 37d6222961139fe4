from __future__ import annotations

from itertools import pairwise

import pytest

from auditor.errors import FailureKind, ProtocolError
from auditor.input.skopeo import parse_constraint, parse_version

# semver.org section 11, and tags in use.
ASCENDING = [
    "0.0.1", "0.1", "v1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta",
    "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1", "v1.0.1", "1.2", "1.10.0", "2",
]  # fmt: skip


def test_versions_are_ordered_as_semver_defines() -> None:
    versions = [parse_version(tag) for tag in ASCENDING]
    for lesser, greater in pairwise(versions):
        assert lesser is not None
        assert greater is not None
        assert lesser < greater


@pytest.mark.parametrize(
    "tag",
    ["latest", "1.2.3.4", "V1", "1.", "1.2-", "1.0.0-01", "sha-1", "", "1_2", "1.x"],
)
def test_tags_that_are_not_versions(tag: str) -> None:
    assert parse_version(tag) is None


@pytest.mark.parametrize(
    ("constraint", "allowed", "refused"),
    [
        ("1.2.3", ["1.2.3", "v1.2.3"], ["1.2.4", "1.2.3-rc"]),
        ("=1.2", ["1.2", "1.2.9"], ["1.3", "1.1.9"]),
        ("1.x", ["1.0", "1.9.9"], ["2", "0.9"]),
        ("*", ["0", "9.9"], ["1-rc", "latest"]),
        ("!=1.2.3", ["1.2.4"], ["1.2.3"]),
        ("!=1.2", ["1.3", "2"], ["1.2", "1.2.7"]),
        (">1.2.3", ["1.2.4", "2"], ["1.2.3", "1.2"]),
        (">1.2", ["1.3", "2"], ["1.2.9", "1.1"]),
        (">1", ["2"], ["1.9"]),
        (">= v0.22.0", ["0.22.0", "v1"], ["0.21.9"]),
        ("=>1", ["1"], ["0.9"]),
        ("<1.2", ["1.1.9", "0"], ["1.2", "1.2-rc"]),
        ("<=1.2", ["1.2.9", "1"], ["1.3"]),
        ("=<1", ["1.9.9"], ["2"]),
        ("~1.2.3", ["1.2.3", "1.2.9"], ["1.2.2", "1.3"]),
        ("~1.2", ["1.2", "1.2.9"], ["1.3", "1.1"]),
        ("~> 1", ["1.0", "1.9"], ["2", "0.9"]),
        ("~0.0.0", ["0.0.0", "7"], []),
        ("^1.2.3", ["1.2.3", "1.9"], ["1.2.2", "2"]),
        ("^0.2.3", ["0.2.3", "0.2.9"], ["0.3", "0.2.2", "1"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4", "0.1"]),
        ("^0.0", ["0.0.0", "0.0.9"], ["0.1"]),
        ("^0", ["0.9.9"], ["1"]),
        (">= 1.2, < 2", ["1.2", "1.9"], ["2", "1.1"]),
        (">=1.2 <2", ["1.2", "1.9"], ["2", "1.1"]),
        (">=1.2,<2", ["1.2"], ["2"]),
        ("1.2 - 1.4", ["1.2", "1.4.9"], ["1.1", "1.5"]),
        ("1.2 - 1.4.5", ["1.4.5"], ["1.4.6"]),
        ("<1 || >= 2.1", ["0.5", "2.1"], ["1.0", "2.0"]),
        (">= 1.0.0-0", ["1.0.0-rc.1", "1.0", "1.1.0-beta"], ["0.9"]),
        (">= 1.0.0-rc.2", ["1.0.0-rc.10"], ["1.0.0-rc.1"]),
    ],
)
def test_constraints_are_those_of_masterminds_semver(
    constraint: str, allowed: list[str], refused: list[str]
) -> None:
    parsed = parse_constraint(constraint)

    def allows(tag: str) -> bool:
        version = parse_version(tag)
        return version is not None and parsed.allows(version)

    assert [tag for tag in allowed + refused if allows(tag)] == allowed


@pytest.mark.parametrize(
    "text", ["", "  ", ">=", "latest", "1,", ",1", "1 ||", ">=1 foo", "=v", "1" * 1001]
)
def test_an_invalid_constraint_is_an_error(text: str) -> None:
    with pytest.raises(ProtocolError, match="is not a version constraint: ") as caught:
        parse_constraint(text)
    assert caught.value.kind is FailureKind.INVALID_REFERENCE
