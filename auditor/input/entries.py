"""What the input expands to: references to audit, and entries that are rejected."""

from __future__ import annotations

from dataclasses import field

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import Reference, RepositoryPattern, TagPattern
from auditor.registry.listing.interface import ListedTag
from auditor.report.listing_stats import Listings

Pattern = TagPattern | RepositoryPattern


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceEntry:
    """A reference to audit.

    `listed_tag` is set if the tag comes from a listing; `digest` is the tag's digest
    according to that listing. `age_unknown`: whether the image is too old must be
    decided when it is known (`Selection.is_image_too_old`).
    """

    reference: Reference
    listed_tag: ListedTag | None = None
    digest: str | None = None
    age_unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedEntry:
    """An entry that gives no reference, and the failure for its record."""

    text: str
    place: str
    failure: Failure
    pattern: Pattern | None = None


InputEntry = ReferenceEntry | RejectedEntry


@dataclass(slots=True)
class ExpansionCounts:
    """What an expansion has found so far. `cut_off`: the deadline came before the end
    of the input."""

    entries: int = 0
    duplicates: int = 0
    cut_off: bool = False
    listings: Listings = field(default_factory=Listings)
