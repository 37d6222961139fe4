"""Hosts that a registry names and nobody else did: where their names may lead."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from auditor.fast_dataclass import dataclass
from auditor.wire.url_policy import address_refusal


class RefusedAddressError(OSError):
    """A name resolved to an address that no registry may send us to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SsrfGuard:
    """Checks what a name resolved to: after the resolution and before the connection,
    because a name can mean another address each time.

    `allowed_hosts` are those that the user named.
    """

    registry_is_loopback: bool
    allowed_hosts: frozenset[str]

    def check(self, host: str, addresses: Iterable[str]) -> None:
        """Raise `RefusedAddressError` if one of the addresses is not to be asked.

        A host that is an address itself was looked at where it was named
        (`check_realm`, `follow`).
        """
        if host in self.allowed_hosts or _is_address(host):
            return
        for address in addresses:
            refusal = address_refusal(
                address, registry_is_loopback=self.registry_is_loopback
            )
            if refusal:
                raise RefusedAddressError(
                    f"{host} resolves to {refusal}"
                    " (realm_host in the configuration allows a host)"
                )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
