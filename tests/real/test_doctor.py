"""The doctor and the grants of many repositories, at real registries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from auditor.demo.demo_tokens import DemoAccount
from auditor.demo.image_builder import PlacedImage, image
from tests.real.audits import command, login
from tests.real.basic_login import LINE, USER
from tests.real.diagnoses import doctor
from tests.real.filled_registry import FilledRegistry
from tests.real.programs import required
from tests.real.token_server import AUDITOR
from tests.support.docker_registry import HtpasswdAuth, docker_registry
from tests.support.store import write_store

pytestmark = pytest.mark.real

PLACED = PlacedImage(repository="team/app", tags=("1",), image=image("app"))


def test_a_registry_with_tokens_passes_the_doctor(filled: FilledRegistry) -> None:
    found = doctor(filled.host, "team/oci:1.0", login())
    bad = {name for name, step in found.items() if step.state in {"failed", "warning"}}
    # Neither has the catalog for this account.
    assert bad == {"catalog"}
    assert found["ping"].details["api_version"] == "registry/2.0"
    assert found["challenge"].details["realm"] == filled.tokens.realm
    assert found["grant"].message == "auditor is granted pull"
    assert found["manifest"].details["digest"] == filled.digests["team/oci:1.0"]
    assert found["manifest"].details["head"] is True
    assert found["referrers"].details["api"] is False


def test_a_missing_grant_fails_at_the_grant(filled: FilledRegistry) -> None:
    found = doctor(filled.host, "secret/oci:1.0", login())
    assert [name for name, step in found.items() if step.state == "failed"] == ["grant"]


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    required("docker-registry")
    root = tmp_path_factory.mktemp("store")
    write_store(root, [PLACED])
    with docker_registry(root, auth=HtpasswdAuth(lines=LINE)) as url:
        yield url.removeprefix("http://")


def test_a_registry_with_basic_passes_and_a_wrong_password_fails(
    basic: str,
) -> None:
    good = doctor(basic, "team/app:1", login(USER))
    wrong = doctor(basic, "team/app:1", login(DemoAccount(USER.name, "guess")))
    assert good["challenge"].message == "Basic"
    assert good["manifest"].details["digest"] == PLACED.image.root.digest
    failed = [name for name, step in wrong.items() if step.state == "failed"]
    assert failed == ["tags"]
    assert wrong["tags"].next == (
        f'set the right user name and password in configuration: [registry."{basic}"]'
    )


def test_an_account_that_may_push_is_found(
    filled: FilledRegistry, tmp_path: Path
) -> None:
    config = tmp_path / "a.toml"
    config.write_text(
        f'[registry."{filled.host}"]\nusername = "auditor"\npassword_env = "SECRET"\n'
    )
    done = command(
        *("token", "-c", str(config), "--format=json", "--fail-beyond", "pull"),
        *(f"{filled.host}/{name}" for name in ("team/oci", "public/arm", "secret/x")),
        place=tmp_path,
        environment={"SECRET": AUDITOR.password},
    )
    lines = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [(line["pull"], line["beyond_pull"]) for line in lines] == [
        (True, []), (True, ["push"]), (False, []),
    ]  # fmt: skip
    assert b"more than pull granted: push (1); accounts: auditor (1)" in done.stderr
