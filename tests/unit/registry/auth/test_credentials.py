"""Which credential is found for a repository, and in which order."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from auditor.config import RegistrySettings, Settings
from auditor.errors import Failure, FailureKind, Stage, UsageError
from auditor.registry.auth.credentials import CredentialStore
from auditor.registry.auth.docker_config import FoundCredential
from auditor.util.secret import Secret
from auditor.wire.credential import Login

pytestmark = pytest.mark.anyio
HOST = "dtr.example.com"


def auth(pair: str) -> dict[str, str]:
    return {"auth": base64.b64encode(pair.encode()).decode()}


def write(path: Path, **document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def docker(folder: Path, **document: object) -> dict[str, str]:
    write(folder / "config.json", **document)
    return {"DOCKER_CONFIG": str(folder)}


async def username_for(
    registry: str,
    repository: str = "",
    *,
    settings: Settings | None = None,
    environment: Mapping[str, str],
) -> str | None:
    """The user name for a repository; None: anonymous."""
    credentials = CredentialStore(settings or Settings(), environment)
    found = await credentials.find(
        registry, credentials.namespace_of(registry, repository)
    )
    assert not isinstance(found, Failure), found
    return None if found is None else found.credential.username


async def test_the_configuration_wins_over_the_auth_files(tmp_path: Path) -> None:
    environment = docker(
        tmp_path, auths={name: auth("d:d") for name in (HOST, f"{HOST}/x", "ghcr.io")}
    )
    configured = RegistrySettings(username="me", password=Secret("pass"))
    settings = Settings(
        registries={HOST: configured, "ghcr.io": RegistrySettings(tries=5)},
        namespaces={f"{HOST}/team": Login(username="robot", password=Secret("r"))},
    )
    for registry, repository, expected in (
        (HOST, "", "me"),
        (HOST, "x/app", "me"),
        (HOST, "team/app", "robot"),
        (HOST, "teams/app", "me"),
        ("ghcr.io", "x/app", "d"),
        ("quay.io", "x/app", None),
    ):
        assert (
            await username_for(
                registry, repository, settings=settings, environment=environment
            )
            == expected
        )


async def test_the_first_file_with_a_login_wins(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    write(tmp_path / ".docker" / "config.json", auths={HOST: auth("docker:1")})
    assert await username_for(HOST, environment=environment) == "docker"
    write(
        tmp_path / ".config" / "containers" / "auth.json",
        auths={HOST: auth("config:1"), f"{HOST}/deep/app": auth("deep:1")},
    )
    assert await username_for(HOST, environment=environment) == "config"
    write(
        tmp_path / "run" / "containers" / "auth.json",
        auths={f"{HOST}/team": auth("runtime:1"), "ghcr.io": {}},
    )
    assert await username_for(HOST, environment=environment) == "config"
    assert await username_for(HOST, "team/app", environment=environment) == "runtime"
    assert await username_for(HOST, "deep/app", environment=environment) == "deep"


async def test_a_shorter_name_in_an_earlier_file_wins_over_a_longer_one_later(
    tmp_path: Path,
) -> None:
    """As in containers/image: the files are searched one after the other."""
    environment = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    write(tmp_path / "containers" / "auth.json", auths={HOST: auth("first:1")})
    write(tmp_path / ".docker" / "config.json", auths={f"{HOST}/a": auth("second:1")})
    assert await username_for(HOST, "a/b", environment=environment) == "first"


async def test_a_named_auth_file_is_the_only_one_and_must_exist(tmp_path: Path) -> None:
    environment = docker(tmp_path, auths={HOST: auth("d:d")})
    path = tmp_path / "auth.json"
    by_option = Settings(authfiles=(str(path),))
    by_variable = {**environment, "REGISTRY_AUTH_FILE": str(path)}
    with pytest.raises(UsageError, match=r"auth\.json: no such file; check --authfile"):
        CredentialStore(by_option, environment)
    with pytest.raises(UsageError, match=r"no such file; check REGISTRY_AUTH_FILE"):
        CredentialStore(Settings(), by_variable)
    path.write_text("")
    assert await username_for(HOST, settings=by_option, environment=environment) is None
    assert await username_for(HOST, environment=by_variable) is None
    write(path, auths={HOST: auth("a:a")})
    assert await username_for(HOST, settings=by_option, environment=environment) == "a"
    assert await username_for(HOST, environment=by_variable) == "a"
    other = write(tmp_path / "other.json", auths={HOST: auth("o:o")})
    named = {**environment, "REGISTRY_AUTH_FILE": str(other)}
    assert await username_for(HOST, settings=by_option, environment=named) == "a"


async def test_without_auth_files_requests_are_anonymous(tmp_path: Path) -> None:
    environment = docker(tmp_path, auths={HOST: auth("d:d")})
    for settings, variables in (
        (Settings(docker_config=False), environment),
        (Settings(), {"HOME": str(tmp_path / "nowhere")}),
        (Settings(), {}),
    ):
        assert (
            await username_for(HOST, settings=settings, environment=variables) is None
        )


async def test_an_invalid_entry_is_a_failure_of_the_token_stage(
    tmp_path: Path,
) -> None:
    environment = docker(tmp_path, auths={HOST: {"auth": "%%%"}})
    found = await CredentialStore(Settings(), environment).find(HOST)
    assert isinstance(found, Failure)
    assert (found.kind, found.stage) == (FailureKind.DENIED, Stage.TOKEN)


async def test_no_secret_is_in_a_repr(tmp_path: Path) -> None:
    environment = docker(
        tmp_path,
        auths={
            HOST: auth("me:hunter2"),
            "ghcr.io": {"registrytoken": "hunter2"},
            "quay.io": {"identitytoken": "hunter2"},
        },
    )
    credentials = CredentialStore(
        Settings(
            namespaces={f"{HOST}/a": Login(username="a", password=Secret("hunter2"))}
        ),
        environment,
    )
    printed = repr(vars(credentials))
    for registry in (HOST, "ghcr.io", "quay.io"):
        found = await credentials.find(registry)
        assert isinstance(found, FoundCredential)
        printed += repr(found) + str(found)
    assert "me" in printed
    assert "hunter2" not in printed
