"""Shards divide the repositories of one input among several audits.

Whole repositories are assigned, by a hash of registry and name that is the same on
every machine and in every version: the token, children and duplicates of a repository
stay within one audit, and it is in the same shard every night.
"""

from __future__ import annotations

import hashlib
import re

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass

# Every shard reads the whole input and lists every catalog; with more shards this
# would be most of the work.
MAX_SHARDS = 10_000

_SHARD = re.compile(r"([0-9]{1,6}|auto)/([0-9]{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Shard `number` (from 1) `of` a total; `number` is None for `auto`.

    The number of an `auto` shard comes from the environment.
    """

    number: int | None
    of: int

    def takes(self, registry: str, repository: str) -> bool:
        """Whether a repository is in this shard.

        `repository` is "" for the registry itself, such as its catalog.
        """
        name = f"{registry}/{repository}".encode("utf-8", "surrogatepass")
        bucket = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest())
        return self.number is not None and bucket % self.of == self.number - 1

    def __str__(self) -> str:
        return f"{'auto' if self.number is None else self.number}/{self.of}"


def parse_shard(text: str) -> Shard:
    """Parse `I/N` or `auto/N`. Raises `ProtocolError`."""
    match = _SHARD.fullmatch(text.strip())
    if match is None:
        raise ProtocolError("expected a shard such as 2/8 or auto/8")
    of = int(match[2])
    number = None if match[1] == "auto" else int(match[1])
    if not 1 <= of <= MAX_SHARDS or (number is not None and not 1 <= number <= of):
        raise ProtocolError(f"shards are 1/N to N/N, with N at most {MAX_SHARDS:,}")
    return Shard(number=number, of=of)
