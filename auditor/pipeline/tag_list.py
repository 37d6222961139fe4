"""A repository's references, out of the pages of its list of tags."""

from __future__ import annotations

from collections.abc import AsyncIterator

from auditor.errors import Failure, FailureKind, Stage
from auditor.pipeline.entries import Asked, Entry, Refused
from auditor.pipeline.steps import TagsOf
from auditor.protocol.reference import Reference, is_digest, is_tag
from auditor.registry.lister import ListedTag, Page
from auditor.reports.listings import Listing


async def entries_of_tags(step: TagsOf, listing: Listing) -> AsyncIterator[Entry]:
    """The entries of one list of tags, while `listing` counts what it holds."""
    pattern = step.pattern

    def refused(failure: Failure) -> Refused:
        listing.failure = failure.kind
        return Refused(
            text=str(pattern), place=step.place, failure=failure, pattern=pattern
        )

    failed = False
    async for page in step.pages:
        if not isinstance(page, Failure):
            for tag in _tags(page, listing):
                if pattern.matches(tag.name):
                    listing.matched += 1
                    yield _asked(step, tag)
        elif step.among is not None and _is_gone(page, listing):
            # distribution's catalog names repositories that have nothing left.
            listing.complete = failed = True
        else:
            failed = True
            yield refused(page)
    listing.suspicious = listing.looks_cut
    if listing.invalid:
        yield refused(
            _incomplete(
                f"the list of {pattern.repository} holds {listing.invalid}"
                " names that are no tags"
            )
        )
    if listing.missing:
        yield refused(
            _incomplete(
                f"the list of {pattern.repository} should have {listing.total} tags"
                f" and lists {listing.entries}"
            )
        )
    if (
        not (failed or listing.invalid or listing.missing or listing.matched)
        and step.among is None  # else the catalog says whether there was any
        and (listing.tags or pattern.pattern != "*")
    ):
        yield refused(
            Failure(
                kind=FailureKind.NOT_FOUND,
                stage=Stage.LIST,
                detail=f"none of the {listing.tags} tags of {pattern.repository}"
                f" matches {pattern.pattern}",
            )
        )


def _tags(page: Page[ListedTag], listing: Listing) -> list[ListedTag]:
    """The tags of a page, and what else it holds counted."""
    listing.count(
        pages=page.number,
        entries=len(page.entries) + page.unreadable,
        total=page.total,
        last=page.last,
    )
    # Some products list digests among the tags.
    names = [tag for tag in page.entries if not is_digest(tag.name)]
    tags = [tag for tag in names if is_tag(tag.name)]
    listing.tags += len(names)
    listing.invalid += page.unreadable + len(names) - len(tags)
    return tags


def _asked(step: TagsOf, tag: ListedTag) -> Asked:
    reference = Reference(
        registry=step.pattern.registry,
        repository=step.pattern.repository,
        tag=tag.name,
        digest=None,
    )
    digest = tag.digest if tag.digest is not None and is_digest(tag.digest) else None
    return Asked(reference=reference, listed=True, digest=digest)


def _is_gone(failure: Failure, listing: Listing) -> bool:
    return failure.kind is FailureKind.NOT_FOUND and listing.pages == 0


def _incomplete(detail: str) -> Failure:
    return Failure(kind=FailureKind.INCOMPLETE_LISTING, stage=Stage.LIST, detail=detail)
