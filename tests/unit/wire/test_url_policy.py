from __future__ import annotations

import pytest

from auditor.errors import FailureKind, ProtocolError
from auditor.wire.challenge import pull_scope
from auditor.wire.url_policy import (
    AddressClass,
    Origin,
    address_class,
    address_refusal,
    check_realm,
    is_loopback_host,
    origin_of,
    resolve_url,
    token_url,
)

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
def test_a_safe_realm_is_accepted(registry: str, realm: str) -> None:
    assert check_realm(realm, registry=origin_of(registry)) == realm


@pytest.mark.parametrize(
    ("registry", "realm", "message"),
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
def test_an_unsafe_realm_is_refused(registry: str, realm: str, message: str) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
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
def test_a_token_url_keeps_the_query_of_the_realm(
    realm: str, service: str | None, account: str | None, expected: str
) -> None:
    url = token_url(realm, service=service, scope=pull_scope("a/b"), account=account)
    assert url == expected


def test_a_token_url_without_parameters_is_the_realm() -> None:
    assert token_url("https://a.example/t", service=None, scope=None) == (
        "https://a.example/t"
    )


def test_a_service_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ProtocolError) as caught:
        token_url("https://a.example/token", service="\udcff", scope=None)
    assert caught.value.kind is FailureKind.REALM_REFUSED


LOOPBACK = AddressClass.LOOPBACK
METADATA = AddressClass.METADATA
UNSPECIFIED = AddressClass.UNSPECIFIED


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("registry.example", None),
        ("10.0.0.1", None),
        ("172.16.0.1", None),
        ("192.168.1.1", None),
        ("100.64.0.1", None),
        ("8.8.8.8", None),
        ("fd00::1", None),
        ("2606:4700::1", None),
        ("localhost", LOOPBACK),
        ("LocalHost.", LOOPBACK),
        ("a.localhost", LOOPBACK),
        ("localhost.example", None),
        ("127.0.0.1", LOOPBACK),
        ("127.255.255.254", LOOPBACK),
        ("127.0.0.1.", LOOPBACK),
        ("127.1", LOOPBACK),
        ("127.0.1", LOOPBACK),
        ("2130706433", LOOPBACK),
        ("0x7f000001", LOOPBACK),
        ("0x7F.1", LOOPBACK),
        ("0177.0.0.1", LOOPBACK),
        ("017700000001", LOOPBACK),
        ("00000000000000000177.1", LOOPBACK),
        ("::1", LOOPBACK),
        ("[::1]", LOOPBACK),
        ("0:0:0:0:0:0:0:1", LOOPBACK),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("::ffff:7f00:1", LOOPBACK),
        ("::127.0.0.1", LOOPBACK),
        ("64:ff9b::7f00:1", LOOPBACK),
        ("2002:7f00:1::", LOOPBACK),
        ("::ffff:10.0.0.1", None),
        ("169.254.169.254", METADATA),
        ("0xa9fea9fe", METADATA),
        ("::ffff:169.254.169.254", METADATA),
        ("100.100.100.200", METADATA),
        ("168.63.129.16", METADATA),
        ("fd00:ec2::254", METADATA),
        ("169.254.1.1", AddressClass.LINK_LOCAL),
        ("fe80::1", AddressClass.LINK_LOCAL),
        ("fe80::1%eth0", AddressClass.LINK_LOCAL),
        ("0.0.0.0", UNSPECIFIED),  # noqa: S104 - an address to refuse
        ("0", UNSPECIFIED),
        ("0.1.2.3", UNSPECIFIED),
        ("::", UNSPECIFIED),
        ("::ffff:0.0.0.0", UNSPECIFIED),
        ("224.0.0.1", AddressClass.MULTICAST),
        ("ff02::1", AddressClass.MULTICAST),
        ("255.255.255.255", AddressClass.RESERVED),
        ("240.0.0.1", AddressClass.RESERVED),
        ("127.0.0.1.1", None),
        ("256.0.0.1", None),
        ("127.0.0.256", None),
        ("4294967296", None),
        ("1" * 5000, None),
        ("1::2::3", None),
        ("0x7f.example", None),
        ("", None),
        (".", None),
    ],
)
def test_the_address_class_of_a_host_in_every_spelling(
    host: str, expected: AddressClass | None
) -> None:
    assert address_class(host) is expected
    assert is_loopback_host(host) is (expected is LOOPBACK)


@pytest.mark.parametrize(
    ("address", "registry_is_loopback", "refused"),
    [
        ("10.0.0.1", False, False),
        ("93.184.216.34", False, False),
        ("127.0.0.1", False, True),
        ("127.0.0.1", True, False),
        ("::1", True, False),
        ("169.254.169.254", True, True),
        ("0.0.0.0", True, True),  # noqa: S104 - an address to refuse
        ("fe80::1%2", False, True),
        ("not an address", True, True),
    ],
)
def test_restricted_resolved_addresses_are_refused_except_loopback_for_loopback(
    address: str, registry_is_loopback: bool, refused: bool
) -> None:
    refusal = address_refusal(address, registry_is_loopback=registry_is_loopback)
    assert (refusal is not None) is refused


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
    ("url", "message"),
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
        ("https://h.example:65536/", "has an invalid port"),
        ("https://h.example:0/", "has an invalid port"),
        ("https://h.example:443443/", "invalid host or port"),
        ("https://h.example:x/", "invalid host or port"),
        ("https://h%2eexample/", "invalid host or port"),
        ("https://h.ex ample/", "invalid host or port"),
        ("https://\uff11\uff12\uff17.0.0.1/", "invalid host or port"),
        ("https://[::1/", "invalid host or port"),
        ("https://[::1]x/", "invalid host or port"),
        ("\thttps://h.example/", "not an absolute URL"),
    ],
)
def test_a_url_with_an_unusual_host_is_refused(url: str, message: str) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
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
def test_references_are_resolved_without_changing_their_encoding(
    reference: str, resolved: str
) -> None:
    base = "https://h.example/v2/a/list?n=2"
    assert resolve_url(base, reference, kind=FailureKind.DENIED) == resolved


@pytest.mark.parametrize("reference", ["/a b", "/a\r\nX: y", "/\\x", "/é", "//[x"])
def test_invalid_references_are_refused_with_the_callers_kind(
    reference: str,
) -> None:
    with pytest.raises(ProtocolError) as caught:
        resolve_url("https://h.example/", reference, kind=FailureKind.DENIED)
    assert caught.value.kind is FailureKind.DENIED
