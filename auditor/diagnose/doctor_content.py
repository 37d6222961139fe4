"""What the account gets to see: tags, manifest, referrers, catalog, allowance."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from auditor.audit.resolve import DIGEST_HEADER
from auditor.diagnose import doctor_advice
from auditor.diagnose.doctor_step import Case, Step, StepName, StepState, skipped
from auditor.errors import Failure, ProtocolError
from auditor.oci.manifest import VerifiedManifest, verify_manifest
from auditor.oci.reference import Reference, is_digest, is_tag
from auditor.registry.host_plan import Scheme
from auditor.registry.listing.paging import Page
from auditor.util.text import format_count, format_duration, safe_text
from auditor.wire.rate_limit import RateLimit
from auditor.wire.response import Response

LATEST = "latest"


async def content_steps(case: Case) -> AsyncIterator[Step]:
    """The steps from the list of tags on; one request each, two for the manifest."""
    reference = case.reference
    if reference is None or case.denied:
        why = case.denied or "that takes a repository"
        for name in (StepName.TAGS, StepName.MANIFEST, StepName.REFERRERS):
            yield skipped(name, why)
        yield await _catalog(case, reference)
        yield _allowance(case)
        return
    with case.timed() as watch:
        page = await _first_page(case.registry.list_tags(reference.repository))
    yield _tags(case, page, watch.ms)
    if isinstance(page, Failure) and _is_refused(case, page):
        # Asking on with a wrong password locks accounts.
        case.closed = "the registry refuses the credential"
        return
    if not case.tag_named and isinstance(page, Page):
        reference = _one_of(reference, page)
    step, digest = await _manifest(case, reference)
    yield step
    yield await _referrers(case, reference, digest)
    yield await _catalog(case, reference)
    yield _allowance(case)


async def _first_page(pages: AsyncIterator[Any]) -> Page[Any] | Failure | None:
    async with aclosing(cast(AsyncGenerator[Any, None], pages)) as opened:
        async for page in opened:
            return cast(Page[Any] | Failure, page)
    return None


def _is_refused(case: Case, failure: Failure) -> bool:
    """Whether it is the password itself that is refused, and not what was asked."""
    plan = case.registry.auth.plan.known
    return failure.status == 401 and plan is not None and plan.scheme is Scheme.BASIC


def _tags(case: Case, page: Page[Any] | Failure | None, ms: float) -> Step:
    if isinstance(page, Failure):
        refused = _is_refused(case, page)
        detail = page.detail
        if not refused:
            detail += "; references with a tag need no list"
        return Step(
            name=StepName.TAGS,
            state=StepState.FAILED if refused else StepState.WARNING,
            says=detail,
            ms=ms,
            next=doctor_advice.advise(page, case),
            facts={"failure": page.kind.value, "status": page.status},
        )
    return _listed(StepName.TAGS, "tag", page, ms)


def _listed(name: StepName, what: str, page: Page[Any] | None, ms: float) -> Step:
    count = 0 if page is None else len(page.entries)
    more = page is not None and not page.last
    words = f"{count} {_plural(what, count)}"
    return Step(
        name=name,
        state=StepState.OK,
        says=f"the first page has {words}" if more else words,
        ms=ms,
        facts={"listed": count, "whole": not more},
    )


def _plural(what: str, count: int) -> str:
    if count == 1:
        return what
    return f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"


def _one_of(reference: Reference, page: Page[Any]) -> Reference:
    """`latest` if it is there, else the first tag of the list."""
    names = [tag.name for tag in page.entries if is_tag(tag.name)]
    if LATEST in names or not names:
        return reference
    return Reference(
        registry=reference.registry,
        repository=reference.repository,
        tag=names[0],
        digest=None,
    )


async def _manifest(case: Case, reference: Reference) -> tuple[Step, str | None]:
    repository, wanted = reference.repository, reference.manifest_reference
    with case.timed() as head_watch:
        head = await case.registry.head_manifest(repository, wanted)
    with case.timed() as watch:
        answer = await case.registry.get_manifest(repository, wanted)
    facts: dict[str, object] = {
        "reference": str(reference),
        "head": not isinstance(head, Failure),
        "head_ms": head_watch.ms,
    }
    found = answer if isinstance(answer, Failure) else _document(answer, reference)
    if isinstance(found, Failure):
        step = Step(
            name=StepName.MANIFEST,
            state=StepState.FAILED,
            says=f"{wanted}: {found.detail}",
            ms=watch.ms,
            next=doctor_advice.advise(found, case),
            facts={**facts, "failure": found.kind.value, "status": found.status},
        )
        return step, None
    assert isinstance(answer, Response)
    told = answer.headers.get(DIGEST_HEADER) is not None
    says = [f"{wanted}: {found.media_type}, {found.size} bytes, {found.digest}"]
    state, following = StepState.OK, None
    if isinstance(head, Failure):
        state = StepState.WARNING
        says.append(
            f"HEAD does not work ({head.detail}): each audit fetches this again"
        )
    elif not told:
        state = StepState.WARNING
        says.append(f"no {DIGEST_HEADER}: HEAD cannot tell whether the tag moved")
    elif (other := head.headers.get(DIGEST_HEADER)) not in {None, found.digest}:
        state = StepState.WARNING
        says.append(f"HEAD says {safe_text(other or '', 80)}")
        following = (
            "look again, the tag may just have moved; if it stays so, the registry's"
            " HEAD is of no use: audit with --no-cache"
        )
    elif not found.warnings:
        says.append(f"HEAD and {DIGEST_HEADER} work")
    says += [safe_text(warning.detail, 300) for warning in found.warnings if told]
    if found.warnings and state is StepState.OK:
        state = StepState.WARNING
        following = f"look at all of it: auditor inspect {reference}"
    step = Step(
        name=StepName.MANIFEST,
        state=state,
        says="; ".join(says),
        ms=watch.ms,
        next=following,
        facts={
            **facts,
            "media_type": found.media_type,
            "digest": found.digest,
            "digest_header": told,
            "size": found.size,
        },
    )
    return step, found.digest


def _document(answer: Response, reference: Reference) -> VerifiedManifest | Failure:
    try:
        return verify_manifest(
            answer.body,
            content_type=answer.content_type,
            header_digest=answer.headers.get(DIGEST_HEADER),
            asked_digest=reference.digest,
        )
    except ProtocolError as error:
        return Failure(kind=error.kind, detail=error.detail, status=answer.status)


async def _referrers(case: Case, reference: Reference, digest: str | None) -> Step:
    if digest is None or not is_digest(digest):
        return skipped(StepName.REFERRERS, "there is no manifest to ask about")
    with case.timed() as watch:
        found = await case.registry.referrers.list(reference.repository, digest)
    if isinstance(found, Failure):
        return Step(
            name=StepName.REFERRERS,
            state=StepState.WARNING,
            says=found.detail,
            ms=watch.ms,
            next=doctor_advice.advise(found, case),
            facts={"api": None, "failure": found.kind.value},
        )
    if found is None:
        says = "no API for them: --attachments looks for fallback tags"
    else:
        says = f"{len(found)} attached"
    return Step(
        name=StepName.REFERRERS,
        state=StepState.OK,
        says=says,
        ms=watch.ms,
        facts={
            "api": found is not None,
            "found": None if found is None else len(found),
        },
    )


async def _catalog(case: Case, reference: Reference | None) -> Step:
    below = None
    if reference is not None and "/" in reference.repository:
        below = reference.repository.partition("/")[0]
    with case.timed() as watch:
        page = await _first_page(case.registry.list_repositories(below))
    if isinstance(page, Failure):
        refused = _is_refused(case, page)
        return Step(
            name=StepName.CATALOG,
            state=StepState.FAILED if refused else StepState.WARNING,
            says=page.detail,
            ms=watch.ms,
            next=doctor_advice.advise(page, case)
            if refused
            else f"without it, {case.name}/*:* cannot be audited: name repositories in"
            " a list (-f), or have the product's API list them (lister, in"
            f' [registry."{case.name}"])',
            facts={"failure": page.kind.value, "status": page.status},
        )
    return _listed(StepName.CATALOG, "repository", page, watch.ms)


def _allowance(case: Case) -> Step:
    seen = case.registry.rate_limiter.latest
    if seen is None:
        return Step(
            name=StepName.ALLOWANCE,
            state=StepState.OK,
            says="none is told (no RateLimit fields)",
            facts={"remaining": None, "limit": None, "window_s": None},
        )
    used_up = seen.remaining == 0
    return Step(
        name=StepName.ALLOWANCE,
        state=StepState.WARNING if used_up else StepState.OK,
        says=_allowance_words(seen),
        next="wait for the next window, log in with an account that has more, or have"
        " an audit wait by itself: --allowance spread"
        if used_up
        else None,
        facts={
            "remaining": seen.remaining,
            "limit": seen.limit,
            "window_s": seen.window_s,
            "counted_by": seen.counted_by,
        },
    )


def _allowance_words(seen: RateLimit) -> str:
    words = f"{format_count(seen.remaining, 'manifest')} left"
    if seen.limit is not None:
        words += f" of {seen.limit}"
    if seen.window_s is not None:
        words += f" in {format_duration(seen.window_s)}"
    if seen.counted_by is not None:
        words += f", counted by {seen.counted_by}"
    return words
