"""Where logins come from, in which order, and that none of them shows."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest

from auditor.config import RegistrySettings, Settings
from auditor.errors import Failure, FailureKind, Stage, UsageError
from auditor.model import CredentialSource
from auditor.registry.auth.credentials import (
    Credentials,
    Found,
    HelperRunner,
    auth_file_paths,
)
from auditor.registry.auth.docker_config import Helper
from auditor.util.secret import Secret
from auditor.wire.login import Credential

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


async def whose(
    registry: str,
    repository: str = "",
    *,
    settings: Settings | None = None,
    environment: Mapping[str, str],
) -> str | None:
    """The user name that a repository is asked with; None: nobody's."""
    credentials = Credentials.from_settings(settings or Settings(), environment)
    found = await credentials.find(registry, credentials.part_of(registry, repository))
    assert not isinstance(found, Failure), found
    return None if found is None else found.login.username


# -- the order of the places -----------------------------------------------------


async def test_the_configuration_wins_over_the_files(tmp_path: Path) -> None:
    environment = docker(
        tmp_path, auths={name: auth("d:d") for name in (HOST, f"{HOST}/x", "ghcr.io")}
    )
    configured = RegistrySettings(username="me", password=Secret("pass"))
    settings = Settings(
        registries={HOST: configured, "ghcr.io": RegistrySettings(tries=5)},
        namespaces={f"{HOST}/team": Credential(username="robot", password=Secret("r"))},
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
            await whose(
                registry, repository, settings=settings, environment=environment
            )
            == expected
        )


def test_the_places_are_those_of_podman_in_its_order() -> None:
    everything = {"HOME": "/h", "XDG_RUNTIME_DIR": "/r", "XDG_CONFIG_HOME": "/c"}
    for environment, paths in (
        (
            everything,
            [
                "/r/containers/auth.json",
                "/c/containers/auth.json",
                "/h/.docker/config.json",
            ],
        ),
        (
            {"HOME": "/h"},
            ["/h/.config/containers/auth.json", "/h/.docker/config.json"],
        ),
        ({**everything, "DOCKER_CONFIG": "/d"}, ["/d/config.json"]),
        ({}, []),
    ):
        assert list(map(str, auth_file_paths(environment))) == paths


