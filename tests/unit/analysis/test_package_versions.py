"""The order of versions, by the examples of each ecosystem's own rules."""

from __future__ import annotations

from itertools import combinations

import pytest

from auditor.analysis.package_versions import (
    VersionRange,
    compare_versions,
    version_key,
)

# Ascending; versions in one tuple are equal.
ORDERS: dict[str, list[tuple[str, ...]]] = {
    # deb-version(7), Debian policy 5.6.12
    "deb": [
        ("~~",), ("~~a",), ("~",), ("0", "00", "0:0-0"), ("0+b",),
        ("1.0~rc1-1",), ("1.0~rc1-1.1",), ("1.0", "1.0-0"), ("1.0-1~deb12u1",),
        ("1.0-1",), ("1.0-1+b1",), ("1.0-10",), ("1.0a",), ("1.0+dfsg",), ("1.0.1",),
        ("1.9",), ("1.10", "1.010"), ("1:0.1",), ("2:0.0.1",),
    ],
    # rpm-version(7) and rpm's tests of rpmvercmp
    "rpm": [
        ("1.0~~",), ("1.0~rc1",), ("1.0~rc1^git1",), ("1.0~rc2",), ("1.0", "0:1.0"),
        ("1.0-1.el8",), ("1.0-1.el9", "1.0-1_el9"), ("1.0-10.el8",), ("1.0^",),
        ("1.0^git1~pre",), ("1.0^git1",), ("1.0^git2",), ("1.0a",), ("1.0.1",),
        ("1.1", "1.01"), ("1.10",), ("10xyz",), ("10.1xyz",), ("2017",), ("1:0.9",),
    ],
    # The manual page apk-package(5)
    "apk": [
        ("0.1.9_alpha",), ("0.1.9_alpha2",), ("0.1.9_beta",), ("0.1.9_pre1-r4",),
        ("0.1.9_rc1",), ("0.1.9",), ("0.1.9-r0",), ("0.1.9-r10",), ("0.1.9_git2024",),
        ("0.1.9_p1",), ("0.1.9_p10",), ("0.1.9b",), ("0.1.9.1",), ("0.1.10",),
        ("1.0",), ("1.02",), ("1.05-r18",), ("1.1",), ("1.12",), ("20050718",),
    ],
    # PEP 440, "Summary of permitted suffixes and relative ordering"
    "pypi": [
        ("1.dev0",), ("1.0.dev456",), ("1.0a1", "1.0-ALPHA.1"), ("1.0a2.dev456",),
        ("1.0a12.dev456",), ("1.0a12",), ("1.0b1.dev456",), ("1.0b2",),
        ("1.0b2.post345.dev456",), ("1.0b2.post345",), ("1.0rc1.dev456",),
        ("1.0rc1", "1.0c1", "1.0-preview1"), ("1.0", "1", "v1.0.0"),
        ("1.0+abc.5",), ("1.0+abc.7",), ("1.0+5",), ("1.0.post456.dev34",),
        ("1.0.post456", "1.0-456", "1.0rev456"), ("1.0.15",), ("1.1.dev1",),
        ("1!0.1",),
    ],
    # semver.org, items 10 and 11
    "npm": [
        ("1.0.0-alpha",), ("1.0.0-alpha.1",), ("1.0.0-alpha.beta",), ("1.0.0-beta",),
        ("1.0.0-beta.2",), ("1.0.0-beta.11",), ("1.0.0-rc.1",),
        ("1.0.0", "v1.0.0", "1.0", "1.0.0+build.1"), ("1.0.1",), ("1.10.0",), ("2",),
    ],
    "golang": [
        ("v0.0.0-20191109021931-daa7c04131f5",), ("v0.0.0",), ("v1.2.3+incompatible",),
        ("go1.21rc2",), ("go1.21", "1.21.0"), ("go1.21.5", "v1.21.5"),
    ],
    "nuget": [("1.0.0-Beta", "1.0-beta"), ("1.0", "1.0.0.0"), ("1.0.0.1",), ("1.0.1",)],
    # Maven's POM reference, "Version Order Specification"
    "maven": [
        ("1-alpha-1", "1.0.0-alpha1", "1a1"), ("1-beta1", "1.0.0.Beta1"), ("1-m1",),
        ("1-rc1", "1.0.CR1"), ("1-SNAPSHOT",), ("1", "1.0.0", "1.0.0.Final", "1-ga"),
        ("1-sp",), ("1-foo2",), ("1-foo10",), ("1-jre",), ("1-1",), ("1-2",), ("1.1",),
        ("1.7",), ("1.10",), ("2.0.1-xyz",), ("2.17.0",), ("2.17.1",),
    ],
    # Gem::Version
    "gem": [
        ("1.0.a",), ("1.0.a.2",), ("1.0.b1",), ("1.0-rc1", "1.0.pre.rc1"),
        ("1", "1.0", "1.0.0"), ("1.0.1",), ("1.0.10",),
    ],
    "generic": [
        ("1.1.1-rc1",), ("1.1.1",), ("1.1.1k",), ("1.1.2",), ("3", "3.0.0"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", ORDERS)
def test_the_order_of_versions(kind: str) -> None:
    numbered = [
        (place, version) for place, same in enumerate(ORDERS[kind]) for version in same
    ]
    for (place, version), (other_place, other) in combinations(numbered, 2):
        expected = (place > other_place) - (place < other_place)
        assert compare_versions(kind, version, other) == expected, (version, other)
        assert compare_versions(kind, other, version) == -expected, (other, version)


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        ("deb", "1.0_1"),
        ("deb", "x:1"),
        ("deb", ""),
        ("rpm", "1-2-3"),
        ("apk", "1.0_foo1"),
        ("apk", "1.0-1"),
        ("pypi", "1.0-beta-gamma"),
        ("npm", "latest"),
        ("npm", "UNKNOWN"),
        ("golang", "(devel)"),
        ("maven", "${project.version}"),
        ("gem", "1.a.0.b"),
        ("alpm", "1.0-1"),
        (None, "sha256:abc"),
        ("generic", "r123.abc"),
        ("npm", "1" * 501),
    ],
)
def test_what_no_rule_covers_has_no_order(kind: str | None, version: str) -> None:
    assert version_key(kind, version) is None
    assert VersionRange.parse("<9").contains(kind, version) is None


@pytest.mark.parametrize(
    ("kind", "version", "text", "expected"),
    [
        ("deb", "3.0.7-1", "<3.0.8", True),
        ("deb", "3.0.8-1~deb12u2", "<3.0.8", False),
        ("deb", "3.0.8~deb11u1-1", "<3.0.8", True),
        ("deb", "3.0.8-1", "<3.0.8-2", True),
        ("deb", "1:2.39.2-1.1", "<2.40", True),
        ("deb", "1:2.39.2-1.1", "<0:2.40", False),
        ("deb", "3.0.7-1", "3.0.7", True),
        ("deb", "3.0.7-1", "=3.0.7-2", False),
        ("rpm", "1:3.0.7-27.el9", "<3.0.8", True),
        ("rpm", "1:3.0.7-27.el9", "<=3.0.7", True),
        ("rpm", "1:3.0.7-27.el9", ">=1:3.0.7-28.el9", False),
        ("apk", "3.0.7-r2", "<3.0.8, >=3.0", True),
        ("apk", "3.0.7-r2", "==3.0.7", True),
        ("apk", "3.0.7-r2", "<3.0.7-r3", True),
        ("npm", "4.17.20", ">=4,<4.17.21", True),
        ("npm", "4.17.21", "!=4.17.21", False),
        ("npm", "4.17.21", ">5,<weird", False),
        ("npm", "4.17.21", ">4,<weird", None),
        ("pypi", None, ">1", None),
    ],
)
def test_ranges(
    kind: str, version: str | None, text: str, expected: bool | None
) -> None:
    assert VersionRange.parse(text).contains(kind, version) is expected


@pytest.mark.parametrize(
    "text", ["", "<", "<3.0.8 >=3", "3,", "~>1", "< <1", ",".join(["<1"] * 21)]
)
def test_a_wrong_range_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"not a range of versions|more than 20 bounds"
    ):
        VersionRange.parse(text)
