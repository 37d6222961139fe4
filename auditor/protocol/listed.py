"""What lists say: tags, and what one answer of a list holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY
from datetime import datetime
from typing import Generic, TypeVar, overload

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass

# Sizes at which servers are known to cut a list without saying so.
SUSPICIOUS_COUNTS = frozenset({100, 1000})

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class ListedTag:
    """A tag, and what the listing says of it; most listings only name it.

    `digest` and `media_type` are those of the manifest that the tag names. `size` is
    compressed bytes, `created` when the image was made and `pushed` when the tag was
    last put there, both with their time zone.
    """

    name: str
    _: KW_ONLY
    digest: str | None = None
    media_type: str | None = None
    size: int | None = None
    created: datetime | None = None
    pushed: datetime | None = None


class NamedTags(Sequence[ListedTag]):
    """Tags of which only the names are known, made when they are looked at.

    A list that comes whole may have a million, which are looked at page by page.
    """

    __slots__ = ("_names",)

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> ListedTag: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[ListedTag]: ...

    def __getitem__(self, index: int | slice) -> ListedTag | Sequence[ListedTag]:
        if isinstance(index, slice):
            return [ListedTag(name) for name in self._names[index]]
        return ListedTag(self._names[index])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[Entry]):
    """What one answer of a list holds.

    `following` is the URL of the next one, null on the last, or why it is not known.
    `unreadable` counts what was neither an entry nor null. `total` is how many things
    the product says the whole list has: entries, or what `counted` names of this
    answer, as an artifact may have several tags, or none.
    """

    entries: Sequence[Entry]
    following: str | Failure | None
    unreadable: int = 0
    total: int | None = None
    counted: Sequence[str] | None = None
