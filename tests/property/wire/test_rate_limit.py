"""Arbitrary rate limit headers give a bounded rate limit or None."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditor.wire.rate_limit import MAX_REQUESTS, MAX_WINDOW_S, parse_rate_limit
from tests.responses import HeaderFields

_PIECES = st.lists(
    st.sampled_from(["0", "7", "100", ";", "w=", "21600", ",", " ", "=", "-", "é", '"'])
    | st.text(max_size=3),
    max_size=12,
).map("".join)
_BLANKS = st.text(" \t", max_size=3)


@given(_PIECES, _PIECES, _PIECES)
def test_any_text_is_a_bounded_rate_limit_or_none(
    remaining: str, limit: str, source: str
) -> None:
    found = parse_rate_limit(
        HeaderFields(
            {
                "RateLimit-Remaining": remaining,
                "RateLimit-Limit": limit,
                "Docker-RateLimit-Source": source,
            }
        )
    )
    if found is None:
        return
    assert 0 <= found.remaining <= MAX_REQUESTS
    assert found.limit is None or 0 <= found.limit <= MAX_REQUESTS
    assert found.window_s is None or 0 < found.window_s <= MAX_WINDOW_S


@given(
    st.integers(0, MAX_REQUESTS),
    st.integers(0, MAX_REQUESTS),
    st.integers(1, MAX_WINDOW_S),
    _BLANKS,
)
def test_docker_hubs_format_is_parsed(
    remaining: int, limit: int, window_s: int, blanks: str
) -> None:
    found = parse_rate_limit(
        HeaderFields(
            {
                "ratelimit-remaining": f"{blanks}{remaining}{blanks};w={window_s}",
                "ratelimit-limit": f"{limit};{blanks}w={window_s}{blanks}",
            }
        )
    )
    assert found is not None
    assert (found.remaining, found.limit) == (remaining, limit)
    assert found.window_s == window_s
