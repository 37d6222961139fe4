"""Parsers raise only documented errors, for arbitrary bytes.

The targets are those of `python -m tests.fuzz`; here their seeds are mutated.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.examples import examples
from tests.fuzz.targets import TARGETS

# Bytes that have a special meaning in some format.
TOKENS = st.sampled_from(
    [
        b"", b" ", b"\n", b"\r\n", b"\0", b'"', b"'", b"\\", b"{", b"}", b"[", b"]",
        b"null", b"true", b"[]", b"{}", b'""', b"-1", b"1e999", b"1e308", b"9" * 25,
        b"18446744073709551615", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\x1b[2J",
        b"\xef\xbb\xbf", b"%00", b"=", b":", b"@", b"/", b"..", b"*", b"<", b"&a",
        b"[" * 300, b'{"a":' * 300, b"a" * 300, b"\\ud800", b"sha256:", b"*a", b",",
        b";", b"-",
    ]
)  # fmt: skip


@st.composite
def _mutated(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A seed with some pieces removed, repeated or replaced, or random bytes."""
    if not draw(st.integers(0, 9)):
        return draw(st.binary(max_size=40))
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 20)))
        source = draw(st.sampled_from(seeds))
        at = draw(st.integers(0, len(source)))
        piece = draw(st.one_of(TOKENS, st.just(source[at : at + 20])))
        data = data[:start] + piece + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_only_documented_errors_are_raised(name: str) -> None:
    target = TARGETS[name]

    @examples(60, suppress_health_check=list(HealthCheck))
    @given(_mutated(target.seeds))
    def check(data: bytes) -> None:
        target.run(data)

    for seed in target.seeds:
        target.run(seed)
    check()
