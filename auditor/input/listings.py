"""A repository pattern's repositories, out of the pages of a registry's catalog."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from dataclasses import replace

from auditor.errors import Failure, FailureKind, Stage
from auditor.input.steps import Asked, CatalogEnds, Entry, Refused, TagsOf
from auditor.input.tag_filter import Selection
from auditor.oci.reference import (
    Reference,
    TagPattern,
    is_digest,
    is_repository,
    is_tag,
)
from auditor.oci.reference_grammar import RepositoryPattern
from auditor.registry.listing.paging import ListedTag, Page
from auditor.registry.registries import Registries
from auditor.report.listing_stats import Listing, Listings, ListKind
from auditor.util.text import counted, noun

# -- words --
# What is said of a list out of which nothing comes.


def none_matches(count: int, one: str, many: str, *, of: str, pattern: str) -> str:
    """That none of so many entries of a list is what was asked for."""
    if count == 1:
        return f"the one {one} of {of} does not match {pattern}"
    return f"none of the {count} {many} of {of} matches {pattern}"


# Statuses with which products close their catalog: to this account (401, 403), or
# to everybody (401 on Docker Hub and GitLab; 404 and 405 elsewhere).
_CLOSED = frozenset({401, 403, 404, 405})


class Catalog:
    """Chooses from the pages of a catalog, and counts what they hold."""

    def __init__(self, pattern: RepositoryPattern, selection: Selection) -> None:
        self._pattern = pattern
        self._selection = selection
        self._seen: set[int] = set()
        self.listing = Listing(selector=str(pattern), kind=ListKind.REPOSITORIES)

    def chosen(self, page: Page[str]) -> Iterator[str]:
        """The repositories of a page that match, each once, as it is listed."""
        listing = self.listing
        listing.count(
            pages=page.number,
            entries=len(page.entries) + page.unreadable,
            total=page.total,
            last=page.last,
            checked=page.checked,
            in_doubt=page.in_doubt,
        )
        listing.invalid += page.unreadable
        for repository in page.entries:
            if not is_repository(repository):
                listing.invalid += 1
                continue
            listing.repositories += 1
            if not self._pattern.matches_repository(repository):
                continue
            if not self._selection.tags.wants_repository(repository):
                listing.excluded += 1
            elif self._is_new(repository):
                listing.chosen += 1
                yield repository

    def _is_new(self, repository: str) -> bool:
        # 64 bits each: among a million names two of one hash are a chance in 10^7.
        size = len(self._seen)
        self._seen.add(hash(repository))
        return len(self._seen) > size


async def repositories_of(
    pattern: RepositoryPattern,
    *,
    registries: Registries,
    selection: Selection,
    listings: Listings,
) -> AsyncGenerator[str | Failure, None]:
    """The repositories that a pattern means, as they are listed, then what is wrong.

    `listings` has the account of it.
    """
    catalog = Catalog(pattern, selection)
    listings.begin(catalog.listing)
    registry = await registries.get(pattern.registry)
    failure: Failure | None = None
    async for page in registry.list_repositories(pattern.below):
        if isinstance(page, Failure):
            failure = page
            continue
        for name in catalog.chosen(page):
            yield name
    catalog.listing.suspicious = catalog.listing.looks_cut
    for mistake in mistakes_of_catalog(pattern, catalog.listing, failure):
        catalog.listing.failure = mistake.kind
        yield mistake
    listings.end(catalog.listing)


def end_of_catalog(end: CatalogEnds) -> Iterator[Failure]:
    """What is wrong with a catalog and its lists of tags: nothing, or some failures."""
    listing = end.listing
    listing.suspicious = listing.looks_cut
    if not end.told_here:
        if end.failure is not None and _is_own(end.failure, listing):
            yield end.failure
        return
    fine = True
    for failure in mistakes_of_catalog(end.pattern, listing, end.failure):
        fine = False
        yield failure
    if fine and not end.shared and listing.matches_nothing:
        yield nothing_matches(end.pattern, listing)


def nothing_matches(pattern: RepositoryPattern, listing: Listing) -> Failure:
    """The failure of a pattern whose repositories have no tag that matches."""
    return _failure(
        FailureKind.NOT_FOUND,
        none_matches(
            listing.tags,
            "tag",
            "tags",
            of=counted(listing.chosen, "repository", "repositories"),
            pattern=pattern.pattern,
        ),
    )


def _is_own(failure: Failure, listing: Listing) -> bool:
    """Whether a catalog broke off for this share and may not have for the others.

    One that is closed is closed to all of them, and one share says so.
    """
    return (
        listing.pages > 0
        or failure.kind.retryable
        or failure.kind is FailureKind.INTERRUPTED
    )


def mistakes_of_catalog(
    pattern: RepositoryPattern, listing: Listing, failure: Failure | None
) -> Iterator[Failure]:
    """What is wrong with a catalog; `failure`: why it broke off."""
    registry = pattern.registry
    if failure is not None:
        yield _explained(failure, registry) if listing.pages == 0 else failure
    if listing.invalid:
        yield _failure(
            FailureKind.INCOMPLETE_LISTING,
            f"the catalog of {registry} holds "
            + counted(
                listing.invalid,
                "name that is no repository",
                "names that are no repositories",
            ),
        )
    if listing.missing:
        yield _failure(
            FailureKind.INCOMPLETE_LISTING,
            f"the catalog of {registry} should have {listing.total}"
            f" {noun(listing.total or 0, 'repository', 'repositories')} and lists"
            f" {listing.entries}",
        )
    if failure is not None or listing.invalid or listing.missing:
        return
    if not listing.repositories:
        yield _failure(
            FailureKind.NOT_FOUND,
            f"the catalog of {registry} is empty: there are no repositories, or none"
            " that this account may see",
        )
    elif not (listing.chosen or listing.excluded):
        yield _failure(
            FailureKind.NOT_FOUND,
            none_matches(
                listing.repositories,
                "repository",
                "repositories",
                of=registry,
                pattern=pattern.repository,
            ),
        )


def _explained(failure: Failure, registry: str) -> Failure:
    """A catalog that cannot be had at all, with what to do instead."""
    if failure.kind is FailureKind.NO_PULL_GRANT or failure.status in _CLOSED:
        detail = (
            f"{failure.detail}; without the catalog of {registry}, name its"
            " repositories in a list (-f), let its product's API list them (lister), or"
            " use an account that may read it"
        )
        return replace(failure, stage=Stage.LIST, detail=detail)
    return failure.at(Stage.LIST)


def _failure(kind: FailureKind, detail: str) -> Failure:
    return Failure(kind=kind, stage=Stage.LIST, detail=detail)


# -- tag_list --
# A repository's references, out of the pages of its list of tags.


class TagList:
    """One list of tags. Its `entries` are to be read once, to the end."""

    def __init__(self, step: TagsOf, selection: Selection) -> None:
        self._step = step
        self._pattern = step.pattern
        self._selection = selection
        self._failed = False
        self.listing = Listing(selector=str(step.pattern))

    async def entries(self) -> AsyncIterator[Entry]:
        """The references, and then what is wrong with the list.

        With only the newest wanted, these come first, at the end of the list.
        """
        newest = self._selection.newest()
        async for page in self._step.pages:
            if isinstance(page, Failure):
                for failure in self._broken(page):
                    yield self._refused(failure)
                continue
            tags = self._wanted(page)
            if newest is not None:
                newest.put(tags)
                continue
            for asked in self._asked(tags):
                yield asked
        if newest is not None:
            for asked in self._asked(newest.newest_first()):
                yield asked
        for failure in self._mistakes():
            yield self._refused(failure)

    def _wanted(self, page: Page[ListedTag]) -> list[ListedTag]:
        """The tags of a page that are meant and not filtered out by their name."""
        tags = [
            tag for tag in _tags(page, self.listing) if self._pattern.matches(tag.name)
        ]
        self.listing.filtered += len(tags)  # until they are asked for
        return [tag for tag in tags if self._selection.tags.wants(tag.name)]

    def _asked(self, tags: Iterable[ListedTag]) -> Iterator[Asked]:
        for tag in tags:
            too_old = self._selection.is_too_old(tag)
            if not too_old:
                self.listing.matched += 1
                self.listing.filtered -= 1
                yield _asked(self._pattern, tag, age_unknown=too_old is None)

    def _refused(self, failure: Failure) -> Refused:
        self.listing.failure = failure.kind
        return Refused(
            text=str(self._pattern),
            place=self._step.place,
            failure=failure,
            pattern=self._pattern,
        )

    def _broken(self, failure: Failure) -> Iterator[Failure]:
        self._failed = True
        is_gone = failure.kind is FailureKind.NOT_FOUND and self.listing.pages == 0
        if self._step.among is not None and is_gone:
            # distribution's catalog names repositories that have nothing left.
            self.listing.complete = True
        else:
            yield failure

    def _mistakes(self) -> Iterator[Failure]:
        """What is wrong with a list that was read, and whether it was for nothing."""
        listing, repository = self.listing, self._pattern.repository
        listing.suspicious = listing.looks_cut
        if listing.invalid:
            yield _incomplete(
                f"the list of {repository} holds "
                + counted(
                    listing.invalid, "name that is no tag", "names that are no tags"
                )
            )
        if listing.missing:
            yield _incomplete(
                f"the list of {repository} should have {listing.total}"
                f" {noun(listing.total or 0, 'tag')} and lists"
                f" {listing.entries}"
            )
        if (
            not (self._failed or listing.invalid or listing.missing)
            and not (listing.matched or listing.filtered)
            and self._step.among is None  # else the catalog says whether any was
            and (listing.tags or self._pattern.pattern != "*")
        ):
            yield Failure(
                kind=FailureKind.NOT_FOUND,
                stage=Stage.LIST,
                detail=none_matches(
                    listing.tags,
                    "tag",
                    "tags",
                    of=repository,
                    pattern=self._pattern.pattern,
                ),
            )


def _tags(page: Page[ListedTag], listing: Listing) -> list[ListedTag]:
    """The tags of a page, and what else it holds counted."""
    listing.count(
        pages=page.number,
        entries=len(page.entries) + page.unreadable,
        total=page.total,
        last=page.last,
        checked=page.checked,
        in_doubt=page.in_doubt,
    )
    # Some products list digests among the tags.
    names = [tag for tag in page.entries if not is_digest(tag.name)]
    tags = [tag for tag in names if is_tag(tag.name)]
    listing.tags += len(names)
    listing.invalid += page.unreadable + len(names) - len(tags)
    return tags


def _asked(pattern: TagPattern, tag: ListedTag, *, age_unknown: bool) -> Asked:
    reference = Reference(
        registry=pattern.registry,
        repository=pattern.repository,
        tag=tag.name,
        digest=None,
    )
    digest = tag.digest if tag.digest is not None and is_digest(tag.digest) else None
    return Asked(
        reference=reference,
        listed=True,
        digest=digest,
        age_unknown=age_unknown,
        told=tag,
    )


def _incomplete(detail: str) -> Failure:
    return Failure(kind=FailureKind.INCOMPLETE_LISTING, stage=Stage.LIST, detail=detail)
