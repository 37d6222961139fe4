"""Who lists what a registry holds: the registry API, or a product's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from auditor.errors import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list. `number` counts from 1, `unreadable` what is no string."""

    names: tuple[str, ...]
    unreadable: int
    number: int
    last: bool


class Lister(Protocol):
    """Lists of one registry, a page at a time."""

    def tags(self, repository: str) -> AsyncIterator[Page | Failure]:
        """The pages of a repository's tags, then nothing or one `Failure`."""
