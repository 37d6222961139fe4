"""Which login a repository of a registry is asked with.

The configuration's word comes first, the longest name first; then docker's and
podman's files, one after the other. There can be several logins on one host
(google/go-containerregistry#1329): one for each part of it that somebody names.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self, assert_never

import anyio
from anyio.abc import Process

from auditor.config import RegistrySettings, Settings
from auditor.errors import Failure, FailureKind, ProtocolError, Stage, UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import CredentialSource
from auditor.registry.auth.docker_config import (
    NOT_FOUND,
    DockerConfig,
    Helper,
    Kept,
    Unusable,
    names_of,
    parse_docker_config,
    parse_helper_answer,
)
from auditor.util.single_flight import SingleFlight
from auditor.wire.login import Credential, Login

# -- auth_files --
# Where docker, podman and skopeo keep their logins, and in which order they look.
#
# Sources: docker/cli, cli/config; containers-auth.json(5); containers/image,
# pkg/docker/config (`getAuthFilePaths`), and containers/common, pkg/auth
# (`GetDefaultAuthFile`), for what the two variables do.

# A registry is some 200 bytes in such a file: this is room for five thousand.
MAX_FILE_BYTES = 1024 * 1024


def read_auth_files(
    authfile: str | None, environment: Mapping[str, str]
) -> tuple[DockerConfig, ...]:
    """The files that are there, the one that is asked first at the front.

    A file that `authfile` (the option) or else `$REGISTRY_AUTH_FILE` names is the
    only one, and has to be there. Raises `UsageError` for that, and for a file that
    is unreadable or damaged. An empty file says nothing, as docker has it.
    """
    if authfile is not None:
        return _only(Path(authfile), "--authfile names")
    if named := environment.get("REGISTRY_AUTH_FILE"):
        return _only(Path(named), "REGISTRY_AUTH_FILE names")
    found = map(_read, auth_file_paths(environment))
    return tuple(config for config in found if config is not None)


def auth_file_paths(environment: Mapping[str, str]) -> Iterator[Path]:
    """Where to look, in order, where nobody names a file.

    `$DOCKER_CONFIG/config.json` alone where that variable is set: whoever sets it
    wants to be somebody else for once, and both docker and podman take it so.
    """
    if folder := environment.get("DOCKER_CONFIG"):
        yield Path(folder, "config.json")
        return
    home = environment.get("HOME")
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers", "auth.json")
    if own := environment.get("XDG_CONFIG_HOME"):
        yield Path(own, "containers", "auth.json")
    elif home:
        yield Path(home, ".config", "containers", "auth.json")
    if home:
        yield Path(home, ".docker", "config.json")


def _only(path: Path, named_by: str) -> tuple[DockerConfig, ...]:
    data = _data(path)
    if data is None:
        raise UsageError(f"{path}: no such file, which {named_by}")
    config = _parsed(data, path)
    return () if config is None else (config,)


def _read(path: Path) -> DockerConfig | None:
    data = _data(path)
    return None if data is None else _parsed(data, path)


def _data(path: Path) -> bytes | None:
    """What is in a file; None if there is none."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    return data


def _parsed(data: bytes, path: Path) -> DockerConfig | None:
    return parse_docker_config(data, str(path)) if data.strip() else None


# -- credential_helper --
# Asking credential helpers: programs that keep logins for docker and its kin.
#
# Source: docker/docker-credential-helpers, "Credential helper protocol". A helper is run
# without a shell, in a process group of its own, with this program's environment, the
# server's name on standard input and nothing to ask a person with. What it says when it
# fails is not repeated: it may be anything, a secret too.

# Helpers of cloud providers ask a service for a token: seconds, behind a slow link
# ten. One that wants a person to type something waits for ever.
TIMEOUT_S = 60.0
# The longest tokens in use are some 4 KiB; the largest an answer may be is a guess
# with room for sixteen of them.
MAX_ANSWER_BYTES = 64 * 1024

_Answer = Login | Failure | None


