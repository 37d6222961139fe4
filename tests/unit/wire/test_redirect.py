from __future__ import annotations

import pytest

from auditor.errors import FailureKind, ProtocolError
from auditor.wire.redirect import (
    MAX_REDIRECTS,
    Redirect,
    Redirects,
    follow_redirect,
)

BLOB = "https://h.example/v2/a/blobs/sha256:00"


@pytest.mark.parametrize(
    ("current", "location", "url", "same_origin"),
    [
        (BLOB, "/other", "https://h.example/other", True),
        (BLOB, "sha256:11", None, False),
        (BLOB, "https://H.EXAMPLE:443/other", "https://H.EXAMPLE:443/other", True),
        (BLOB, "https://h.example:444/other", "https://h.example:444/other", False),
        (
            BLOB,
            "https://cdn.example/x?s=a%2Fb%3D",
            "https://cdn.example/x?s=a%2Fb%3D",
            False,
        ),
        (BLOB, "//cdn.example/x", "https://cdn.example/x", False),
        (BLOB, "https://10.0.0.1/x", "https://10.0.0.1/x", False),
        ("http://h.example/x", "https://h.example/x", "https://h.example/x", False),
        ("http://127.0.0.1:1/x", "http://127.0.0.1:2/x", "http://127.0.0.1:2/x", False),
        ("http://127.0.0.1:1/x", "http://localhost:2/x", "http://localhost:2/x", False),
    ],
)
def test_a_redirect_has_a_url_and_whether_the_origin_is_the_same(
    current: str, location: str, url: str | None, same_origin: bool
) -> None:
    if url is None:
        with pytest.raises(ProtocolError):  # "sha256:" reads as a scheme, RFC 3986 4.2
            follow_redirect(current, location, 1)
    else:
        assert follow_redirect(current, location, 1) == Redirect(
            url=url, same_origin=same_origin
        )


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (None, "without a Location"),
        ("", "without a Location"),
        ("http://h.example/x", "from https to http://h.example/x"),
        ("https://user:pw@h.example/x", "user name or password"),
        ("https://user:pw@cdn.example/x", "user name or password"),
        ("ftp://h.example/x", "neither https nor http"),
        ("file:///etc/passwd", "not an absolute URL"),
        ("javascript:x", "not an absolute URL"),
        ("https://h.example/\r\nX-Injected: 1", r"U\+000D"),
        ("https://h.example/a b", r"U\+0020"),
        ("https://h.example:x/", "invalid host or port"),
        ("https://169.254.169.254/latest", "cloud metadata address"),
        ("https://127.0.0.1/", "loopback address"),
        ("https://0x7f.1/", "loopback address"),
        ("https://[::ffff:127.0.0.1]/", "loopback address"),
    ],
)
def test_a_dangerous_redirect_is_refused(location: str | None, message: str) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
        follow_redirect(BLOB, location, 1)
    assert caught.value.kind is FailureKind.REDIRECT_REFUSED
    assert "pw" not in caught.value.detail


def test_the_user_can_allow_a_restricted_address() -> None:
    location = "https://127.0.0.1/x"
    allowed = follow_redirect(BLOB, location, 1, allowed_hosts=["127.0.0.1"])
    assert allowed == Redirect(url=location, same_origin=False)


def test_the_sixth_redirect_is_refused() -> None:
    assert MAX_REDIRECTS == 5
    assert follow_redirect(BLOB, "/x", 5).same_origin
    with pytest.raises(ProtocolError, match="after 5 redirects"):
        follow_redirect(BLOB, "/x", 6)


def test_errors_do_not_contain_presigned_urls() -> None:
    with pytest.raises(ProtocolError) as caught:
        follow_redirect(BLOB, "http://cdn.example/x?X-Amz-Signature=abc", 1)
    assert "abc" not in caught.value.detail


LIST = "https://a.example/v2/team/app/referrers/sha256:00"


@pytest.mark.parametrize(
    ("target", "is_same"),
    [
        ("https://b.example/v2/team/app/referrers/sha256:00", True),
        # registry.k8s.io
        ("https://b.example/v2/project/images/app/referrers/sha256:00?n=5", True),
        ("https://a.example/v2/team/app/referrers/sha256:11", False),
        ("https://b.example/v2/team/app/manifests/sha256:00", False),
        ("https://b.example/packages/team/app/referrers/sha256:00", False),
        ("https://b.example/login?to=/v2/team/app/referrers/sha256:00", False),
        ("https://b.example/", False),
    ],
)
def test_the_same_resource_has_the_same_end(target: str, is_same: bool) -> None:
    assert Redirects.SAME_RESOURCE.allows(LIST, target) is is_same
    assert Redirects.FOLLOWED.allows(LIST, target)
    assert not Redirects.REFUSED.allows(LIST, target)
