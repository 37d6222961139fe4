"""What lists say: tags, and what one answer of a list holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from typing import Generic, TypeVar

from auditor.errors import Failure

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
