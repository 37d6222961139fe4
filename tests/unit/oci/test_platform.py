"""The text of platforms, and which platforms are the same."""

from __future__ import annotations

import pytest

from auditor.errors import ProtocolError
from auditor.oci.platform import (
    Platform,
    accepted_platforms,
    likely_platform,
    normalize,
    parse_platform,
    platform_text,
    same_platform,
)


def spec(text: str) -> Platform:
    os, architecture, *rest = text.split("/")
    return Platform(
        os=os,
        architecture=architecture,
        variant=rest[0] if rest else None,
        os_version="10.0.1",
    )


# Cases from containerd/platforms, platforms_test.go and database_test.go.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("linux/i386", "linux/386"),
        ("linux/386", "linux/386"),
        ("linux/arm64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v8.0", "linux/arm64"),
        ("linux/arm64/v8.1", "linux/arm64/v8.1"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm64/9", "linux/arm64/v9"),
        ("linux/aarch64/9.0", "linux/arm64/v9"),
        ("linux/arm64/v9.0", "linux/arm64/v9"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/AArch64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("macOS/arm64", "darwin/arm64"),
        ("Windows/AMD64", "windows/amd64"),
        ("wasi/wasm", "wasi/wasm"),
        ("linux/s390x", "linux/s390x"),
    ],
)
def test_names_are_normalised_as_containerd_does(text: str, expected: str) -> None:
    found = parse_platform(text)
    parts = (found.os, found.architecture, found.variant)
    assert "/".join(part for part in parts if part) == expected
    assert same_platform(spec(text), parse_platform(expected))


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("linux", "amd64", None), "linux/amd64"),
        (("linux", "arm64", "v8"), "linux/arm64"),
        (("linux", "arm64", "v9"), "linux/arm64/v9"),
        (("linux", "arm", "v8"), "linux/arm/v8"),
        (("linux", "arm64", "8"), "linux/arm64"),
        (("Linux", "aarch64", "v8"), "linux/arm64"),
        (("linux", "amd64", "v1"), "linux/amd64"),
        (("linux", "x86_64", None), "linux/amd64"),
        (("linux", "arm", None), "linux/arm/v7"),
        (("linux", "386", "softfloat"), "linux/386"),
        (("macos", "arm64", None), "darwin/arm64"),
        (("linux", "arm64", ""), "linux/arm64"),
        ((None, "arm64", "v8"), None),
        (("linux", "", None), None),
    ],
)
def test_the_text_of_a_platform_is_normalised(
    parts: tuple[str | None, str | None, str | None], text: str | None
) -> None:
    assert platform_text(*parts) == text


@pytest.mark.parametrize(
    ("found", "other"),
    [
        ("linux/amd64/v3", "linux/amd64"),
        ("linux/amd64", "linux/amd64/v3"),
        ("linux/arm/v6", "linux/arm"),
        ("linux/arm", "linux/arm64"),
        ("windows/amd64", "linux/amd64"),
    ],
)
def test_different_variants_are_different_platforms(found: str, other: str) -> None:
    assert not same_platform(spec(found), parse_platform(other))


# containerd/platforms, compare_test.go: TestOnly, without other architectures.
@pytest.mark.parametrize(
    ("client", "accepted"),
    [
        ("linux/amd64", ["amd64"]),
        ("linux/amd64/v3", ["amd64/v3", "amd64/v2", "amd64"]),
        ("linux/386", ["386"]),
        ("linux/arm", ["arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm/v5", ["arm/v5"]),
        ("linux/arm64", ["arm64"]),
        ("linux/arm64/v8.2", ["arm64/v8.2", "arm64/v8.1", "arm64"]),
        (
            "linux/arm64/v9",
            ["arm64/v9", *(f"arm64/v8.{n}" for n in (5, 4, 3, 2, 1)), "arm64"],
        ),
        ("linux/riscv64/rva23u64", ["riscv64/rva23u64"]),
    ],
)
def test_a_client_takes_its_variant_and_those_below(
    client: str, accepted: list[str]
) -> None:
    texts = accepted_platforms(parse_platform(client))
    assert texts == tuple(f"linux/{one}" for one in accepted)


@pytest.mark.parametrize(
    "text", ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux amd64", "a/b c"]
)
def test_text_that_is_not_a_platform_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="a platform is os/architecture"):
        parse_platform(text)


def test_an_empty_platform_stays_empty() -> None:
    nothing = Platform(os=None, architecture=None, variant=None, os_version=None)
    assert normalize(nothing) == nothing


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("linux/arm46", "linux/arm64"),
        ("linux/arm46/v8", "linux/arm64/v8"),
        ("linx/amd64", "linux/amd64"),
        ("arm64", "linux/arm64"),
        ("linux/arm64", None),
        ("linux/aarch64", None),
        ("linux/arm/v7", None),
        ("linux/x86_64", None),
        ("macos/arm64", None),
        ("linux/new", None),
        ("new", None),
    ],
)
def test_a_probable_typing_error_is_known(text: str, meant: str | None) -> None:
    assert likely_platform(text) == meant
