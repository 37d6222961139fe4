"""Where credential files are looked for, and files that cannot be used."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from auditor.config import Settings
from auditor.errors import UsageError
from auditor.registry.auth import credentials
from auditor.registry.auth.credentials import CredentialStore, read_credential_files
from tests.unit.registry.auth.test_credentials import HOST, auth, username_for, write


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(credentials, "RUN_FOLDER", tmp_path / "run-containers")
    return tmp_path / "run-containers" / str(os.getuid())


def test_the_default_files_are_those_of_podman_then_docker(run_folder: Path) -> None:
    everything = {"HOME": "/h/x", "XDG_CONFIG_HOME": "/h/c", "XDG_RUNTIME_DIR": "/h/r"}
    home_docker = ["/h/x/.docker/config.json", "/h/x/.dockercfg"]
    secret = ["/d/config.json", "/d/.dockerconfigjson", "/d/.dockercfg"]
    run = f"{run_folder}/auth.json"
    for environment, paths in (
        (
            everything,
            ["/h/r/containers/auth.json", "/h/c/containers/auth.json", *home_docker],
        ),
        (
            {"HOME": "/h/x"},
            [run, "/h/x/.config/containers/auth.json", *home_docker],
        ),
        ({**everything, "DOCKER_CONFIG": "/d"}, secret),
        ({}, [run]),
    ):
        files = read_credential_files((), environment)
        assert [str(file.path) for file in files] == paths
        assert all(file.config is None for file in files)
        assert str(files[0]) == f"{paths[0]} (no such file)"


@pytest.mark.anyio
async def test_roots_login_with_podman_is_found_in_crons_environment(
    run_folder: Path, tmp_path: Path
) -> None:
    write(run_folder / "auth.json", auths={HOST: auth("podman:1")})
    assert await username_for(HOST, environment={"HOME": str(tmp_path)}) == "podman"
    shell = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    assert await username_for(HOST, environment=shell) is None


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["config.json", ".dockerconfigjson", ".dockercfg"])
@pytest.mark.parametrize("is_legacy", [False, True])
async def test_docker_config_may_be_a_mounted_secret(
    tmp_path: Path, name: str, is_legacy: bool
) -> None:
    auths = {HOST: {**auth("robot:1"), "email": "a@example.com"}}
    write(tmp_path / name, **(auths if is_legacy else {"auths": auths}))
    environment = {"DOCKER_CONFIG": str(tmp_path)}
    assert await username_for(HOST, environment=environment) == "robot"


@pytest.mark.anyio
async def test_the_first_of_several_auth_files_with_a_login_wins(
    tmp_path: Path,
) -> None:
    first = write(tmp_path / "1.json", auths={HOST: auth("first:1")})
    second = write(
        tmp_path / "2.json", **{HOST: auth("2:1"), "https://ghcr.io": auth("second:1")}
    )
    settings = Settings(authfiles=(str(first), str(second)))
    assert await username_for(HOST, settings=settings, environment={}) == "first"
    assert await username_for("ghcr.io", settings=settings, environment={}) == "second"
    with pytest.raises(UsageError, match=r"3\.json: no such file; check --authfile"):
        CredentialStore(Settings(authfiles=(str(first), f"{tmp_path}/3.json")), {})


@pytest.mark.anyio
async def test_the_dockercfg_of_the_home_is_read_last(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    write(tmp_path / ".dockercfg", **{HOST: auth("legacy:1")})
    assert await username_for(HOST, environment=environment) == "legacy"
    write(tmp_path / ".docker" / "config.json", auths={HOST: auth("docker:1")})
    assert await username_for(HOST, environment=environment) == "docker"


def test_an_unreadable_auth_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(UsageError, match="Is a directory; name the file in it"):
        CredentialStore(Settings(), {"DOCKER_CONFIG": str(tmp_path)})
    (tmp_path / "config.json").rmdir()
    (tmp_path / "config.json").symlink_to("config.json")
    with pytest.raises(UsageError, match="cannot be read: Too many levels of symbolic"):
        CredentialStore(Settings(authfiles=(f"{tmp_path}/config.json",)), {})
    with pytest.raises(UsageError, match="larger than 1048576 bytes"):
        CredentialStore(Settings(authfiles=("/dev/zero",)), {})


def test_docker_config_that_names_a_file_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / ".dockerconfigjson", auths={})
    with pytest.raises(UsageError, match="is a file; name its folder, or the file"):
        CredentialStore(Settings(), {"DOCKER_CONFIG": str(file)})


def test_a_default_file_that_cannot_be_used_is_an_error_with_the_way_around(
    tmp_path: Path,
) -> None:
    path = tmp_path / ".docker" / "config.json"
    path.parent.mkdir()
    path.write_text("{\n")
    with pytest.raises(UsageError) as caught:
        CredentialStore(Settings(), {"HOME": str(tmp_path)})
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}:2:1: not JSON")
    assert sentence.endswith("repair it, or ignore it with --no-docker-config")
    CredentialStore(Settings(docker_config=False), {"HOME": str(tmp_path)})


SECRET = {"apiVersion": "v1", "kind": "Secret", "data": {".dockerconfigjson": "e30="}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (json.dumps(SECRET), r"FILE:1: a Kubernetes Secret, .*kubectl get secret"),
        ("apiVersion: v1\nkind: Secret\n", r"FILE:1:1: a Kubernetes Secret"),
        (
            base64.encodebytes(b'{"auths": {}}').decode(),
            r"FILE:1:1: not JSON, but base64; decode it with: base64 -d",
        ),
        (
            '{"auths": {},\n "dtr.example.com": {"auth": "eDp5"}}',
            r'FILE:2: "dtr\.example\.com" must be in the object "auths"',
        ),
    ],
)
def test_a_file_of_another_form_is_refused_with_what_to_do(
    tmp_path: Path, text: str, sentence: str
) -> None:
    path = tmp_path / "auth.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=sentence.replace("FILE", str(path))):
        CredentialStore(Settings(authfiles=(str(path),)), {})
