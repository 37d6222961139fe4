"""The order of tags by version, with tags that are in use."""

from __future__ import annotations

import itertools

import pytest

from auditor.oci.tag_order import TagClass, tag_order


@pytest.mark.parametrize(
    "ascending",
    [
        # semver.org 2.0.0, section 11, but only with pre-release words
        [
            "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta", "1.0.0-beta.2",
            "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "2.0.0", "2.1.0", "2.1.1",
        ],
        ["1.2", "1.2.3", "1.3", "1.10", "2"],
        ["v1.2.3", "1.2.4", "v1.10.0"],
        ["1.2", "1.2.0"],  # the same version, so the longer one is more exact
        ["2.0-rc1", "2.0.0", "2.0.1-rc1", "2.0.1"],
        ["2.0.0-rc1", "2.0"],
        ["2.0a1", "2.0b1", "2.0b2", "2.0rc1", "2.0"],
        ["3.13.0a1", "3.13.0rc2", "3.13.0-alpine3.9", "3.13.0-alpine3.20", "3.13.0"],
        ["1.9-alpine", "1.10-alpine", "1.10-slim", "1.10", "1.11-rc1-alpine", "1.11"],
        ["5.0.0-M9", "5.0.0-M10", "5.0.0-RC1", "5.0.0-jdk17", "5.0.0"],
        ["2.11", "2.11.4-windowsservercore-ltsc2025", "2.11.4"],
        ["sha256-" + "a" * 64 + ".sig", "main", "latest"],
        ["1.0-SNAPSHOT", "1.0"],
        ["1.0-nightly.20240130", "1.0-nightly.20240131", "1.0"],
        ["11.0.2_8", "11.0.2_9", "11.0.2_10"],
        ["20240131", "20240201", "1.0"],
        ["2023.12.1", "2024.01.31", "2024.2.1"],
        ["2024-01-31", "2024-02-01"],
        ["9", "10", "10.1"],
        ["main", "latest", "20240131", "0.1"],
        ["build-9", "build-10"],
        ["7b2", "0.1"],  # a short hash
        ["8u292-jdk", "0.1"],
        ["RELEASE.2023-12-31T00-00-00Z", "RELEASE.2024-01-01T00-00-00Z"],
        ["1.0-rcx", "1.0-rca"][::-1],  # announces nothing
    ],
)  # fmt: skip
def test_tags_in_the_order_of_their_versions(ascending: list[str]) -> None:
    assert sorted(ascending, key=tag_order) == ascending
    orders = [tag_order(tag) for tag in ascending]
    assert all(one < other for one, other in itertools.pairwise(orders))


@pytest.mark.parametrize(
    ("tag", "tag_class"),
    [
        ("1", TagClass.VERSION),
        ("v1", TagClass.VERSION),
        ("12345", TagClass.VERSION),
        ("123456", TagClass.NUMBER),
        ("1234567-alpine", TagClass.NUMBER),
        ("0", TagClass.VERSION),
        ("1.0+x", TagClass.NAME),
        ("latest", TagClass.LATEST),
        ("LATEST", TagClass.LATEST),
        ("latest-alpine", TagClass.NAME),
        ("version-1.2", TagClass.NAME),
        ("v", TagClass.NAME),
        ("vv1", TagClass.NAME),
        ("1.", TagClass.VERSION),
        ("1a1", TagClass.NAME),
        ("1.0a1", TagClass.VERSION),
        ("1.0a", TagClass.NAME),
        ("deadbeef", TagClass.NAME),
        ("3e4f1a2", TagClass.NAME),
        ("1" * 128, TagClass.NUMBER),
    ],
)
def test_the_class_of_a_tag(tag: str, tag_class: TagClass) -> None:
    assert tag_order(tag).tag_class is tag_class
