"""A repository's references, out of the pages of its list of tags."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator

from auditor.errors import Failure, FailureKind, Stage
from auditor.input.steps import TagsOf
from auditor.oci.reference import Reference, TagPattern, is_digest, is_tag
from auditor.pipeline.expansion.entries import Asked, Entry, Refused
from auditor.pipeline.expansion.selection import Selection
from auditor.pipeline.expansion.words import none_matches
from auditor.registry.listing.paging import ListedTag, Page
from auditor.report.listing_stats import Listing
from auditor.util.text import counted, noun


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
