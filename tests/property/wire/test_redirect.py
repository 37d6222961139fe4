from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import FailureKind, ProtocolError
from auditor.wire.redirect import MAX_REDIRECTS, follow_redirect
from auditor.wire.url_policy import address_class, origin_of
from tests.examples import examples

CURRENT = st.sampled_from(["https://h.example/a", "http://h.example:5000/a?b=c"])
LOCATION = st.lists(
    st.sampled_from(
        ["https://", "http://", "//", "h.example", "cdn.example", "127.0.0.1", "0x7f.1",
         "[::1]", ":443", ":80", ":5000", "/", "..", "?", "x=%2F", "#", "@", "user:pw",
         "\\", " ", "\r\n", "é"]
    ),
    max_size=6,
).map("".join)  # fmt: skip


def check_refusal(error: ProtocolError, kind: FailureKind) -> None:
    assert error.kind is kind
    assert error.detail.isprintable()


@examples(500)
@given(CURRENT, LOCATION | st.text(), st.integers(1, 7))
def test_a_followed_redirect_is_safe(current: str, location: str, hops: int) -> None:
    try:
        hop = follow_redirect(current, location, hops)
    except ProtocolError as error:
        check_refusal(error, FailureKind.REDIRECT_REFUSED)
        return
    before, after = origin_of(current), origin_of(hop.url)
    assert hops <= MAX_REDIRECTS
    assert hop.same_origin is (before == after)
    assert after.scheme == "https" or before.scheme == "http"
    assert address_class(after.host) is None
    assert "@" not in hop.url.split("/")[2]
    assert all("!" <= char <= "~" for char in hop.url)
