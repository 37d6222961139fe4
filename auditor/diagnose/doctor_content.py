"""The doctor's steps with the login: tags, manifest, referrers, catalog, rate limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from typing import Any

from auditor.audit.fetch_content import DIGEST_HEADER
from auditor.diagnose.doctor_advice import advise
from auditor.diagnose.doctor_step import (
    DoctorSession,
    DoctorStep,
    StepName,
    StepState,
    failed_step,
    finished_step,
    skipped_step,
)
from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.oci.descriptor import is_digest
from auditor.oci.manifest import VerifiedManifest, verify_manifest
from auditor.oci.reference import Reference, is_tag
from auditor.registry.host_plan import Scheme
from auditor.registry.listing.interface import Page, first_page
from auditor.util.text import format_count, format_duration, safe_text
from auditor.wire.rate_limit import RateLimit
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of

# A host that gives no answer to this will give none to anything else.
_UNREACHABLE = frozenset({FailureKind.CONNECT, FailureKind.DNS, FailureKind.TLS})


async def content_steps(session: DoctorSession) -> AsyncIterator[DoctorStep]:
    """The steps from the tags on; one request each, two for the manifest."""
    reference = session.reference
    if reference is None or session.denied:
        reason = session.denied or "no repository was given"
        for name in (StepName.TAGS, StepName.MANIFEST, StepName.REFERRERS):
            yield skipped_step(name, reason)
    else:
        with session.timed() as watch:
            page = await first_page(session.registry.list_tags(reference.repository))
        yield _tags(session, page, watch.ms)
        if isinstance(page, Failure) and _is_login_rejected(session, page):
            # More requests with a wrong password can lock the account.
            session.stopped = "the registry rejected the login"
            return
        if not session.has_tag and isinstance(page, Page):
            reference = _choose_tag(reference, page)
        step, digest = await _manifest(session, reference)
        yield step
        yield await _referrers(session, reference, digest)
    yield await _catalog(session, reference)
    yield _rate_limit(session.registry.rate_limiter.latest)


def _is_login_rejected(session: DoctorSession, failure: Failure) -> bool:
    """Whether the failure is a 401 that rejects the password, as with Basic."""
    plan = session.registry.auth.plan.known
    return failure.status == 401 and plan is not None and plan.scheme is Scheme.BASIC


def _tags(
    session: DoctorSession, page: Page[Any] | Failure | None, ms: float
) -> DoctorStep:
    if not isinstance(page, Failure):
        return _listing(StepName.TAGS, "tag", page, ms)
    advice = advise(page, session)
    if _is_login_rejected(session, page):
        return failed_step(StepName.TAGS, page, advice, ms=ms)
    return failed_step(
        StepName.TAGS,
        page,
        f"{advice}; references with a tag need no listing",
        ms=ms,
        state=StepState.WARNING,
    )


def _listing(
    name: StepName, entry: str, page: Page[Any] | None, ms: float
) -> DoctorStep:
    count = 0 if page is None else len(page.entries)
    complete = page is None or page.last
    plural = "repositories" if entry == "repository" else None
    counted = format_count(count, entry, plural)
    return finished_step(
        name,
        counted if complete else f"{counted} on the first page",
        {"listed": count, "complete": complete},
        ms=ms,
    )


def _choose_tag(reference: Reference, page: Page[Any]) -> Reference:
    """The reference with `latest` if that tag exists, else with the first tag."""
    tags = [tag.name for tag in page.entries if is_tag(tag.name)]
    if not tags or reference.tag in tags:
        return reference
    return replace(reference, tag=tags[0], digest=None)


async def _manifest(
    session: DoctorSession, reference: Reference
) -> tuple[DoctorStep, str | None]:
    """The manifest step, and the digest of the manifest."""
    repository, tag = reference.repository, reference.manifest_reference
    with session.timed() as head_watch:
        head = await session.registry.head_manifest(repository, tag)
    with session.timed() as watch:
        response = await session.registry.get_manifest(repository, tag)
    details: dict[str, object] = {
        "reference": str(reference),
        "head": not isinstance(head, Failure),
        "head_ms": head_watch.ms,
    }
    document = _document(response, reference)
    if isinstance(document, Failure) or isinstance(response, Failure):
        assert isinstance(document, Failure)
        return failed_step(
            StepName.MANIFEST,
            document,
            advise(document, session),
            ms=watch.ms,
            details=details,
        ), None
    has_digest_header = response.headers.get(DIGEST_HEADER) is not None
    warning, advice = _head_warning(head, document, has_digest_header)
    messages = [
        f"{tag}: {document.media_type}, {document.size} bytes, {document.digest}"
    ]
    if warning is not None:
        messages.append(warning)
    elif not document.warnings:
        messages.append(f"HEAD and {DIGEST_HEADER} work")
    if document.warnings:
        if has_digest_header:
            messages += [safe_text(warn.detail, 300) for warn in document.warnings]
        if warning is None:
            advice = f"see all of it with: auditor inspect {reference}"
    is_good = warning is None and not document.warnings
    details |= {
        "media_type": document.media_type,
        "digest": document.digest,
        "digest_header": has_digest_header,
        "size": document.size,
    }
    return finished_step(
        StepName.MANIFEST,
        "; ".join(messages),
        details,
        ms=watch.ms,
        advice=advice,
        state=StepState.OK if is_good else StepState.WARNING,
    ), document.digest


def _head_warning(
    head: Response | Failure, document: VerifiedManifest, has_digest_header: bool
) -> tuple[str | None, str | None]:
    """The reason why the digest cache cannot use HEAD, with advice."""
    if isinstance(head, Failure):
        return (
            f"HEAD fails ({head.detail}): each audit fetches the manifest again",
            None,
        )
    if not has_digest_header:
        return f"no {DIGEST_HEADER}: HEAD cannot show whether a tag has moved", None
    digest = head.headers.get(DIGEST_HEADER)
    if digest in {None, document.digest}:
        return None, None
    return (
        f"HEAD returns another digest, {safe_text(digest or '', 80)}",
        "run the doctor again, as the tag may just have moved; if the digests still"
        " differ, the registry's HEAD is wrong: audit with --no-cache",
    )


def _document(
    response: Response | Failure, reference: Reference
) -> VerifiedManifest | Failure:
    if isinstance(response, Failure):
        return response
    try:
        return verify_manifest(
            response.body,
            content_type=response.content_type,
            header_digest=response.headers.get(DIGEST_HEADER),
            requested_digest=reference.digest,
        )
    except ProtocolError as error:
        return Failure(kind=error.kind, detail=error.detail, status=response.status)


async def _referrers(
    session: DoctorSession, reference: Reference, digest: str | None
) -> DoctorStep:
    if digest is None or not is_digest(digest):
        return skipped_step(StepName.REFERRERS, "there is no manifest")
    with session.timed() as watch:
        referrers = await session.registry.referrers.list(reference.repository, digest)
    if isinstance(referrers, Failure):
        return failed_step(
            StepName.REFERRERS,
            referrers,
            advise(referrers, session),
            ms=watch.ms,
            state=StepState.WARNING,
            details={"api": None},
        )
    count = None if referrers is None else len(referrers)
    message = "no referrers API: --attachments uses the fallback tags"
    if count is not None:
        message = format_count(count, "referrer")
    details = {"api": referrers is not None, "found": count}
    return finished_step(StepName.REFERRERS, message, details, ms=watch.ms)


async def _catalog(session: DoctorSession, reference: Reference | None) -> DoctorStep:
    namespace = None
    if reference is not None and "/" in reference.repository:
        namespace = reference.repository.partition("/")[0]
    with session.timed() as watch:
        page = await first_page(session.registry.list_repositories(namespace))
    if not isinstance(page, Failure):
        return _listing(StepName.CATALOG, "repository", page, watch.ms)
    if _is_login_rejected(session, page):
        return failed_step(StepName.CATALOG, page, advise(page, session), ms=watch.ms)
    plan = session.registry.auth.plan.known
    realm = None if plan is None else plan.realm
    if reference is None and realm is not None and page.kind in _UNREACHABLE:
        # No step before this one has asked the token service.
        advice = advise(page, session, origin=origin_of(realm))
        return failed_step(StepName.CATALOG, page, advice, ms=watch.ms)
    advice = (
        f"without a catalog, {session.name}/*:* cannot be audited: list the"
        " repositories in a file (-f), or list them with the product's API (lister, in"
        f' [registry."{session.name}"])'
    )
    return failed_step(
        StepName.CATALOG, page, advice, ms=watch.ms, state=StepState.WARNING
    )


def _rate_limit(rate_limit: RateLimit | None) -> DoctorStep:
    if rate_limit is None:
        return finished_step(
            StepName.RATE_LIMIT,
            "none announced (no RateLimit headers)",
            {"remaining": None, "limit": None, "window_s": None},
        )
    message = f"{format_count(rate_limit.remaining, 'manifest')} left"
    if rate_limit.limit is not None:
        message += f" of {rate_limit.limit}"
    if rate_limit.window_s is not None:
        message += f" in {format_duration(rate_limit.window_s)}"
    if rate_limit.counted_by is not None:
        message += f", counted by {rate_limit.counted_by}"
    advice = None
    if rate_limit.remaining == 0:
        advice = (
            "wait for the next window, log in with an account that has a higher limit,"
            " or let audits wait: --rate-limit-policy spread"
        )
    details = asdict(rate_limit)
    return finished_step(StepName.RATE_LIMIT, message, details, advice=advice)
