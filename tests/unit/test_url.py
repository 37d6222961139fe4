from __future__ import annotations

import pytest

from auditor.errors import FailureKind, ProtocolError
from auditor.wire.url_policy import Origin, origin_of, resolve


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "shown"),
    [
        ("https://H.Example", "https", "h.example", 443, "https://h.example"),
        ("HTTP://h.example/a:b@c", "http", "h.example", 80, "http://h.example"),
        ("https://h.example:/x", "https", "h.example", 443, "https://h.example"),
        ("https://h:5000?x", "https", "h", 5000, "https://h:5000"),
        ("http://[::1]:5000/", "http", "::1", 5000, "http://[::1]:5000"),
        (
            "https://[2001:DB8::1]#f",
            "https",
            "2001:db8::1",
            443,
            "https://[2001:db8::1]",
        ),
        ("https://a_b.example", "https", "a_b.example", 443, "https://a_b.example"),
    ],
)
def test_an_origin_is_scheme_host_and_port(
    url: str, scheme: str, host: str, port: int, shown: str
) -> None:
    origin = origin_of(url)
    assert origin == Origin(scheme=scheme, host=host, port=port)
    assert str(origin) == shown


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "not an absolute URL"),
        ("/v2/", "not an absolute URL"),
        ("//h.example/", "not an absolute URL"),
        ("https:///v2/", "not an absolute URL"),
        ("https:h.example", "not an absolute URL"),
        ("ftp://h.example/", "neither https nor http"),
        ("https://user@h.example/", "user name or password"),
        ("https://h.example@evil.example/", "user name or password"),
        ("https://h.example\\@evil.example/", "user name or password"),
        ("https://h.example:65536/", "port that does not exist"),
        ("https://h.example:0/", "port that does not exist"),
        ("https://h.example:443443/", "cannot be read"),
        ("https://h.example:x/", "cannot be read"),
        ("https://h%2eexample/", "cannot be read"),
        ("https://h.ex ample/", "cannot be read"),
        ("https://\uff11\uff12\uff17.0.0.1/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://[::1]x/", "cannot be read"),
        ("\thttps://h.example/", "not an absolute URL"),
    ],
)
def test_a_url_whose_host_is_not_plain_is_refused(url: str, words: str) -> None:
    with pytest.raises(ProtocolError, match=words) as caught:
        origin_of(url)
    assert caught.value.kind is FailureKind.REALM_REFUSED


@pytest.mark.parametrize(
    ("reference", "resolved"),
    [
        ("https://other.example/x?y=%2F&z=", "https://other.example/x?y=%2F&z="),
        ("https://other.example/a/../b", "https://other.example/a/../b"),
        ("//other.example/x", "https://other.example/x"),
        (
            "/v2/_catalog?last=a%2Fb+c&n=2",
            "https://h.example/v2/_catalog?last=a%2Fb+c&n=2",
        ),
        ("?last=b", "https://h.example/v2/a/list?last=b"),
        ("more", "https://h.example/v2/a/more"),
        ("", "https://h.example/v2/a/list?n=2"),
        ("/x#fragment", "https://h.example/x"),
    ],
)
def test_references_are_resolved_and_nothing_in_them_is_encoded_anew(
    reference: str, resolved: str
) -> None:
    base = "https://h.example/v2/a/list?n=2"
    assert resolve(base, reference, kind=FailureKind.DENIED) == resolved


@pytest.mark.parametrize("reference", ["/a b", "/a\r\nX: y", "/\\x", "/é", "//[x"])
def test_references_that_are_no_urls_are_refused_as_the_caller_says(
    reference: str,
) -> None:
    with pytest.raises(ProtocolError) as caught:
        resolve("https://h.example/", reference, kind=FailureKind.DENIED)
    assert caught.value.kind is FailureKind.DENIED
