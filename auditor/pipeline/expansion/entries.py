"""What the input stands for, once it is expanded: references, and what is none."""

from __future__ import annotations

from dataclasses import field

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import Reference, TagPattern
from auditor.oci.reference_grammar import RepositoryPattern
from auditor.registry.listing.paging import ListedTag
from auditor.report.listing_stats import Listings

Pattern = TagPattern | RepositoryPattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A reference to audit. `listed`: the registry named its tag.

    `digest` is what the listing said that the tag names, if it did. `age_unknown`:
    whether it is too old (`Selection.drops`) has to be seen from the image. `told` is
    everything that the listing said of the tag.
    """

    reference: Reference
    listed: bool = False
    digest: str | None = None
    age_unknown: bool = False
    told: ListedTag | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Something in the input that stands for no reference, and why."""

    text: str
    place: str
    failure: Failure
    pattern: Pattern | None = None


Entry = Asked | Refused


@dataclass(frozen=True, slots=True)
class Dropped:
    """What becomes of a reference that is filtered out once its image is known."""


@dataclass(slots=True)
class Expansion:
    """Counts of an expansion while it goes on."""

    asked: int = 0
    duplicates: int = 0
    cut: bool = False  # the input was not read to its end
    listings: Listings = field(default_factory=Listings)
