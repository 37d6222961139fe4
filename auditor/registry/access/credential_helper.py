"""Asking credential helpers: programs that keep logins for docker and its kin.

Source: docker/docker-credential-helpers, "Credential helper protocol". A helper is run
without a shell, in a process group of its own, with this program's environment, the
server's name on standard input and nothing to ask a person with. What it says when it
fails is not repeated: it may be anything, a secret too.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

import anyio
from anyio.abc import Process

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.protocol.helper_answer import NOT_FOUND, parse_helper_answer
from auditor.registry.auth.docker_config import Helper
from auditor.util.single_flight import SingleFlight
from auditor.wire.login import Login

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
