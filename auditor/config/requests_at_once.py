"""The option `--requests-at-once`: how many requests a registry may be sent at once.

`N` fixes it, `N..M` bounds what the adaptive limit finds (registry/
concurrency_control.py), and the default is `1..64`, or `1..8` for public registries
that many share.
"""

from __future__ import annotations

from dataclasses import replace

from auditor.fast_dataclass import dataclass
from auditor.wire.hosted_registries import HOSTED_MOST, hosted_registry

# With more connections, servers and NAT tables refuse the client.
MAX_REQUESTS_AT_ONCE = 256
# At 50 ms per response 64 at once are more requests than one process can send.
DEFAULT_MOST = 64


@dataclass(frozen=True, slots=True)
class RequestsAtOnce:
    """The bounds of concurrent requests to one registry.

    `is_fixed`: the limit is `most`, and only distress lowers it. `is_default`: nothing
    was configured, so that public registries get fewer. `share`: how many runs at a
    time share the registry; the bounds are those of one of them.
    """

    least: int
    most: int
    is_fixed: bool = False
    is_default: bool = False
    share: int = 1

    @classmethod
    def fixed(cls, number: int) -> RequestsAtOnce:
        """The bounds of a fixed number."""
        return cls(1, number, is_fixed=True)

    def divided(self, runs: int) -> RequestsAtOnce:
        """The share of one run if several run at a time: at least one request."""
        return replace(
            self,
            least=max(1, self.least // runs),
            most=max(1, self.most // runs),
            share=self.share * runs,
        )

    def of_registry(self, name: str) -> RequestsAtOnce:
        """The bounds for the registry of that name."""
        if not self.is_default or hosted_registry(name) is None:
            return self
        return replace(self, most=min(self.most, self._most_hosted))

    @property
    def _most_hosted(self) -> int:
        return max(1, HOSTED_MOST // self.share)

    @property
    def most_for_any(self) -> int:
        """The bound that holds for each registry, whatever its name."""
        return min(self.most, self._most_hosted) if self.is_default else self.most

    def __str__(self) -> str:
        """As it is configured."""
        return str(self.most) if self.is_fixed else f"{self.least}..{self.most}"


DEFAULT_REQUESTS_AT_ONCE = RequestsAtOnce(1, DEFAULT_MOST, is_default=True)


def parse_requests_at_once(text: str) -> RequestsAtOnce | int:
    """What `N` or `N..M` means: a fixed number, or bounds. Raises `ValueError`."""
    least, dots, most = text.strip().partition("..")
    bounds = RequestsAtOnce(_number(least), _number(most if dots else least))
    if not 1 <= bounds.least <= bounds.most <= MAX_REQUESTS_AT_ONCE:
        raise ValueError
    return bounds if dots else bounds.most


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > len("256"):
        raise ValueError
    return int(text)
