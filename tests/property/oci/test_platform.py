"""Normalisation is idempotent, and equality is an equivalence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import ProtocolError
from auditor.oci.platform import Platform, normalize, parse_platform, same_platform

_WORDS = st.sampled_from(
    [
        "linux",
        "macOS",
        "arm",
        "ARM64",
        "aarch64",
        "armhf",
        "armel",
        "amd64",
        "x86_64",
        "386",
        "i386",
        "v1",
        "v6",
        "7",
        "8",
        "v8",
        "unknown",
        "v9.1",
    ]
) | st.text("aA1v./_-", max_size=4)
_PLATFORMS = st.builds(
    Platform,
    os=st.none() | _WORDS,
    architecture=st.none() | _WORDS,
    variant=st.none() | _WORDS,
    os_version=st.none() | st.just("10.0.1"),
)


@given(_PLATFORMS)
def test_normalising_is_idempotent(platform: Platform) -> None:
    once = normalize(platform)
    assert normalize(once) == once
    assert same_platform(platform, once)


@given(_PLATFORMS, _PLATFORMS)
def test_same_platform_is_symmetric(one: Platform, other: Platform) -> None:
    assert same_platform(one, normalize(other)) == same_platform(other, normalize(one))


@given(st.text("abv7/_-. \n", max_size=12))
def test_any_text_is_a_platform_or_an_error(text: str) -> None:
    try:
        found = parse_platform(text)
    except ProtocolError:
        return
    assert found.os
    assert found.architecture
    assert normalize(found) == found
