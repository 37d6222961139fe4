"""Credential helpers: what is run, what is accepted, and what is left behind."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from auditor.config import RegistrySettings, Settings
from auditor.config.settings import LoginProgram
from auditor.errors import Failure, FailureKind, Stage
from auditor.model import CredentialSource
from auditor.registry.auth.credential_helper import HelperRunner
from auditor.registry.auth.credentials import CredentialStore
from auditor.registry.auth.docker_config import CredentialHelper, FoundCredential
from auditor.util.secret import Secret
from auditor.wire.credential import Login
from tests.clock import advance_loop
from tests.patience import HANG_S
from tests.unit.registry.auth.test_credentials import HOST, auth, docker

pytestmark = pytest.mark.anyio

KNOWN = '{"ServerURL": "x", "Username": "helped", "Secret": "hunter2"}'
NOT_FOUND = "credentials not found in native keychain"


def helper(folder: Path, name: str, script: str) -> None:
    """A program `docker-credential-NAME` that logs its arguments and its input."""
    path = folder / f"docker-credential-{name}"
    path.write_text(f'#!/bin/sh\necho "$0 $1 [$(cat)]" >> "{folder}/asked"\n{script}\n')
    path.chmod(0o755)


def with_helpers(folder: Path, **document: object) -> dict[str, str]:
    return {**docker(folder, **document), "PATH": f"{folder}:/usr/bin:/bin"}


async def found_by(environment: Mapping[str, str]) -> FoundCredential | Failure | None:
    return await CredentialStore(Settings(), environment).find(HOST)


async def test_a_helper_is_run_with_get_and_the_server_name(tmp_path: Path) -> None:
    helper(tmp_path, "keeper", f"echo '{KNOWN}'")
    environment = with_helpers(tmp_path, credHelpers={HOST: "keeper"})
    found = await found_by(environment)
    assert isinstance(found, FoundCredential)
    assert found.credential == Login(username="helped", password=Secret("hunter2"))
    assert found.source is CredentialSource.HELPER
    assert "docker-credential-keeper" in found.location
    asked = (tmp_path / "asked").read_text()
    assert asked == f"{tmp_path}/docker-credential-keeper get [{HOST}]\n"


async def test_after_a_helper_without_a_login_the_next_source_is_used(
    tmp_path: Path,
) -> None:
    helper(tmp_path, "empty", f"echo {NOT_FOUND}; exit 1")
    helper(tmp_path, "keeper", f"echo '{KNOWN}'")
    document = {"credHelpers": {HOST: "empty"}, "credsStore": "keeper"}
    found = await found_by(with_helpers(tmp_path, **document))
    assert isinstance(found, FoundCredential)
    assert found.credential.username == "helped"
    document = {"credHelpers": {HOST: "empty"}, "auths": {HOST: auth("kept:1")}}
    found = await found_by(with_helpers(tmp_path, **document))
    assert isinstance(found, FoundCredential)
    assert (found.credential.username, found.source) == ("kept", CredentialSource.FILE)
    assert await found_by(with_helpers(tmp_path, credsStore="empty")) is None


async def test_a_helper_runs_with_this_program_s_environment(
    tmp_path: Path,
) -> None:
    helper(
        tmp_path, "cloud", 'echo "{\\"Username\\":\\"$PROFILE\\",\\"Secret\\":\\"s\\"}"'
    )
    environment = {**with_helpers(tmp_path, credsStore="cloud"), "PROFILE": "audit"}
    found = await found_by(environment)
    assert isinstance(found, FoundCredential)
    assert found.credential.username == "audit"


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            "echo hunter2; echo hunter2 >&2; exit 3",
            f"failed with exit code 3; to see why, run: echo {HOST} |"
            " docker-credential-bad get",
        ),
        ("kill -9 $$", "failed with signal 9"),
        ("echo hunter2", "did not print JSON"),
        ("true", "did not print JSON"),
        ("echo '[]'", "did not print a JSON object"),
        ("""echo '{"Username":7,"Secret":"hunter2"}'""", "that is not a string"),
        ("""echo '{"Username":"a","Secret":""}'""", "an empty Secret"),
        ("""echo '{"Username":"a:b","Secret":"hunter2"}'""", "control characters"),
        ("""echo '{"Username":"<token>","Secret":"hunter 2"}'""", "visible ASCII"),
        ("head -c 100000 /dev/zero; sleep 6000", "more than 65536 bytes"),
    ],
)
async def test_a_failing_helper_is_a_failure_and_not_an_anonymous_request(
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


async def test_a_missing_helper_is_a_failure(tmp_path: Path) -> None:
    found = await found_by(with_helpers(tmp_path, credsStore="nowhere"))
    assert isinstance(found, Failure)
    assert "docker-credential-nowhere is not on the PATH" in found.detail


async def test_a_helper_that_cannot_be_executed_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "docker-credential-text").write_text("#!/nowhere/at/all\n")
    (tmp_path / "docker-credential-text").chmod(0o755)
    found = await found_by(with_helpers(tmp_path, credsStore="text"))
    assert isinstance(found, Failure)
    assert "cannot be run: No such file or directory" in found.detail


async def _number_from(pipe: Path) -> int:
    """The number that a script writes into a named pipe."""
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with anyio.fail_after(HANG_S):
            await anyio.wait_readable(descriptor)
        return int(os.read(descriptor, 100))
    finally:
        os.close(descriptor)


async def test_a_helper_that_hangs_is_killed_with_its_children(
    tmp_path: Path,
) -> None:
    child = tmp_path / "child"
    os.mkfifo(child)
    helper(tmp_path, "slow", f"sleep 6000 & echo $! > {child}; wait")
    runner = HelperRunner(with_helpers(tmp_path), timeout_s=HANG_S)
    found: list[object] = []

    async def run() -> None:
        slow = CredentialHelper(name="slow", server=HOST, location="config.json")
        found.append(await runner.get(slow))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        pid = await _number_from(child)
        advance_loop(HANG_S)
    (failure,) = found
    assert isinstance(failure, Failure)
    assert f"did not answer within {HANG_S:g} s" in failure.detail
    await _until_dead(pid)


async def test_concurrent_callers_share_one_run_of_a_helper(tmp_path: Path) -> None:
    helper(tmp_path, "keeper", f"echo '{KNOWN}'")
    helper(tmp_path, "bad", "exit 1")
    document = {"credsStore": "keeper", "credHelpers": {"ghcr.io": "bad"}}
    credentials = CredentialStore(Settings(), with_helpers(tmp_path, **document))
    for registry in (HOST, "ghcr.io"):
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(credentials.find, registry)
        await credentials.find(registry)
    assert (tmp_path / "asked").read_text().count("\n") == 2


async def test_cancellation_leaves_no_helper_running(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    helper(tmp_path, "slow", f"echo $$ > {tmp_path}/pid; exec sleep 6000")
    credentials = CredentialStore(Settings(), with_helpers(tmp_path, credsStore="slow"))
    async with anyio.create_task_group() as group:
        group.start_soon(credentials.find, HOST)
        pid = await _number_from(tmp_path / "pid")
        group.cancel_scope.cancel()
    assert not Path("/proc", str(pid)).exists()


@pytest.mark.parametrize(
    "leaves",
    [
        "sleep 6000 &",  # holds standard output
        "(sleep 6000; echo late) &",
        "sleep 6000 >/dev/null 2>&1 &",
        "trap '' TERM HUP; sleep 6000 &",
        "sleep 6000 & sleep 6000 &",
    ],
)
async def test_a_child_that_a_helper_leaves_is_not_waited_for_and_killed(
    tmp_path: Path, leaves: str
) -> None:
    pids = tmp_path / "pids"
    helper(tmp_path, "keeper", f"{leaves} echo $! >{pids}; echo '{KNOWN}'")
    runner = HelperRunner(with_helpers(tmp_path), timeout_s=HANG_S)
    with anyio.fail_after(HANG_S):  # less than the child lives
        found = await runner.get(
            CredentialHelper(name="keeper", server=HOST, location="config.json")
        )
    assert isinstance(found, FoundCredential)
    assert found.credential.username == "helped"
    await _until_dead(int(pids.read_text()))


async def test_a_large_output_of_a_helper_is_read_to_its_end(tmp_path: Path) -> None:
    # More than a pipe holds if another program of the user has many (pipe(7)).
    blanks = "head -c 60000 /dev/zero | tr '\\0' ' '"
    helper(tmp_path, "keeper", f"{blanks}; echo '{KNOWN}'")
    found = await found_by(with_helpers(tmp_path, credsStore="keeper"))
    assert isinstance(found, FoundCredential)


async def test_a_helper_leaves_no_descriptor_open(tmp_path: Path) -> None:
    helper(tmp_path, "keeper", f"echo '{KNOWN}'")
    runner = HelperRunner(with_helpers(tmp_path))
    await runner.get(CredentialHelper(name="keeper", server="0", location="c"))
    before = len([*Path("/proc/self/fd").iterdir()])
    for number in range(1, 4):
        server = str(number)
        await runner.get(CredentialHelper(name="keeper", server=server, location="c"))
    assert len([*Path("/proc/self/fd").iterdir()]) == before


async def _until_dead(pid: int) -> None:
    """Wait until a killed process is gone, or a zombie of another parent."""
    with anyio.fail_after(HANG_S), suppress(FileNotFoundError, ProcessLookupError):
        while (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        ):
            await anyio.lowlevel.checkpoint()


async def test_the_repr_of_a_helper_s_login_hides_the_password(tmp_path: Path) -> None:
    helper(tmp_path, "keeper", f"echo '{KNOWN}'")
    found = await found_by(with_helpers(tmp_path, credsStore="keeper"))
    assert isinstance(found, FoundCredential)
    assert "helped" in repr(found)
    assert "hunter2" not in repr(found)


# -- the configuration's helper and password command ---------------------------------


def configured(program: LoginProgram) -> Settings:
    return Settings(registries={HOST: RegistrySettings(login_program=program)})


def command(*arguments: str) -> Settings:
    return configured(LoginProgram(command=arguments, username="audit"))


async def test_a_helper_of_the_configuration_comes_before_the_files(
    tmp_path: Path,
) -> None:
    helper(tmp_path, "keeper", f"echo '{KNOWN}'")
    environment = with_helpers(tmp_path, auths={HOST: auth("kept:1")})
    settings = configured(LoginProgram(helper="keeper"))
    found = await CredentialStore(settings, environment).find(HOST)
    assert isinstance(found, FoundCredential)
    assert found.credential == Login(username="helped", password=Secret("hunter2"))


async def test_a_configured_helper_without_a_login_is_a_failure(tmp_path: Path) -> None:
    helper(tmp_path, "empty", f"echo {NOT_FOUND}; exit 1")
    environment = with_helpers(tmp_path, auths={HOST: auth("kept:1")})
    settings = configured(LoginProgram(helper="empty"))
    found = await CredentialStore(settings, environment).find(HOST)
    assert isinstance(found, Failure)
    assert f"docker-credential-empty has no login for {HOST}" in found.detail


@pytest.mark.parametrize(
    ("printed", "password"),
    [
        ("hunter2", "hunter2"),
        ("hunter2\\n", "hunter2"),
        ("hunter2\\r\\n", "hunter2"),
        (" hunter2 \\n", " hunter2 "),
    ],
)
async def test_one_line_break_after_the_password_is_dropped(
    tmp_path: Path, printed: str, password: str
) -> None:
    settings = command("printf", printed)
    found = await CredentialStore(settings, docker(tmp_path)).find(HOST)
    assert isinstance(found, FoundCredential)
    assert found.credential == Login(username="audit", password=Secret(password))
    assert found.source is CredentialSource.COMMAND
    assert found.location.startswith("printf (")
    assert "hunter2" not in repr(found)


async def test_a_password_command_is_run_without_a_shell_and_once(
    tmp_path: Path,
) -> None:
    script = tmp_path / "password"
    script.write_text(f'#!/bin/sh\necho "$1[$(cat)]" | tee -a "{tmp_path}/asked"\n')
    script.chmod(0o755)
    settings = command(str(script), "$(id); echo x")
    credentials = CredentialStore(settings, docker(tmp_path))
    found = [await credentials.find(HOST) for _ in range(2)]
    assert found[0] == found[1]
    assert (tmp_path / "asked").read_text() == "$(id); echo x[]\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("sh", "-c", "echo hunter2; exit 3"), "sh failed with exit code 3; run it"),
        (("true",), "true printed no password"),
        (("printf", "\\n"), "printf printed no password"),
        (("printf", "hunter2\\n\\n"), "more than one line"),
        (("printf", "\\377"), "not UTF-8"),
        (("not-a-program",), "not-a-program is not on the PATH"),
        (("/nowhere/password",), "/nowhere/password is no program"),
    ],
)
async def test_a_password_command_that_fails_is_a_failure_without_its_output(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    environment = docker(tmp_path, auths={HOST: auth("kept:1")})
    found = await CredentialStore(command(*arguments), environment).find(HOST)
    assert isinstance(found, Failure)
    assert (found.kind, found.stage) == (FailureKind.DENIED, Stage.TOKEN)
    assert sentence in found.detail
    assert "hunter2" not in found.detail
