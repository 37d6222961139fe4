"""Programs that print a login: credential helpers and password commands.

Source: docker/docker-credential-helpers, "Credential helper protocol", and its
`client.Get`. A helper is a program `docker-credential-NAME`. `get` reads a server's
name from standard input and prints `{"ServerURL", "Username", "Secret"}`.

A password command is any program of the configuration, without input, that prints the
password of a configured user and a line break.

Both run without a shell, in a process group of their own, with this program's
environment and without a terminal. Messages never repeat its output, which may contain
a secret.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

import anyio
import orjson

from auditor.errors import (
    Failure,
    FailureKind,
    ProtocolError,
    Stage,
    unwrap_exception_group,
)
from auditor.model import CredentialSource
from auditor.registry.auth.docker_config import (
    TOKEN_USER,
    CredentialHelper,
    FoundCredential,
    PasswordCommand,
)
from auditor.util.open_files import free_descriptors
from auditor.util.secret import Secret
from auditor.util.tasks import ResizableSemaphore, SingleFlight
from auditor.util.text import safe_text
from auditor.wire.credential import (
    Credential,
    IdentityToken,
    Login,
    is_password_of,
    is_username,
)
from auditor.wire.token import is_bearer_token

_Program = CredentialHelper | PasswordCommand

# Helpers of cloud providers take up to ten seconds. One that prompts never ends.
TIMEOUT_S = 60.0
# The longest tokens in use have some 4 KiB; this is sixteen times as much.
MAX_OUTPUT_BYTES = 64 * 1024
# Processes at a time: a run over hundreds of registries may need one for each. They use
# a tenth of the free descriptors at most.
MAX_PROCESSES = 16
_DESCRIPTORS_EACH = 5

# The output, with a non-zero exit code, for a server without a login
# (credentials/error.go: errCredentialsNotFoundMessage).
_NOT_FOUND = b"credentials not found in native keychain"


class HelperRunner:
    """Runs each helper once per server and remembers the result for the whole run.

    Concurrent callers share one process.
    """

    def __init__(
        self, environment: Mapping[str, str], *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._environment = environment
        self._timeout_s = timeout_s
        processes = free_descriptors() // 10 // _DESCRIPTORS_EACH
        self._turns = ResizableSemaphore(max(1, min(MAX_PROCESSES, processes)))
        self._results: dict[_Program, FoundCredential | Failure | None] = {}
        self._flights = SingleFlight[_Program, FoundCredential | Failure | None]()

    async def get(
        self, program: _Program, *, refresh: bool = False
    ) -> FoundCredential | Failure | None:
        """The credential that a helper returns for its server, or None.

        A password command always has one.

        A failure is remembered too: an anonymous request in its place would fail in a
        misleading way, and another attempt for each reference could take hours.
        `refresh` runs the helper again; if that fails, the earlier result is kept.
        """
        if refresh or program not in self._results:
            result = await self._flights.run(
                program, lambda: self._run_in_turn(program)
            )
            if refresh and isinstance(result, Failure):
                return result
            self._results[program] = result
        return self._results[program]

    async def _run_in_turn(self, program: _Program) -> FoundCredential | Failure | None:
        await self._turns.acquire()
        try:
            return await self._run(program)
        finally:
            self._turns.release()

    async def _run(self, program: _Program) -> FoundCredential | Failure | None:
        is_helper = isinstance(program, CredentialHelper)
        kind = "credential helper" if is_helper else "password_command"
        name = program.program
        try:
            with anyio.fail_after(self._timeout_s):
                with unwrap_exception_group():
                    credential = await self._get(program)
        except TimeoutError:
            reason = f"did not answer within {self._timeout_s:g} s"
        except OSError as error:
            cause = os.strerror(error.errno) if error.errno else "unknown error"
            reason = f"cannot be run: {cause}"
        except ProtocolError as error:
            reason = error.detail
        else:
            if credential is None:
                return None
            return FoundCredential(
                credential=credential,
                source=CredentialSource.HELPER
                if is_helper
                else CredentialSource.COMMAND,
                location=f"{name} ({program.location})",
            )
        detail = f"{kind}: {safe_text(name, 100)} {reason} ({program.location})"
        return Failure(kind=FailureKind.DENIED, stage=Stage.TOKEN, detail=detail)

    async def _get(self, program: _Program) -> Credential | None:
        from shutil import which  # noqa: PLC0415  (brings every compression)

        name = program.program
        path = which(name, path=self._environment.get("PATH"))
        if path is None:
            raise _invalid("is no program" if "/" in name else "is not on the PATH")
        if isinstance(program, PasswordCommand):
            status, output = await self._process([path, *program.command[1:]], b"")
            if status == 0:
                return parse_password(output, program.username)
            raise _invalid(f"failed with {_reason(status)}; run it to see why")
        status, output = await self._process([path, "get"], program.server.encode())
        if status == 0:
            return parse_helper_output(output)
        if output.strip() == _NOT_FOUND:
            return None
        raise _invalid(
            f"failed with {_reason(status)}; to see why, run:"
            f" echo {program.server} | {name} get"
        )

    async def _process(self, arguments: list[str], sent: bytes) -> tuple[int, bytes]:
        """Exit status and standard output.

        The output ends with the helper, even if it leaves a child that holds the pipe;
        such a child is killed.
        """
        with _OutputPipe() as output:
            process = await anyio.open_process(
                arguments,
                stdin=subprocess.PIPE,
                stdout=output.write_end,
                stderr=subprocess.DEVNULL,
                env=dict(self._environment),  # uvloop accepts nothing but a dict
                start_new_session=True,
            )
            try:
                assert process.stdin is not None
                with suppress(
                    anyio.BrokenResourceError, BrokenPipeError, ConnectionError
                ):
                    if sent:  # a server, without a line break
                        await process.stdin.send(sent)
                await process.stdin.aclose()
                async with anyio.create_task_group() as group:
                    group.start_soon(output.read_until_cancelled)
                    status = await process.wait()
                    group.cancel_scope.cancel()
                return status, output.rest()
            finally:
                with anyio.CancelScope(shield=True):
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
                    await process.aclose()


class _OutputPipe:
    """A pipe for the standard output of a helper.

    Raises `ProtocolError(DENIED)` for more than `MAX_OUTPUT_BYTES`.
    """

    def __enter__(self) -> _OutputPipe:
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._output = b""
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._read_end)
        os.close(self.write_end)

    async def read_until_cancelled(self) -> None:
        """Read what is written; this program's own write end prevents the end."""
        while True:
            await anyio.wait_readable(self._read_end)
            self._read()

    def rest(self) -> bytes:
        """The whole output, without waiting for more."""
        with suppress(BlockingIOError):
            while True:
                self._read()
        return self._output

    def _read(self) -> None:
        self._output += os.read(self._read_end, MAX_OUTPUT_BYTES)
        if len(self._output) > MAX_OUTPUT_BYTES:
            raise _invalid(f"printed more than {MAX_OUTPUT_BYTES} bytes")


