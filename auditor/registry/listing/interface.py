"""The results of every lister: pages of tags or of repository names."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Collection,
    Iterator,
    Sequence,
)
from contextlib import aclosing
from dataclasses import KW_ONLY
from datetime import datetime
from typing import Generic, Protocol, TypeVar, cast

from auditor.errors import Failure, FailureKind, Stage
from auditor.fast_dataclass import dataclass

# A listing with more pages than this never ends: its links change all the time.
MAX_PAGES = 100_000

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class ListedTag:
    """A tag, and what the listing says about it; most listings only give the name.

    A manifest without a tag has its digest as the `name`.

    `digest` and `media_type` are those of the manifest. `size` is in compressed bytes,
    `created` is when the image was built, `pushed` when the tag was last pushed and
    `pulled` when it was last pulled, all with a time zone.
    """

    name: str
    _: KW_ONLY
    digest: str | None = None
    media_type: str | None = None
    size: int | None = None
    created: datetime | None = None
    pushed: datetime | None = None
    pulled: datetime | None = None


class LazyTags(Collection[ListedTag]):
    """Tags made from their names when iterated: a response may have a million."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[ListedTag]:
        return map(ListedTag, self._names)

    def __contains__(self, tag: object) -> bool:
        return tag in list(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedPage(Generic[Entry]):
    """The content of one response of a listing.

    `next_url` is None on the last page, and a `Failure` if the link is not usable.
    `unreadable` counts entries that are neither readable nor null. `total` is the size
    of the whole listing by the product's own count. It counts the entries, or, where
    an entry may have several names or none, the items in `counted`. An entry that
    `repeats` comes on several pages. `has_untagged`: manifests without a tag are
    entries, too.
    """

    entries: Collection[Entry]
    next_url: str | Failure | None
    unreadable: int = 0
    total: int | None = None
    counted: Sequence[str] | None = None
    repeats: bool = False
    has_untagged: bool = False

    @property
    def items(self) -> Collection[object]:
        """The items that `total` counts."""
        return self.entries if self.counted is None else self.counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Entry]):
    """A part of the entries of a listing, in the order of the listing.

    `number` is that of the response, from 1; a large response gives several pages.
    `unreadable`, `total` and `has_untagged` are as in `ParsedPage`. `last` marks the
    end of the listing. At the end, `end_verified` means that the registry confirmed
    that no entries follow, `end_unknown` that it could not, although the number of
    entries is suspicious.
    """

    entries: tuple[Entry, ...]
    number: int
    last: bool
    unreadable: int = 0
    total: int | None = None
    end_verified: bool = False
    end_unknown: bool = False
    has_untagged: bool = False


class Lister(Protocol):
    """Listings of one registry, page by page.

    Names are as the registry gives them; the caller validates them. A listing that
    fails, at once or after some pages, ends with one `Failure`.
    """

    def tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The tags of a repository, and its manifests without a tag if it lists these.

        It lists them if it was made for that, and if its API has them.
        """

    def repositories(self, prefix: str | None) -> AsyncIterator[Page[str] | Failure]:
        """The registry's repositories; with `prefix`, those below this path.

        `prefix` is made of whole components (`team`, `team/sub`). A lister that cannot
        select may return others too.
        """


def incomplete(detail: str) -> Failure:
    """The failure of a listing that could not be read to its end."""
    return Failure(kind=FailureKind.INCOMPLETE_LISTING, detail=detail, stage=Stage.LIST)


async def first_page(
    pages: AsyncIterator[Page[Entry] | Failure],
) -> Page[Entry] | Failure | None:
    """The first page of a listing, and no request for others; None without one."""
    async with aclosing(cast("AsyncGenerator[Page[Entry] | Failure]", pages)) as opened:
        async for page in opened:
            return page
    return None