async def test_the_first_file_that_has_a_login_wins(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    write(tmp_path / ".docker" / "config.json", auths={HOST: auth("docker:1")})
    assert await whose(HOST, environment=environment) == "docker"
    write(
        tmp_path / ".config" / "containers" / "auth.json",
        auths={HOST: auth("config:1"), f"{HOST}/deep/app": auth("deep:1")},
    )
    assert await whose(HOST, environment=environment) == "config"
    write(
        tmp_path / "run" / "containers" / "auth.json",
        auths={f"{HOST}/team": auth("runtime:1"), "ghcr.io": {}},
    )
    assert await whose(HOST, environment=environment) == "config"
    assert await whose(HOST, "team/app", environment=environment) == "runtime"
    assert await whose(HOST, "deep/app", environment=environment) == "deep"


async def test_a_shorter_name_in_an_earlier_file_wins_over_a_longer_one_later(
    tmp_path: Path,
) -> None:
    """As in containers/image: the files are searched one after the other."""
    environment = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    write(tmp_path / "containers" / "auth.json", auths={HOST: auth("first:1")})
    write(tmp_path / ".docker" / "config.json", auths={f"{HOST}/a": auth("second:1")})
    assert await whose(HOST, "a/b", environment=environment) == "first"


async def test_a_named_file_is_the_only_one_and_must_be_there(tmp_path: Path) -> None:
    environment = docker(tmp_path, auths={HOST: auth("d:d")})
    path = tmp_path / "auth.json"
    by_option = Settings(authfile=str(path))
    by_variable = {**environment, "REGISTRY_AUTH_FILE": str(path)}
    with pytest.raises(UsageError, match=r"auth\.json: no such file, which --authfile"):
        Credentials.from_settings(by_option, environment)
    with pytest.raises(UsageError, match=r"no such file, which REGISTRY_AUTH_FILE"):
        Credentials.from_settings(Settings(), by_variable)
    path.write_text("")
    assert await whose(HOST, settings=by_option, environment=environment) is None
    assert await whose(HOST, environment=by_variable) is None
    write(path, auths={HOST: auth("a:a")})
    assert await whose(HOST, settings=by_option, environment=environment) == "a"
    assert await whose(HOST, environment=by_variable) == "a"
    other = write(tmp_path / "other.json", auths={HOST: auth("o:o")})
    named = {**environment, "REGISTRY_AUTH_FILE": str(other)}
    assert await whose(HOST, settings=by_option, environment=named) == "a"


async def test_without_files_everyone_is_anonymous(tmp_path: Path) -> None:
    environment = docker(tmp_path, auths={HOST: auth("d:d")})
    for settings, variables in (
        (Settings(docker_config=False), environment),
        (Settings(), {"HOME": str(tmp_path / "nowhere")}),
        (Settings(), {}),
    ):
        assert await whose(HOST, settings=settings, environment=variables) is None


def test_an_unreadable_file_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        Credentials.from_settings(Settings(), {"DOCKER_CONFIG": str(tmp_path)})
    (tmp_path / "config.json").rmdir()
    (tmp_path / "config.json").symlink_to("config.json")
    with pytest.raises(UsageError, match="cannot be read: Too many levels of symbolic"):
        Credentials.from_settings(Settings(authfile=f"{tmp_path}/config.json"), {})
    with pytest.raises(UsageError, match="larger than 1048576 bytes"):
        Credentials.from_settings(Settings(authfile="/dev/zero"), {})


async def test_what_cannot_be_used_is_a_failure_of_the_token_stage(
    tmp_path: Path,
) -> None:
    environment = docker(tmp_path, auths={HOST: {"auth": "%%%"}})
    found = await Credentials.from_settings(Settings(), environment).find(HOST)
    assert isinstance(found, Failure)
    assert (found.kind, found.stage) == (FailureKind.DENIED, Stage.TOKEN)


# -- helpers ---------------------------------------------------------------------

KNOWN = '{"ServerURL": "x", "Username": "helped", "Secret": "hunter2"}'
NOT_FOUND = "credentials not found in native keychain"


def helper(folder: Path, name: str, script: str) -> None:
    """A program `docker-credential-NAME` that notes what it is asked."""
    path = folder / f"docker-credential-{name}"
    path.write_text(f'#!/bin/sh\necho "$0 $1 [$(cat)]" >> "{folder}/asked"\n{script}\n')
    path.chmod(0o755)


def with_helpers(folder: Path, **document: object) -> dict[str, str]:
    return {**docker(folder, **document), "PATH": f"{folder}:/usr/bin:/bin"}


async def found_by(environment: Mapping[str, str]) -> Found | Failure | None:
    return await Credentials.from_settings(Settings(), environment).find(HOST)


async def test_a_helper_gives_the_login_that_it_keeps(tmp_path: Path) -> None:
    helper(tmp_path, "keeper", f"echo '{KNOWN}'")
    environment = with_helpers(tmp_path, credHelpers={HOST: "keeper"})
    found = await found_by(environment)
    assert isinstance(found, Found)
    assert found.login == Credential(username="helped", password=Secret("hunter2"))
    assert found.source is CredentialSource.HELPER
    assert "docker-credential-keeper" in found.place
    asked = (tmp_path / "asked").read_text()
    assert asked == f"{tmp_path}/docker-credential-keeper get [{HOST}]\n"


async def test_a_helper_that_knows_nothing_leaves_the_word_to_the_next(
    tmp_path: Path,
) -> None:
    helper(tmp_path, "empty", f"echo {NOT_FOUND}; exit 1")
    helper(tmp_path, "keeper", f"echo '{KNOWN}'")
    document = {"credHelpers": {HOST: "empty"}, "credsStore": "keeper"}
    found = await found_by(with_helpers(tmp_path, **document))
    assert isinstance(found, Found)
    assert found.login.username == "helped"
    document = {"credHelpers": {HOST: "empty"}, "auths": {HOST: auth("kept:1")}}
    found = await found_by(with_helpers(tmp_path, **document))
    assert isinstance(found, Found)
    assert (found.login.username, found.source) == ("kept", CredentialSource.FILE)
    assert await found_by(with_helpers(tmp_path, credsStore="empty")) is None


async def test_a_helper_is_asked_with_this_program_s_environment(
    tmp_path: Path,
) -> None:
    helper(
        tmp_path, "cloud", 'echo "{\\"Username\\":\\"$PROFILE\\",\\"Secret\\":\\"s\\"}"'
    )
    environment = {**with_helpers(tmp_path, credsStore="cloud"), "PROFILE": "audit"}
    found = await found_by(environment)
    assert isinstance(found, Found)
    assert found.login.username == "audit"


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            "echo hunter2; echo hunter2 >&2; exit 3",
            f"failed with code 3; to see why, run: echo {HOST} |"
            " docker-credential-bad get",
        ),
        ("kill -9 $$", "failed with signal 9"),
        ("echo hunter2", "did not answer with JSON"),
        ("true", "did not answer with JSON"),
        ("echo '[]'", "answered with JSON that is not an object"),
        ("""echo '{"Username":7,"Secret":"hunter2"}'""", "that is not a text"),
        ("""echo '{"Username":"a","Secret":""}'""", "an empty Secret"),
        ("""echo '{"Username":"a:b","Secret":"hunter2"}'""", "control characters"),
        ("""echo '{"Username":"<token>","Secret":"hunter 2"}'""", "visible ASCII"),
        ("head -c 100000 /dev/zero; sleep 60", "more than 65536 bytes"),
    ],
)
async def test_a_failing_helper_is_an_error_and_nobody_is_anonymous(
    tmp_path: Path, script: str, sentence: str
) -> None:
    helper(tmp_path, "bad", script)
    document = {"credHelpers": {HOST: "bad"}, "auths": {HOST: auth("kept:1")}}
    found = await found_by(with_helpers(tmp_path, **document))
    assert isinstance(found, Failure)
    assert (found.kind, found.stage) == (FailureKind.DENIED, Stage.TOKEN)
    assert sentence in found.detail
    assert "config.json: credHelpers" in found.detail
    assert "hunter2" not in found.detail


