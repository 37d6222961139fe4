"""The steps of an expansion, in the order of the list: what is looked at ahead."""

from __future__ import annotations

from dataclasses import field

from anyio.streams.memory import MemoryObjectReceiveStream

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.input.lists import Item
from auditor.model import InputPosition
from auditor.oci.reference import Reference, RepositoryPattern, TagPattern
from auditor.registry.listing.interface import ListedTag, Page
from auditor.report.listing_stats import Listing, Listings

# -- entries --
# What the input stands for, once it is expanded: references, and what is none.

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


TagPage = Page[ListedTag] | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class TagsOf:
    """A repository whose tags are being listed. `among`: the catalog that named it."""

    pattern: TagPattern
    place: str
    pages: MemoryObjectReceiveStream[TagPage]
    among: Listing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogBegins:
    """A list of repositories; their `TagsOf` follow."""

    listing: Listing


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEnds:
    """The last of a repository pattern. `failure`: why its catalog broke off.

    `shared`: other audits take some of its repositories. `told_here`: what is wrong
    with the catalog is for this one to say.
    """

    pattern: RepositoryPattern
    place: str
    listing: Listing
    failure: Failure | None
    shared: bool = False
    told_here: bool = True


Step = Item | Refused | TagsOf | CatalogBegins | CatalogEnds
# Handed on together, in their order.
Steps = list[tuple[InputPosition, Step]]
