"""`auditor doctor`: run the steps in their order, and sum them up."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from auditor.config import Settings
from auditor.config.registries_conf import RegistriesConf, read_registries_conf
from auditor.diagnose.doctor_access import access_steps
from auditor.diagnose.doctor_content import content_steps
from auditor.diagnose.doctor_network import network_steps
from auditor.diagnose.doctor_step import (
    DoctorSession,
    DoctorStep,
    ResponseLog,
    StepName,
    StepState,
    skipped_step,
)
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import Reference
from auditor.registry.registries import open_registries
from auditor.util.clock import Clock, rfc3339
from auditor.util.text import format_count, safe_text

# Characters of a message or an advice; more is a response that is not a registry's.
_MESSAGE_CHARS = 2000


@asynccontextmanager
async def open_session(
    settings: Settings,
    name: str,
    reference: Reference | None,
    *,
    has_tag: bool,
    clock: Clock,
) -> AsyncIterator[DoctorSession]:
    """Open the registry `name`, or its location by registries.conf, for `run_steps`.

    Requests are not retried, so that intermittent failures show. Raises `UsageError`
    as `open_registries` does.
    """
    responses = ResponseLog(clock)
    conf = RegistriesConf()
    if settings.registries_conf:
        conf = read_registries_conf(os.environ)
    probed = reference or Reference(
        registry=name, repository="any", tag="latest", digest=None
    )
    sources = conf.sources(probed)
    if isinstance(place := sources[-1], Reference) and place != probed:
        moved_from, name = str(probed) if reference else name, place.registry
        reference = place if reference else None
    else:
        moved_from = None
    without_retries = replace(settings.registry(name), tries=1)
    settings = replace(
        settings, registries={**settings.registries, name: without_retries}
    )
    async with open_registries(
        settings, clock=clock, observer=responses.observe
    ) as registries:
        yield DoctorSession(
            registry=await registries.get(name),
            settings=settings,
            reference=reference,
            has_tag=has_tag,
            clock=clock,
            responses=responses,
            conf=conf,
            sources=sources,
            moved_from=moved_from,
        )


async def run_steps(session: DoctorSession) -> AsyncIterator[DoctorStep]:
    """Every step as soon as it is done; steps that are not possible are skipped."""
    names = iter(StepName)
    for run_group in (network_steps, access_steps, content_steps):
        if session.stopped:
            break
        async for step in run_group(session):
            assert step.name is next(names), "steps come in their order"
            yield replace(
                step,
                message=safe_text(step.message, _MESSAGE_CHARS),
                next=step.next and safe_text(step.next, _MESSAGE_CHARS),
            )
    for name in names:
        yield skipped_step(name, session.stopped or "an earlier step failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """All steps of a session, and whether an audit would work.

    - `works`: whether an audit would work
    - `verdict`: a sentence about it
    - `checked_at`: RFC 3339 in UTC
    """

    kind: str = "doctor"
    schema: int = 1
    registry: str
    repository: str | None
    reference: str | None
    works: bool
    checked_at: str
    verdict: str
    steps: tuple[DoctorStep, ...]


def summarize(session: DoctorSession, steps: list[DoctorStep]) -> DoctorReport:
    """The report of a session after its last step."""
    reference = session.reference
    failed = [step for step in steps if step.state is StepState.FAILED]
    warnings = sum(step.state is StepState.WARNING for step in steps)
    suffix = f" ({format_count(warnings, 'warning')})" if warnings else ""
    if failed:
        verdict = f"an audit would not work: step {failed[0].name} failed"
    elif reference is None:
        verdict = (
            f"no problem so far{suffix}; check token, grant and manifest with: auditor"
            f" doctor {session.name}/REPOSITORY"
        )
    else:
        verdict = f"an audit would work{suffix}"
    return DoctorReport(
        registry=session.name,
        repository=None if reference is None else reference.repository,
        reference=str(reference) if reference is not None and session.has_tag else None,
        works=not failed,
        checked_at=rfc3339(session.clock.epoch()),
        verdict=verdict,
        steps=tuple(steps),
    )
