from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from auditor.errors import FailureKind, ProtocolError
from auditor.wire.url_policy import origin_of, resolve

NEARBY = st.lists(
    st.sampled_from(
        ["http", "https", "HTTPS", "ftp", "://", ":", "/", "//", "?", "#", "@", "\\",
         "[", "]", "[::1]", "h.example", "127.0.0.1", ":80", ":x", "%2e", "..", ";",
         " ", "\t", "\n", "\x00", "é", "\uff0f", "a"]
    ),
    max_size=8,
).map("".join)  # fmt: skip


def check_refusal(error: ProtocolError, kind: FailureKind) -> None:
    assert error.kind is kind
    assert error.detail.isprintable()


@settings(max_examples=500)
@given(NEARBY | st.builds("https://{}".format, NEARBY) | st.text())
def test_other_readers_see_the_same_host(url: str) -> None:
    try:
        origin = origin_of(url)
    except ProtocolError as error:
        check_refusal(error, FailureKind.REALM_REFUSED)
        return
    parts = urlsplit(url)
    assert parts.scheme == origin.scheme
    assert parts.hostname == origin.host
    assert parts.username is None
    assert (parts.port or {"http": 80, "https": 443}[parts.scheme]) == origin.port
    assert origin_of(str(origin)) == origin


@settings(max_examples=300)
@given(NEARBY)
def test_what_is_resolved_holds_nothing_that_breaks_a_request_line(
    reference: str,
) -> None:
    try:
        url = resolve("https://h.example/a/b?c", reference, kind=FailureKind.DENIED)
    except ProtocolError as error:
        check_refusal(error, FailureKind.DENIED)
        return
    assert all("!" <= char <= "~" for char in url)
    assert "#" not in url


@given(st.text("abc/.?=&%2F;:,+", max_size=20))
def test_a_relative_reference_is_resolved_as_rfc_3986_says(reference: str) -> None:
    assume(":" not in reference.partition("/")[0])
    base = "https://h.example/v2/a/list?n=2"
    try:
        found = resolve(base, reference, kind=FailureKind.DENIED)
    except ProtocolError:
        return
    assert found == urljoin(base, reference)
