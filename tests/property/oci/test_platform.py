"""Whatever a platform is called, it is the same as itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import ProtocolError
from auditor.oci.platform import PlatformSpec, is_same, normalised, read_platform

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
    PlatformSpec,
    os=st.none() | _WORDS,
    architecture=st.none() | _WORDS,
    variant=st.none() | _WORDS,
    os_version=st.none() | st.just("10.0.1"),
)


@given(_PLATFORMS)
def test_normalising_again_changes_nothing(platform: PlatformSpec) -> None:
    once = normalised(platform)
    assert normalised(once) == once
    assert is_same(platform, once)


@given(_PLATFORMS, _PLATFORMS)
def test_being_the_same_does_not_depend_on_the_order(
    one: PlatformSpec, other: PlatformSpec
) -> None:
    assert is_same(one, normalised(other)) == is_same(other, normalised(one))


@given(st.text("abv7/_-. \n", max_size=12))
def test_a_text_is_a_platform_or_an_error(text: str) -> None:
    try:
        found = read_platform(text)
    except ProtocolError:
        return
    assert found.os
    assert found.architecture
    assert normalised(found) == found
