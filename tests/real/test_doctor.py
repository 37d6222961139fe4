"""The doctor, and grants of many repositories, at real registries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from auditor.config import RegistrySettings, Settings
from auditor.demo.images import Placed, image
from auditor.demo.tokens import Account
from auditor.diagnose.doctor import examine, opened, works
from auditor.diagnose.doctor_step import Step
from auditor.oci.reference import parse_reference
from auditor.util.clock import SystemClock
from tests.real.audits import command, login
from tests.real.programs import required
from tests.real.stocked import Stocked
from tests.real.test_basic import LINE, USER
from tests.real.token_server import AUDITOR
from tests.support.docker_registry import HtpasswdAuth, docker_registry
from tests.support.store import write_store

pytestmark = pytest.mark.real

PLACED = Placed(repository="team/app", tags=("1",), image=image("app"))


def doctor(host: str, name: str, registry: RegistrySettings) -> dict[str, Step]:
    """The steps by their names."""

    async def run() -> list[Step]:
        settings = Settings(docker_config=False, registries={host: registry})
        async with opened(
            settings,
            host,
            parse_reference(f"{host}/{name}"),
            tag_named=True,
            clock=SystemClock(),
        ) as case:
            return [step async for step in examine(case)]

    steps = asyncio.run(run())
    found = {step.name.value: step for step in steps}
    assert works(steps) is all(step.state != "failed" for step in steps)
    return found


def test_a_registry_with_tokens_is_well(stocked: Stocked) -> None:
    found = doctor(stocked.host, "team/oci:1.0", login())
    bad = {name for name, step in found.items() if step.state in {"failed", "warning"}}
    # Neither has the catalog for this account.
    assert bad == {"catalog"}
    assert found["ping"].facts["api_version"] == "registry/2.0"
    assert found["challenge"].facts["realm"] == stocked.tokens.realm
    assert found["grant"].says == "auditor is granted pull"
    assert found["manifest"].facts["digest"] == stocked.digests["team/oci:1.0"]
    assert found["manifest"].facts["head"] is True
    assert found["referrers"].facts["api"] is False


def test_what_the_account_may_not_is_told(stocked: Stocked) -> None:
    found = doctor(stocked.host, "secret/oci:1.0", login())
    assert [name for name, step in found.items() if step.state == "failed"] == ["grant"]


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    required("docker-registry")
    root = tmp_path_factory.mktemp("store")
    write_store(root, [PLACED])
    with docker_registry(root, auth=HtpasswdAuth(lines=LINE)) as url:
        yield url.removeprefix("http://")


def test_a_registry_with_basic_is_well_and_a_wrong_password_is_seen(
    basic: str,
) -> None:
    good = doctor(basic, "team/app:1", login(USER))
    wrong = doctor(basic, "team/app:1", login(Account(USER.name, "guess")))
    assert good["challenge"].says == "Basic"
    assert good["manifest"].facts["digest"] == PLACED.image.root.digest
    failed = [name for name, step in wrong.items() if step.state == "failed"]
    assert failed == ["tags"]
    assert f"docker login {basic}" in (wrong["tags"].next or "")


def test_the_robot_that_may_push_is_found(stocked: Stocked, tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text(
        f'[registry."{stocked.host}"]\nusername = "auditor"\npassword_env = "SECRET"\n'
    )
    done = command(
        *("token", "-c", str(config), "--json", "--fail-beyond", "pull"),
        *(f"{stocked.host}/{name}" for name in ("team/oci", "public/arm", "secret/x")),
        place=tmp_path,
        environment={"SECRET": AUDITOR.password},
    )
    lines = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [(line["pull"], line["beyond_pull"]) for line in lines] == [
        (True, []), (True, ["push"]), (False, []),
    ]  # fmt: skip
    assert b"1 grant goes beyond pull: push (1); as auditor (1)" in done.stderr
