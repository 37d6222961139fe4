from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from urllib.parse import parse_qsl, quote, urljoin, urlsplit

from hypothesis import assume, given
from hypothesis import strategies as st

from auditor.errors import FailureKind, ProtocolError
from auditor.wire.challenge import pull_scope
from auditor.wire.url_policy import (
    AddressClass,
    address_class,
    address_refusal,
    check_realm,
    origin_of,
    resolve_url,
    token_url,
)
from tests.examples import examples

REGISTRY = origin_of("https://registry.example")
NEARBY = st.lists(
    st.sampled_from(
        ["https://", "http://", "registry.example", "evil.example", "127.0.0.1",
         "127.1", "[::1]", "localhost", "169.254.169.254", ":443", "/", "/token",
         "?", "service=x", "#", "@", "user:pw", "\\", " ", "\r\n", "é"]
    ),
    max_size=6,
).map("".join)  # fmt: skip


def check_refusal(error: ProtocolError, kind: FailureKind) -> None:
    assert error.kind is kind
    assert error.detail.isprintable()


@examples(500)
@given(st.builds("https://{}".format, NEARBY) | NEARBY | st.text())
def test_a_credential_is_only_sent_to_https_at_unrestricted_addresses(
    realm: str,
) -> None:
    try:
        checked = check_realm(realm, registry=REGISTRY)
    except ProtocolError as error:
        check_refusal(error, FailureKind.REALM_REFUSED)
        return
    parts = urlsplit(checked)
    assert checked == realm
    assert parts.scheme == "https"
    assert "@" not in parts.netloc
    assert "#" not in checked
    assert address_class(parts.hostname or "") is None


@given(
    st.lists(
        st.tuples(st.text("abc&= %é", min_size=1), st.text("xyz&=+ %é")), max_size=3
    ),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_a_token_url_contains_exactly_the_parameters(
    present: list[tuple[str, str]], service: str | None
) -> None:
    realm = "https://a.example/token"
    for name, value in present:
        realm = with_parameter(realm, name, value)
    url = token_url(realm, service=service, scope=pull_scope("a/b"))
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    assert pairs[: len(present)] == present
    asked = [("scope", "repository:a/b:pull")]
    if service is not None:
        asked.insert(0, ("service", service))
    assert pairs[len(present) :] == asked


def with_parameter(url: str, name: str, value: str) -> str:
    separator = "&" if "?" in url else "?"
    return f"{url}{separator}{quote(name, safe='')}={quote(value, safe='')}"


IPV4 = st.one_of(
    st.ip_addresses(v=4),
    st.ip_addresses(v=4, network="127.0.0.0/8"),
    st.ip_addresses(v=4, network="169.254.0.0/16"),
    st.ip_addresses(v=4, network="10.0.0.0/8"),
)
FORMATS = st.sampled_from(["{:d}", "0{:o}", "0x{:x}", "0X{:X}"])


def spellings(address: IPv4Address, parts: int, formats: list[str]) -> str:
    octets = list(address.packed)
    leading, rest = octets[: parts - 1], octets[parts - 1 :]
    numbers = [*leading, int.from_bytes(bytes(rest))]
    return ".".join(
        form.format(number) for form, number in zip(formats, numbers, strict=True)
    )


@given(
    IPV4, st.integers(1, 4).flatmap(lambda n: st.lists(FORMATS, min_size=n, max_size=n))
)
def test_every_spelling_of_an_address_has_its_class(
    address: IPv4Address, formats: list[str]
) -> None:
    expected = address_class(str(address))
    assert address_class(spellings(address, len(formats), formats)) is expected
    for carrier in ("::ffff:0:0", "64:ff9b::"):
        carried = IPv6Address(int(IPv6Address(carrier)) | int(address))
        assert address_class(str(carried)) is expected


@given(st.ip_addresses())
def test_literal_and_resolved_addresses_have_the_same_class(
    address: IPv4Address | IPv6Address,
) -> None:
    found = address_class(str(address))
    refusal = address_refusal(str(address), registry_is_loopback=False)
    assert (refusal is not None) is (found is not None)


@given(st.ip_addresses(v=4))
def test_address_classes_agree_with_the_standard_library(address: IPv4Address) -> None:
    found = address_class(str(address))
    if found is None:
        assert not address.is_loopback
        assert not address.is_link_local
        assert not address.is_multicast
        assert not address.is_reserved
    assert (found is AddressClass.LOOPBACK) is address.is_loopback


@examples(200)
@given(st.text() | st.text("0123456789abcdefx.:[]%"))
def test_any_host_has_a_class_or_none(host: str) -> None:
    address_class(host)
    address_refusal(host, registry_is_loopback=True)


TEST_URL_NEARBY = st.lists(
    st.sampled_from(
        ["http", "https", "HTTPS", "ftp", "://", ":", "/", "//", "?", "#", "@", "\\",
         "[", "]", "[::1]", "h.example", "127.0.0.1", ":80", ":x", "%2e", "..", ";",
         " ", "\t", "\n", "\x00", "é", "\uff0f", "a"]
    ),
    max_size=8,
).map("".join)  # fmt: skip


@examples(500)
@given(TEST_URL_NEARBY | st.builds("https://{}".format, TEST_URL_NEARBY) | st.text())
def test_other_url_parsers_see_the_same_host(url: str) -> None:
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


@examples(300)
@given(TEST_URL_NEARBY)
def test_a_resolved_url_cannot_break_a_request_line(
    reference: str,
) -> None:
    try:
        url = resolve_url("https://h.example/a/b?c", reference, kind=FailureKind.DENIED)
    except ProtocolError as error:
        check_refusal(error, FailureKind.DENIED)
        return
    assert all("!" <= char <= "~" for char in url)
    assert "#" not in url


@given(st.text("abc/.?=&%2F;:,+", max_size=20))
def test_a_relative_reference_is_resolved_like_rfc_3986(reference: str) -> None:
    assume(":" not in reference.partition("/")[0])
    base = "https://h.example/v2/a/list?n=2"
    try:
        found = resolve_url(base, reference, kind=FailureKind.DENIED)
    except ProtocolError:
        return
    assert found == urljoin(base, reference)
