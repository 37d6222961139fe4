from __future__ import annotations

import pytest

from auditor.errors import FailureKind, ProtocolError
from auditor.wire.challenge import pull_scope
from auditor.wire.url_policy import check_realm, origin_of, token_url

REGISTRY = "https://registry.example"
SCOPE = "scope=repository%3Aa%2Fb%3Apull"


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        (REGISTRY, "https://auth.example/token"),
        (REGISTRY, "https://auth.example:8443/token?service=x"),
        (REGISTRY, "https://10.0.0.7/token"),
        (REGISTRY, "https://[fd00::1]/token"),
        ("http://registry.example", "http://auth.example/token"),
        ("http://registry.example", "https://auth.example/token"),
        ("http://127.0.0.1:5000", "http://localhost:5001/token"),
        ("http://localhost:5000", "http://[::1]:5001/token"),
        ("http://169.254.7.7", "http://169.254.7.8/token"),
        ("http://0.0.0.0:5000", "http://0.0.0.0:5000/token"),
    ],
)
def test_a_realm_that_may_have_the_credential(registry: str, realm: str) -> None:
    assert check_realm(realm, registry=origin_of(registry)) == realm


@pytest.mark.parametrize(
    ("registry", "realm", "words"),
    [
        (REGISTRY, "http://auth.example/token", "is not https"),
        (REGISTRY, "http://registry.example/token", "is not https"),
        (REGISTRY, "https://user:pw@auth.example/token", "user name or password"),
        (REGISTRY, "https://auth.example/token#x", "fragment"),
        (REGISTRY, "ftp://auth.example/token", "neither https nor http"),
        (REGISTRY, "/token", "not an absolute URL"),
        (REGISTRY, "token", "not an absolute URL"),
        (REGISTRY, "", "not an absolute URL"),
        (REGISTRY, "https://auth.example/to ken", r"U\+0020"),
        (REGISTRY, "https://auth.example/\r\nX: y", r"U\+000D"),
        (REGISTRY, "https://auth.example\\@evil.example/", r"U\+005C"),
        (REGISTRY, "https://localhost/token", "loopback"),
        (REGISTRY, "https://127.1/token", "loopback"),
        (REGISTRY, "https://2130706433/token", "loopback"),
        (REGISTRY, "https://[::ffff:127.0.0.1]/token", "loopback"),
        (REGISTRY, "https://169.254.169.254/token", "metadata"),
        (REGISTRY, "https://0.0.0.0/token", "unspecified"),
        (REGISTRY, "https://[ff02::1]/token", "multicast"),
        ("http://127.0.0.1:5000", "http://169.254.169.254/token", "metadata"),
        ("http://169.254.7.7", "http://169.254.169.254/token", "metadata"),
        ("http://169.254.7.7", "http://127.0.0.1/token", "loopback"),
    ],
)
def test_a_realm_that_must_not_have_it(registry: str, realm: str, words: str) -> None:
    with pytest.raises(ProtocolError, match=words) as caught:
        check_realm(realm, registry=origin_of(registry))
    assert caught.value.kind is FailureKind.REALM_REFUSED
    assert "pw" not in caught.value.detail


def test_the_user_can_allow_an_address_but_not_plain_http() -> None:
    allowed = ["127.0.0.1"]
    registry = origin_of(REGISTRY)
    realm = "https://127.0.0.1/token"
    assert check_realm(realm, registry=registry, allowed_hosts=allowed) == realm
    with pytest.raises(ProtocolError, match="is not https"):
        check_realm("http://127.0.0.1/", registry=registry, allowed_hosts=allowed)


@pytest.mark.parametrize(
    ("realm", "service", "account", "expected"),
    [
        (
            "https://a.example/auth/v2/token/",
            "dtr.example",
            None,
            "https://a.example/auth/v2/token/?service=dtr.example&" + SCOPE,
        ),
        (
            "https://a.example/t?x=%20y&service=r",
            "r",
            "me & you",
            f"https://a.example/t?x=%20y&service=r&{SCOPE}&account=me%20%26%20you",
        ),
        (
            "https://a.example/t?",
            None,
            None,
            "https://a.example/t?" + SCOPE,
        ),
        (
            "https://a.example/t?x&",
            None,
            None,
            "https://a.example/t?x&" + SCOPE,
        ),
        (
            "https://a.example/t#f",
            None,
            None,
            "https://a.example/t?" + SCOPE,
        ),
    ],
)
def test_a_token_url_keeps_what_the_realm_holds(
    realm: str, service: str | None, account: str | None, expected: str
) -> None:
    url = token_url(realm, service=service, scope=pull_scope("a/b"), account=account)
    assert url == expected


def test_a_token_url_with_nothing_to_say_is_the_realm() -> None:
    assert token_url("https://a.example/t", service=None, scope=None) == (
        "https://a.example/t"
    )


def test_a_service_that_is_not_utf8_is_asked_for_nothing() -> None:
    with pytest.raises(ProtocolError) as caught:
        token_url("https://a.example/token", service="\udcff", scope=None)
    assert caught.value.kind is FailureKind.REALM_REFUSED
