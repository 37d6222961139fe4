"""`auditor ls` lists what crane lists, at real registries."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import HANG_S
from tests.real.diagnoses import ls
from tests.real.docker_registry import running_registry
from tests.real.filled_registry import FilledRegistry
from tests.real.go_programs import CRANE
from tests.real.programs import built

pytestmark = pytest.mark.real


@pytest.fixture
def host(filled: FilledRegistry, tmp_path: Path) -> Iterator[str]:
    """The store of the filled registry, served without authentication."""
    with running_registry(
        filled.flavour, tmp_path, root=filled.root, tokens=None
    ) as registry:
        yield registry.host


def crane(*arguments: str, home: Path) -> list[str]:
    """What crane prints."""
    program = built(CRANE)
    done = subprocess.run(
        [program, *arguments],
        env={"HOME": str(home), "PATH": str(Path(program).parent)},
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG_S,
    )
    return done.stdout.split()


def test_repositories_and_tags_are_those_of_crane(host: str, tmp_path: Path) -> None:
    repositories = ls(host)
    assert repositories == crane("catalog", host, home=tmp_path)
    assert len(repositories) > 5
    for repository in repositories[:3]:
        name = f"{host}/{repository}"
        assert sorted(ls(host, repository)) == sorted(crane("ls", name, home=tmp_path))
