"""`auditor ls` lists what crane lists, at real registries."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.config import Settings
from auditor.diagnose.ls import ListLine, RepositoryName, list_target, parse_list_target
from auditor.input.input_items import ReferenceEntry
from auditor.input.tag_filter import Selection
from auditor.registry.registries import open_registries
from auditor.report.listing_stats import ListState
from auditor.util.clock import SystemClock
from tests.real.docker_registry import running_registry
from tests.real.filled_registry import FilledRegistry
from tests.real.programs import optional

pytestmark = pytest.mark.real

CRANE = "github.com/google/go-containerregistry/cmd/crane@latest"


@pytest.fixture
def host(filled: FilledRegistry, tmp_path: Path) -> Iterator[str]:
    """The store of the filled registry, served without authentication."""
    with running_registry(
        filled.flavour, tmp_path, root=filled.root, tokens=None
    ) as registry:
        yield registry.host


def crane(*arguments: str, home: Path) -> list[str]:
    """What crane prints."""
    program = optional("crane", CRANE)
    done = subprocess.run(
        [program, *arguments],
        env={"HOME": str(home), "PATH": str(Path(program).parent)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()


def ls(target: str) -> list[str]:
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
        settings = Settings(docker_config=False)
        async with open_registries(settings, clock=SystemClock()) as registries:
            seen = await list_target(
                parse_list_target(target),
                registries=registries,
                selection=Selection(),
                put=put,
            )
        return seen.listings.states()

    assert asyncio.run(run()) == {ListState.COMPLETE}
    return found


def test_repositories_and_tags_are_those_of_crane(host: str, tmp_path: Path) -> None:
    repositories = ls(host)
    assert repositories == crane("catalog", host, home=tmp_path)
    assert len(repositories) > 5
    for repository in repositories[:3]:
        name = f"{host}/{repository}"
        assert sorted(ls(name)) == sorted(crane("ls", name, home=tmp_path))
