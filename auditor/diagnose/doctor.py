"""The order of the steps, and what they come to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from auditor.config import Settings
from auditor.diagnose.doctor_access import access_steps
from auditor.diagnose.doctor_content import content_steps
from auditor.diagnose.doctor_network import network_steps
from auditor.diagnose.doctor_step import (
    Case,
    ResponseLog,
    Step,
    StepName,
    StepState,
    skipped,
)
from auditor.oci.reference import Reference
from auditor.registry.registries import open_registries
from auditor.util.clock import Clock

_PARTS = (
    (network_steps, (StepName.ROUTE, StepName.NAME, StepName.TCP, StepName.TLS)),
    (
        access_steps,
        (
            StepName.PING,
            StepName.CHALLENGE,
            StepName.REALM,
            StepName.CREDENTIAL,
            StepName.TOKEN,
            StepName.GRANT,
        ),
    ),
    (
        content_steps,
        (
            StepName.TAGS,
            StepName.MANIFEST,
            StepName.REFERRERS,
            StepName.CATALOG,
            StepName.ALLOWANCE,
        ),
    ),
)


@asynccontextmanager
async def opened(
    settings: Settings,
    name: str,
    reference: Reference | None,
    *,
    tag_named: bool,
    clock: Clock,
) -> AsyncIterator[Case]:
    """The case of a registry, and of a repository in it if there is a reference.

    Nothing is tried again, so that what fails now and then is seen to. Raises
    `UsageError` as `open_registries`.
    """
    heard = ResponseLog(clock)
    own = replace(settings.registry(name), tries=1)
    once = replace(settings, registries={**settings.registries, name: own})
    async with open_registries(
        once, clock=clock, observer=heard.observer
    ) as registries:
        yield Case(
            registry=await registries.get(name),
            settings=settings,
            reference=reference,
            tag_named=tag_named,
            clock=clock,
            heard=heard,
        )


async def examine(case: Case) -> AsyncIterator[Step]:
    """Every step, each as soon as it is taken; what cannot be is skipped."""
    for steps, names in _PARTS:
        taken = 0
        if not case.closed:
            async for step in steps(case):
                assert step.name is names[taken], "steps come in their order"
                taken += 1
                yield step
        for name in names[taken:]:
            yield skipped(name, case.closed or "it needs what came before")


def works(steps: list[Step]) -> bool:
    """Whether an audit would work, as far as was seen."""
    return not any(step.state is StepState.FAILED for step in steps)
