"""A share of the work: which repositories one of several audits takes.

Whole repositories are shared out, by a hash of registry and name that is the same on
every machine and in every version: a repository's token, children and duplicates stay
with one audit, and the shares of one night are those of the next.
"""

from __future__ import annotations

import hashlib
import re

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass

# Each share reads the whole input and lists every catalog: beyond this, that alone
# would be most of the work.
MAX_SHARDS = 10_000

_SHARD = re.compile(r"([0-9]{1,6}|auto)/([0-9]{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Share `number` (from 1) `of` so many. `number` null: the environment says it."""

    number: int | None
    of: int

    def takes(self, registry: str, repository: str) -> bool:
        """Whether a repository is in this share; of no repository (""), its registry
        goes where its own hash says."""
        name = f"{registry}/{repository}".encode("utf-8", "surrogatepass")
        found = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest())
        return self.number is not None and found % self.of == self.number - 1

    def __str__(self) -> str:
        return f"{'auto' if self.number is None else self.number}/{self.of}"


def parse_shard(text: str) -> Shard:
    """`I/N`, or `auto/N`; `ProtocolError` says what is wrong."""
    found = _SHARD.fullmatch(text.strip())
    if found is None:
        raise ProtocolError("a share such as 2/8 is wanted, or auto/8")
    of = int(found[2])
    number = None if found[1] == "auto" else int(found[1])
    if not 1 <= of <= MAX_SHARDS or (number is not None and not 1 <= number <= of):
        raise ProtocolError(f"shares are 1/N to N/N, and N is at most {MAX_SHARDS:,}")
    return Shard(number=number, of=of)
