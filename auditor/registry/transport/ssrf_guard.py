"""The SSRF guard: checks the addresses of hosts that only a registry named.

Realms, redirects and next pages name hosts. A hostile registry could name one that
resolves to an address inside the user's network (server-side request forgery).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from auditor.fast_dataclass import dataclass
from auditor.wire.url_policy import address_refusal


class RefusedAddressError(OSError):
    """A host name resolved to an address that a registry may not name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SsrfGuard:
    """Checks addresses after the resolution and before the connection.

    Not earlier, because a name can resolve to another address each time.
    `allowed_hosts` are those named by the user, which are not checked. `advice` ends
    the message.
    """

    registry_is_loopback: bool
    allowed_hosts: frozenset[str]
    advice: str = "allow the host with realm_host in the configuration"

    def check(self, host: str, addresses: Iterable[str]) -> None:
        """Raise `RefusedAddressError` if one of the addresses is refused.

        A literal address was checked where it was named (`check_realm`,
        `follow_redirect`).
        """
        if host in self.allowed_hosts or _is_address(host):
            return
        for address in addresses:
            refusal = address_refusal(
                address, registry_is_loopback=self.registry_is_loopback
            )
            if refusal:
                raise RefusedAddressError(
                    f"{host} resolves to {refusal}; {self.advice}"
                )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
