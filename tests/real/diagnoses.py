"""Run `auditor doctor` and `auditor ls` in this process."""

from __future__ import annotations

import asyncio

from auditor.config import RegistrySettings, Settings
from auditor.diagnose.doctor import open_session, run_steps
from auditor.diagnose.doctor_step import DoctorStep
from auditor.diagnose.ls import ListLine, RepositoryName, list_target, parse_list_target
from auditor.input.input_items import ReferenceEntry
from auditor.input.tag_filter import Selection
from auditor.oci.reference import parse_reference
from auditor.registry.registries import open_registries
from auditor.report.listing_stats import ListState
from auditor.util.clock import SystemClock


def doctor(host: str, name: str, registry: RegistrySettings) -> dict[str, DoctorStep]:
    """The steps by their names."""

    async def run() -> list[DoctorStep]:
        settings = Settings(docker_config=False, registries={host: registry})
        async with open_session(
            settings,
            host,
            parse_reference(f"{host}/{name}"),
            has_tag=True,
            clock=SystemClock(),
        ) as session:
            return [step async for step in run_steps(session)]

    return {step.name.value: step for step in asyncio.run(run())}


def ls(
    host: str, repository: str = "", registry: RegistrySettings | None = None
) -> list[str]:
    """What `auditor ls` names, if its lists are whole."""
    found: list[str] = []

    def put(line: ListLine) -> bool:
        assert isinstance(line, RepositoryName | ReferenceEntry), line
        found.append(
            line.repository
            if isinstance(line, RepositoryName)
            else str(line.reference.tag)
        )
        return True

    async def run() -> set[ListState]:
        registries = {} if registry is None else {host: registry}
        settings = Settings(docker_config=False, registries=registries)
        async with open_registries(settings, clock=SystemClock()) as opened:
            seen = await list_target(
                parse_list_target(f"{host}/{repository}" if repository else host),
                registries=opened,
                selection=Selection(),
                put=put,
            )
        return seen.listings.states()

    assert asyncio.run(run()) == {ListState.COMPLETE}
    return found