def parse_helper_output(output: bytes) -> Credential | None:
    """Parse what `get` prints; None if the helper has no login.

    Raises `ProtocolError(DENIED)`. The detail continues a sentence that begins with the
    helper's name; it does not quote the output.
    """
    try:
        document = orjson.loads(output)
    except orjson.JSONDecodeError:
        raise _invalid("did not print JSON") from None
    if not isinstance(document, dict):
        raise _invalid("did not print a JSON object")
    username, secret = document.get("Username", ""), document.get("Secret", "")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise _invalid("printed a Username or Secret that is not a string")
    if not username and not secret:
        return None
    if not secret:
        raise _invalid("printed an empty Secret")
    if username == TOKEN_USER:
        if not is_bearer_token(secret):
            raise _invalid("printed an identity token that is not visible ASCII")
        return IdentityToken(token=Secret(secret))
    if not is_username(username) or not is_password_of(username, secret):
        raise _invalid(
            "printed a Username or Secret that is empty or has control characters"
        )
    return Login(username=username, password=Secret(secret))


def parse_password(output: bytes, username: str) -> Login:
    """The login with the password that a command printed.

    One line break at its end is not part of it. Raises `ProtocolError(DENIED)`, which
    does not quote the output.
    """
    try:
        text = output.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _invalid("printed something that is not UTF-8 text") from None
    if not text:
        raise _invalid("printed no password")
    if not is_password_of(username, text):
        raise _invalid("printed control characters or more than one line")
    return Login(username=username, password=Secret(text))


def _reason(status: int) -> str:
    return f"exit code {status}" if status > 0 else f"signal {-status}"


def _invalid(detail: str) -> ProtocolError:
    return ProtocolError(detail, FailureKind.DENIED)
