from __future__ import annotations

import pytest

from auditor.wire.url_policy import (
    AddressClass,
    address_class,
    address_refusal,
    is_loopback_host,
)

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
def test_the_class_of_a_host_in_every_spelling(
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
def test_resolved_addresses_are_refused_but_loopback_for_loopback(
    address: str, registry_is_loopback: bool, refused: bool
) -> None:
    refusal = address_refusal(address, registry_is_loopback=registry_is_loopback)
    assert (refusal is not None) is refused