class HelperRunner:
    """Asks each helper about each server once, whoever wants to know, until somebody
    wants to know anew."""

    def __init__(
        self, environment: Mapping[str, str], *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._environment = environment
        self._timeout_s = timeout_s
        self._known: dict[tuple[str, str], _Answer] = {}
        self._flights: SingleFlight[tuple[str, str], _Answer] = SingleFlight()

    async def ask(
        self, helper: Helper, *, anew: bool = False
    ) -> Login | Failure | None:
        """The login that it keeps for a server; None where it has none.

        A failing helper is a `Failure` for good: to go on without would make everyone
        anonymous, and to ask it again for each reference would take the whole night.
        """
        key = helper.name, helper.server
        if anew or key not in self._known:
            answer = await self._flights.run(key, lambda: self._ask(helper))
            if anew and isinstance(answer, Failure):
                return answer  # what it said before stays
            self._known[key] = answer
        return self._known[key]

    async def _ask(self, helper: Helper) -> Login | Failure | None:
        from shutil import which  # noqa: PLC0415  (brings every compression)

        program = f"docker-credential-{helper.name}"
        path = which(program, path=self._environment.get("PATH"))
        if path is None:
            return _failed(helper, f"{program} is not on the PATH")
        try:
            with anyio.fail_after(self._timeout_s):
                status, output = await self._run(path, helper.server)
        except TimeoutError:
            return _failed(
                helper, f"{program} did not answer within {self._timeout_s:g} s"
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else "for no known reason"
            return _failed(helper, f"{program} cannot be run: {reason}")
        if status is None:
            return _failed(
                helper, f"{program} answered with more than {MAX_ANSWER_BYTES} bytes"
            )
        if status != 0:
            if output.strip() == NOT_FOUND:
                return None
            said = f"code {status}" if status > 0 else f"signal {-status}"
            return _failed(
                helper,
                f"{program} failed with {said}; to see why, run:"
                f" echo {helper.server} | {program} get",
            )
        try:
            return parse_helper_answer(output)
        except ProtocolError as error:
            return _failed(helper, f"{program} {error.detail}")

    async def _run(self, path: str, server: str) -> tuple[int | None, bytes]:
        """Exit status and standard output; no status where that is too long."""
        process = await anyio.open_process(
            [path, "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(self._environment),  # uvloop takes nothing but a dict
            start_new_session=True,
        )
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(anyio.BrokenResourceError, BrokenPipeError, ConnectionError):
                await process.stdin.send(server.encode())  # no line break
            await process.stdin.aclose()
            output = b""
            async for chunk in process.stdout:
                output += chunk
                if len(output) > MAX_ANSWER_BYTES:
                    return None, b""
            return await process.wait(), output
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)


async def _end(process: Process) -> None:
    """End what is left of the helper and of what it started, and wait for it."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    await process.aclose()


def _failed(helper: Helper, sentence: str) -> Failure:
    return Failure(
        kind=FailureKind.DENIED,
        stage=Stage.TOKEN,
        detail=f"{helper.place}: the credential helper {sentence}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A login and where it came from. `place` is for people; it holds no secret."""

    login: Login
    source: CredentialSource
    place: str


class Credentials:
    """The logins of a run. What a helper keeps is asked for when it is wanted."""

    def __init__(
        self,
        *,
        registries: Mapping[str, RegistrySettings],
        namespaces: Mapping[str, Credential],
        files: tuple[DockerConfig, ...],
        helpers: HelperRunner,
    ) -> None:
        self._registries = registries
        self._namespaces = namespaces
        self._files = files
        self._helpers = helpers
        self._parts = frozenset(
            name
            for names in (namespaces, *(file.names for file in files))
            for name in names
            if "/" in name
        )
        self._divided = frozenset(name.partition("/")[0] for name in self._parts)

    @classmethod
    def from_settings(
        cls, settings: Settings, environment: Mapping[str, str] = os.environ
    ) -> Self:
        """Gather the logins of a run; reads docker's and podman's files if allowed.

        Raises `UsageError` as `read_auth_files` does.
        """
        files: tuple[DockerConfig, ...] = ()
        if settings.docker_config:
            files = read_auth_files(settings.authfile, environment)
        return cls(
            registries=settings.registries,
            namespaces=settings.namespaces,
            files=files,
            helpers=HelperRunner(environment),
        )

    def part_of(self, registry: str, repository: str) -> str:
        """The longest namespace around a repository that somebody names, else "".

        All repositories of a part have the same login. It is asked for each request
        and waits for nobody.
        """
        if registry not in self._divided:
            return ""
        for name in names_of(registry, repository):
            if name in self._parts:
                return name.removeprefix(registry).removeprefix("/")
        return ""

    async def find(
        self, registry: str, part: str = "", *, anew: bool = False
    ) -> Found | Failure | None:
        """The login for a part of a registry; None is anonymous.

        `anew`: helpers are asked even if their answer is known.

        A `Failure` where there is one that cannot be used: going on without it would
        turn a mistake into images that seem not to be there.
        """
        configured = self._configured(registry, part)
        if configured is not None:
            return configured
        for way in self._ways(registry, part):
            match way:
                case Kept():
                    return Found(
                        login=way.login, source=CredentialSource.FILE, place=way.place
                    )
                case Helper():
                    login = await self._helpers.ask(way, anew=anew)
                    if isinstance(login, Failure):
                        return login
                    if login is not None:
                        return Found(
                            login=login,
                            source=CredentialSource.HELPER,
                            place=f"docker-credential-{way.name} ({way.place})",
                        )
                case Unusable():
                    return Failure(
                        kind=FailureKind.DENIED, detail=way.detail, stage=Stage.TOKEN
                    )
                case _:
                    assert_never(way)
        return None

    def _configured(self, registry: str, part: str) -> Found | None:
        for name in names_of(registry, part):
            login = self._namespaces.get(name)
            if login is not None:
                return _of_configuration(login, name)
        settings = self._registries.get(registry)
        if settings and settings.username is not None and settings.password is not None:
            login = Credential(username=settings.username, password=settings.password)
            return _of_configuration(login, registry)
        return None

    def _ways(self, registry: str, part: str) -> Iterator[Kept | Helper | Unusable]:
        for file in self._files:
            yield from file.ways(registry, part)


def _of_configuration(login: Credential, name: str) -> Found:
    return Found(
        login=login,
        source=CredentialSource.CONFIG,
        place=f'configuration: [registry."{name}"]',
    )