async def test_a_helper_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    found = await found_by(with_helpers(tmp_path, credsStore="nowhere"))
    assert isinstance(found, Failure)
    assert "docker-credential-nowhere is not on the PATH" in found.detail


async def test_a_helper_that_is_no_program_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "docker-credential-text").write_text("#!/nowhere/at/all\n")
    (tmp_path / "docker-credential-text").chmod(0o755)
    found = await found_by(with_helpers(tmp_path, credsStore="text"))
    assert isinstance(found, Failure)
    assert "cannot be run: No such file or directory" in found.detail


async def test_a_helper_that_hangs_is_ended_with_all_it_started(
    tmp_path: Path,
) -> None:
    child = tmp_path / "child"
    helper(tmp_path, "slow", f"sleep 60 & echo $! > {child}; wait")
    runner = HelperRunner(with_helpers(tmp_path), timeout_s=0.3)
    found = await runner.ask(Helper(name="slow", server=HOST, place="config.json"))
    assert isinstance(found, Failure)
    assert "did not answer within 0.3 s" in found.detail
    pid = int(child.read_text())
    # Killed; whoever is the parent of orphans here may not have collected it yet.
    assert not Path(f"/proc/{pid}").exists() or (
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    )


async def test_a_helper_is_asked_once_for_all_who_want_to_know(tmp_path: Path) -> None:
    helper(tmp_path, "keeper", f"echo '{KNOWN}'")
    helper(tmp_path, "bad", "exit 1")
    document = {"credsStore": "keeper", "credHelpers": {"ghcr.io": "bad"}}
    credentials = Credentials.from_settings(
        Settings(), with_helpers(tmp_path, **document)
    )
    for registry in (HOST, "ghcr.io"):
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(credentials.find, registry)
        await credentials.find(registry)
    assert (tmp_path / "asked").read_text().count("\n") == 2


async def test_a_cancelled_question_leaves_no_helper_behind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    helper(tmp_path, "slow", f"echo $$ > {tmp_path}/pid; exec sleep 60")
    credentials = Credentials.from_settings(
        Settings(), with_helpers(tmp_path, credsStore="slow")
    )
    async with anyio.create_task_group() as group:
        group.start_soon(credentials.find, HOST)
        pid = await anyio.to_thread.run_sync((tmp_path / "pid").read_text)
        group.cancel_scope.cancel()
    assert not Path("/proc", pid.strip()).exists()


# -- secrets ---------------------------------------------------------------------


async def test_no_secret_shows_in_what_is_printed(tmp_path: Path) -> None:
    helper(tmp_path, "keeper", f"echo '{KNOWN}'")
    environment = with_helpers(
        tmp_path,
        auths={
            HOST: auth("me:hunter2"),
            "ghcr.io": {"registrytoken": "hunter2"},
            "quay.io": {"identitytoken": "hunter2"},
        },
        credsStore="keeper",
    )
    credentials = Credentials.from_settings(
        Settings(
            namespaces={
                f"{HOST}/a": Credential(username="a", password=Secret("hunter2"))
            }
        ),
        environment,
    )
    said = repr(vars(credentials))
    for registry in (HOST, "ghcr.io", "quay.io", "gcr.io"):
        found = await credentials.find(registry)
        assert isinstance(found, Found)
        said += repr(found) + str(found)
    assert "me" in said
    assert "hunter2" not in said
