"""A real registry with Basic authentication, and the logins that skopeo stores."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.config import RegistrySettings
from auditor.demo.demo_tokens import DemoAccount
from auditor.demo.image_builder import PlacedImage, image
from tests.patience import HANG_S
from tests.real.audits import Audited, audit, login, only
from tests.real.basic_login import LINE, USER
from tests.real.programs import required
from tests.support.docker_registry import HtpasswdAuth, docker_registry
from tests.support.store import write_store

pytestmark = pytest.mark.real

PLACED = PlacedImage(repository="team/app", tags=("1",), image=image("app"))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    required("docker-registry")
    root = tmp_path_factory.mktemp("store")
    write_store(root, [PLACED])
    with docker_registry(root, auth=HtpasswdAuth(lines=LINE)) as url:
        yield url.removeprefix("http://")


def by_file(host: str, path: Path) -> Audited:
    return audit(
        host,
        "team/app:1",
        registry=RegistrySettings(),
        docker_config=True,
        authfiles=(str(path),),
    )


def test_the_password_is_sent_with_basic(host: str) -> None:
    line = only(audit(host, "team/app:1", registry=login(USER)))
    assert line["kind"] == "image"
    assert line["digest"] == PLACED.image.root.digest
    assert line["access"] == {
        "state": "unverifiable",
        "actions": [],
        "subject": "auditor",
        "issuer": None,
        "verified": False,
        "credential": "config",
        "login_unused": False,
    }


@pytest.mark.parametrize(
    ("account", "detail"),
    [
        (None, "the registry requires a user name and password"),
        (
            DemoAccount("auditor", "guess"),
            "rejected the login of 'auditor' (401",
        ),
    ],
)
def test_without_the_password_every_reference_is_denied(
    host: str, account: DemoAccount | None, detail: str
) -> None:
    line = only(audit(host, "team/app:1", registry=login(account)))
    assert (line["failure"], line["status"]) == ("denied", 401)
    assert detail in line["detail"]


@pytest.mark.parametrize("part", ["", "/team", "/team/app"])
def test_the_login_that_skopeo_stores_is_used(
    host: str, tmp_path: Path, part: str
) -> None:
    skopeo, path = required("skopeo"), tmp_path / "auth.json"
    subprocess.run(
        [
            *(skopeo, "login", "--tls-verify=false", f"--authfile={path}"),
            *("--username", USER.name, "--password-stdin", host + part),
        ],
        input=USER.password.encode(),
        check=True,
        capture_output=True,
        timeout=HANG_S,
    )
    assert list(json.loads(path.read_text())["auths"]) == [host + part]
    line = only(by_file(host, path))
    assert line["kind"] == "image"
    assert line["access"]["credential"] == "file"
    assert line["access"]["subject"] == "auditor"


@pytest.mark.parametrize(
    ("environment", "is_denied"),
    [
        ({"DOCKER_CONFIG": "secret"}, False),  # config.json
        ({"HOME": "legacy"}, False),  # .dockercfg
        ({"HOME": "empty"}, True),
        ({"REGISTRY_AUTH_FILE": "secret/config.json", "HOME": "legacy"}, False),
    ],
)
def test_credential_files_are_found_where_skopeo_finds_them(
    host: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    is_denied: bool,
) -> None:
    auth = base64.b64encode(f"{USER.name}:{USER.password}".encode()).decode()
    for file, document in {
        "secret/config.json": {"auths": {host: {"auth": auth}}},
        "legacy/.dockercfg": {host: {"auth": auth, "email": "a@example.com"}},
        "empty/other": {},
    }.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(json.dumps(document))
    variables = {name: f"{tmp_path}/{value}" for name, value in environment.items()}
    skopeo = subprocess.run(
        [
            *(required("skopeo"), "inspect", "--raw", "--tls-verify=false"),
            f"docker://{host}/team/app:1",
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **variables},
        check=False,
        capture_output=True,
        timeout=HANG_S,
    )
    assert (skopeo.returncode != 0) == is_denied, skopeo.stderr
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    line = only(
        audit(host, "team/app:1", registry=RegistrySettings(), docker_config=True)
    )
    assert (line["kind"] == "failure") == is_denied
