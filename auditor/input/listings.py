"""Filters the listings of a registry, and records how each listing ended.

A listing that breaks off, has invalid names or has fewer entries than the registry
counts is reported with a failure, so that no gap is overlooked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from dataclasses import replace

from anyio.streams.memory import MemoryObjectReceiveStream

from auditor.errors import Failure, FailureKind, Stage
from auditor.fast_dataclass import dataclass
from auditor.input.input_items import InputEntry, ReferenceEntry, RejectedEntry
from auditor.input.tag_filter import NewestTags, Selection
from auditor.oci.descriptor import is_digest
from auditor.oci.reference import (
    RepositoryPattern,
    TagPattern,
    is_repository,
    is_tag,
)
from auditor.registry.listing.interface import ListedTag, Page
from auditor.registry.registries import Registries
from auditor.report.listing_stats import Listing, Listings, ListKind
from auditor.util.text import format_count

TagPage = Page[ListedTag] | Failure

# Statuses of a catalog that is not available: to this account (401, 403), or to all
# accounts (401 on Docker Hub and GitLab; 404 and 405 elsewhere).
_UNAUTHORIZED = 401
_UNAVAILABLE = frozenset({_UNAUTHORIZED, 403, 404, 405})
_TAG = ("tag", "tags")
_REPOSITORY = ("repository", "repositories")


class CatalogListing:
    """The catalog of a registry, read for one repository pattern."""

    def __init__(self, pattern: RepositoryPattern, selection: Selection) -> None:
        self.pattern = pattern
        self.listing = Listing(selector=str(pattern), kind=ListKind.REPOSITORIES)
        self._selection = selection
        self._seen: set[int] = set()

    def matching(self, page: Page[str]) -> Iterator[str]:
        """The repositories of a page that match the pattern.

        A repository that is listed again, because pages shift or namespaces overlap, is
        counted and returned once.
        """
        listing = self.listing
        _count_page(page, listing)
        listing.invalid += page.unreadable
        for repository in page.entries:
            # 64 bits each: the chance that two of a million collide is 1 in 10^7.
            if (key := hash(repository)) in self._seen:
                continue
            self._seen.add(key)
            if not is_repository(repository):
                listing.invalid += 1
                continue
            listing.repositories += 1
            if not self.pattern.matches_repository(repository):
                continue
            if not self._selection.allows_repository(repository):
                listing.excluded += 1
            else:
                listing.chosen += 1
                yield repository

    def errors(self, failure: Failure | None) -> Iterator[Failure]:
        """The errors of a catalog at its end; `failure` is what ended it early."""
        listing, registry = self.listing, self.pattern.registry
        listing.suspicious = listing.looks_truncated
        if failure is not None:
            yield _with_advice(failure, registry) if listing.pages == 0 else failure
        yield from _gaps(listing, f"the catalog of {registry}", *_REPOSITORY)
        if failure is not None or listing.invalid or listing.missing:
            return
        if not listing.repositories:
            yield _not_found(
                f"the catalog of {registry} is empty: the registry has no repositories,"
                " or none that this account may see"
            )
        elif not (listing.chosen or listing.excluded):
            yield no_match(
                listing.repositories, *_REPOSITORY, registry, self.pattern.repository
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEnd:
    """The end of a catalog and of the tag lists of its repositories.

    `failure` ended the catalog early. `is_sharded`: other shards audit some of the
    repositories. `reports_errors`: this shard reports the errors of the catalog, which
    every shard reads.
    """

    catalog: CatalogListing
    place: str
    failure: Failure | None
    is_sharded: bool = False
    reports_errors: bool = True

    def rejected(self) -> Iterator[RejectedEntry]:
        """An entry for each error of the catalog and its tag lists."""
        catalog = self.catalog
        for failure in self._failures():
            yield _rejected(catalog.pattern, self.place, failure, catalog.listing)

    def _failures(self) -> Iterator[Failure]:
        listing = self.catalog.listing
        if not self.reports_errors:
            listing.suspicious = listing.looks_truncated
            # A catalog that is not available fails for all shards. Other failures may
            # be those of this one.
            if self.failure is not None and (
                listing.pages > 0
                or self.failure.kind.retryable
                or self.failure.kind is FailureKind.INTERRUPTED
            ):
                yield self.failure
            return
        errors = list(self.catalog.errors(self.failure))
        yield from errors
        if not errors and not self.is_sharded and listing.matches_nothing:
            yield no_tag_matches(self.catalog.pattern, listing)


class TagListing:
    """The tag list of a repository, read for one tag pattern.

    `catalog` is the listing in which the repository was found. `entries()` must be read
    once, to its end.
    """

    def __init__(
        self,
        pattern: TagPattern,
        place: str,
        pages: MemoryObjectReceiveStream[TagPage],
        *,
        selection: Selection,
        catalog: Listing | None = None,
    ) -> None:
        self.pages = pages
        self.catalog = catalog
        self._wants_untagged = (
            selection.untagged and pattern.pattern == "*" and not pattern.is_store
        )
        self.listing = Listing(
            selector=str(pattern), untagged_wanted=self._wants_untagged
        )
        self._pattern = pattern
        self._place = place
        self._selection = selection
        self._failed = False

    async def entries(self) -> AsyncIterator[InputEntry]:
        """A reference for each tag that matches, then the errors of the list.

        With `--latest`, the references come at the end of the list, newest first.
        """
        latest = self._selection.latest
        newest = None if latest is None else NewestTags(latest)
        async for page in self.pages:
            if isinstance(page, Failure):
                self._failed = True
                missing = page.kind is FailureKind.NOT_FOUND and not self.listing.pages
                if missing and self.catalog is not None:
                    # Distribution's catalog lists repositories with no tags left.
                    self.listing.complete = True
                else:
                    yield self._rejected(page)
                continue
            tags = self._matching(page)
            if newest is not None:
                newest.add(tags)
                continue
            for entry in self._references(tags):
                yield entry
            for entry in self._untagged(page):
                yield entry
        if newest is not None:
            for entry in self._references(newest.newest_first()):
                yield entry
        for failure in self._errors():
            yield self._rejected(failure)

    def _matching(self, page: Page[ListedTag]) -> list[ListedTag]:
        """The tags of a page that match and that no filter leaves out by name."""
        listing = self.listing
        _count_page(page, listing)
        names = tags = list(page.entries)
        if not self._pattern.is_store:
            # Some products list digests among the tags.
            names = [tag for tag in page.entries if not is_digest(tag.name)]
            tags = [tag for tag in names if is_tag(tag.name)]
        listing.tags += len(names)
        listing.invalid += page.unreadable + len(names) - len(tags)
        tags = [tag for tag in tags if self._pattern.matches(tag.name)]
        listing.filtered += len(tags)  # `_references` subtracts those that are left
        return [tag for tag in tags if self._selection.allows_tag(tag.name)]

    def _references(self, tags: Iterable[ListedTag]) -> Iterator[ReferenceEntry]:
        for tag in tags:
            too_old = self._selection.is_tag_too_old(tag)
            if not too_old:
                self.listing.matched += 1
                self.listing.filtered -= 1
                is_valid = tag.digest is not None and is_digest(tag.digest)
                yield ReferenceEntry(
                    reference=self._pattern.reference(tag.name),
                    listed_tag=tag,
                    digest=tag.digest if is_valid else None,
                    age_unknown=too_old is None,
                )

    def _untagged(self, page: Page[ListedTag]) -> Iterator[ReferenceEntry]:
        """The manifests without a tag, which only the pattern `*` matches.

        No filter of tags comes with them (`Settings.untagged`).
        """
        listing, pattern = self.listing, self._pattern
        if not page.has_untagged or not self._wants_untagged:
            return
        listing.untagged = listing.untagged or 0
        for manifest in page.entries:
            if is_digest(manifest.name):
                listing.untagged += 1
                listing.matched += 1
                yield ReferenceEntry(
                    reference=pattern.by_digest(manifest.name),
                    listed_tag=manifest,
                    digest=manifest.name,
                    untagged=True,
                )

    def _rejected(self, failure: Failure) -> RejectedEntry:
        return _rejected(self._pattern, self._place, failure, self.listing)

    def _errors(self) -> Iterator[Failure]:
        listing, repository = self.listing, self._pattern.repository
        listing.suspicious = listing.looks_truncated
        yield from _gaps(listing, f"the tag list of {repository}", *_TAG)
        if (
            not (self._failed or listing.invalid or listing.missing)
            and not (listing.matched or listing.filtered)
            and self.catalog is None  # `CatalogEnd` reports it for all repositories
            and (listing.tags or self._pattern.pattern != "*")
        ):
            yield no_match(listing.tags, *_TAG, repository, self._pattern.pattern)


async def list_repositories(
    pattern: RepositoryPattern,
    *,
    registries: Registries,
    selection: Selection,
    listings: Listings,
) -> AsyncGenerator[str | Failure, None]:
    """The repositories that match a pattern, then the errors of the catalog.

    `listings` receives the catalog's listing.
    """
    catalog = CatalogListing(pattern, selection)
    listings.begin(catalog.listing)
    failure: Failure | None = None
    pages = registries.list_repositories(pattern.registry, pattern.below)
    async for page in pages:
        if isinstance(page, Failure):
            failure = page
            continue
        for repository in catalog.matching(page):
            yield repository
    for error in catalog.errors(failure):
        catalog.listing.failure = error.kind
        yield error
    listings.end(catalog.listing)


def no_tag_matches(pattern: RepositoryPattern, listing: Listing) -> Failure:
    """The failure of a pattern that matches no tag of its repositories."""
    repositories = format_count(listing.chosen, *_REPOSITORY)
    return no_match(listing.tags, *_TAG, repositories, pattern.pattern)


def no_match(
    count: int, singular: str, plural: str, owner: str, pattern: str
) -> Failure:
    """The failure if none of `count` tags or repositories of `owner` matches."""
    if count == 1:
        return _not_found(f"the only {singular} of {owner} does not match {pattern}")
    return _not_found(f"none of the {count} {plural} of {owner} matches {pattern}")


def _gaps(listing: Listing, name: str, singular: str, plural: str) -> Iterator[Failure]:
    if listing.invalid:
        names = format_count(listing.invalid, f"invalid {singular} name")
        yield _incomplete(f"{name} has {names}")
    if listing.missing:
        total = format_count(listing.total or 0, singular, plural)
        yield _incomplete(f"{name} should have {total} and lists {listing.entries}")


def _rejected(
    pattern: TagPattern | RepositoryPattern,
    place: str,
    failure: Failure,
    listing: Listing,
) -> RejectedEntry:
    listing.failure = failure.kind
    return RejectedEntry(
        text=str(pattern), place=place, failure=failure, pattern=pattern
    )


def _count_page(page: Page[str] | Page[ListedTag], listing: Listing) -> None:
    listing.pages = page.number
    listing.entries += len(page.entries) + page.unreadable
    listing.total = listing.total if page.total is None else page.total
    listing.complete = page.last
    listing.checked = page.end_verified
    listing.suspicious = page.end_unknown


def _with_advice(failure: Failure, registry: str) -> Failure:
    """The failure of a catalog that has no page, with what to do instead.

    Not if there is no login, or a wrong one: that failure says what to do itself.
    """
    is_login = failure.stage is Stage.TOKEN and failure.status == _UNAUTHORIZED
    if failure.kind is FailureKind.NO_PULL_GRANT or (
        failure.status in _UNAVAILABLE and not is_login
    ):
        detail = (
            f"{failure.detail}; without the catalog of {registry}, name the"
            " repositories in a list (-f), or set `lister` to its product's API"
        )
        return replace(failure, stage=Stage.LIST, detail=detail)
    return failure.at(Stage.LIST)


def _incomplete(detail: str) -> Failure:
    return Failure(kind=FailureKind.INCOMPLETE_LISTING, stage=Stage.LIST, detail=detail)


def _not_found(detail: str) -> Failure:
    return Failure(kind=FailureKind.NOT_FOUND, stage=Stage.LIST, detail=detail)
