"""Who lists what a registry holds: the registry API, or a product's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Generic, Protocol

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.protocol.listed import Entry, ListedTag

__all__ = ["Entry", "ListedTag", "Lister", "Page"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Entry]):
    """Some of the entries of a list, in its order.

    `number` counts from 1 the answers that were read, of which a large one is handed
    on in several `Page`s. `last`: the list ends here. `unreadable` counts what was
    neither an entry nor null, `total` is how many entries the product says the whole
    list has. `checked`: it ends here, and the registry was asked what comes after
    the last entry, which is nothing; `in_doubt`: it ends here with as many entries as
    a page has, and the registry could not say what comes after them.
    """

    entries: tuple[Entry, ...]
    number: int
    last: bool
    unreadable: int = 0
    total: int | None = None
    checked: bool = False
    in_doubt: bool = False


class Lister(Protocol):
    """Lists of one registry, a page at a time.

    Names come as the registry gives them: whoever asks checks them. A list that
    cannot be read, or only in part, ends with one `Failure` after what was read.
    """

    def tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The pages of a repository's tags, then nothing or one `Failure`."""

    def repositories(self, below: str | None) -> AsyncIterator[Page[str] | Failure]:
        """The pages of the registry's repositories, then nothing or one `Failure`.

        Only those below the path `below` (`team` or `team/sub`, whole components) are
        wanted, null: all. One that cannot ask for so few may give the others too.
        """
