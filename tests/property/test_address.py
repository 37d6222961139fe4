from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.wire.url_policy import AddressClass, address_class, address_refusal

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
def test_a_literal_and_a_resolved_address_are_judged_alike(
    address: IPv4Address | IPv6Address,
) -> None:
    found = address_class(str(address))
    refusal = address_refusal(str(address), registry_is_loopback=False)
    assert (refusal is not None) is (found is not None)


@given(st.ip_addresses(v=4))
def test_the_classes_agree_with_the_standard_library(address: IPv4Address) -> None:
    found = address_class(str(address))
    if found is None:
        assert not address.is_loopback
        assert not address.is_link_local
        assert not address.is_multicast
        assert not address.is_reserved
    assert (found is AddressClass.LOOPBACK) is address.is_loopback


@settings(max_examples=200)
@given(st.text() | st.text("0123456789abcdefx.:[]%"))
def test_any_host_is_judged_without_an_exception(host: str) -> None:
    address_class(host)
    address_refusal(host, registry_is_loopback=True)
