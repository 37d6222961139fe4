"""The steps of an expansion, in the order of the list: what is looked at ahead."""

from __future__ import annotations

from anyio.streams.memory import MemoryObjectReceiveStream

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import TagPattern
from auditor.oci.reference_grammar import RepositoryPattern
from auditor.pipeline.expansion.entries import Refused
from auditor.registry.listing.paging import ListedTag, Page
from auditor.report.listing_stats import Listing
from auditor.sources.lists import Item

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
# Where a step stands in the whole input, whoever takes what of it: the number of its
# item, and that of its repository in the item's catalog (0: the item itself).
Turn = tuple[int, int]
# Handed on together, in their order.
Steps = list[tuple[Turn, Step]]
