"""`run_after`: a command of the user that gets the night as JSON.

It runs in a process group of its own. It has ten minutes; then, or when a signal ends
auditor, the whole group gets SIGTERM, a time of grace, and SIGKILL.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import IO

import orjson

from auditor.nightly.night_folder import Night
from auditor.util.text import format_duration, safe_text, terminal_safe_json

# A command that files a ticket may wait for its server.
TIMEOUT_S = 600.0
# To clean up after SIGTERM, as long as `auditor` itself takes.
GRACE_S = 5.0
# Of a command's output, the last: a cause is usually in its last line.
_OUTPUT_CHARS = 300
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_command(command: Sequence[str], night: Night, folder: str) -> str | None:
    """Run a command with the night as JSON on its standard input.

    The JSON is that of `auditor nightly status`, with the absolute path of the folder.
    Returns a sentence about what went wrong, or None.
    """
    document = orjson.loads(orjson.dumps(night))
    document["folder"] = folder
    data = terminal_safe_json(orjson.dumps(document))
    name = safe_text(command[0])
    # A file, not a pipe: the night goes on when the command ends, even if that leaves
    # a child with its output.
    with tempfile.TemporaryFile() as output:
        try:
            code = _run(command, data, output)
        except subprocess.TimeoutExpired:
            problem = f"took longer than {format_duration(TIMEOUT_S)}, and was ended"
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            return f"run_after: {name} cannot be run: {reason}"
        else:
            if code == 0:
                return None
            problem = f"ended with {_format_code(code)}"
        text = _last_output(output)
    return f"run_after: {name} {problem}" + (f": {text}" if text else "")


class _Signalled(BaseException):
    """A signal that ends auditor came while the command ran."""


def _run(command: Sequence[str], data: bytes, output: IO[bytes]) -> int:
    """Run a command in its own group, which ends with it, or before auditor does."""
    with (
        _signals_raised() as received,
        subprocess.Popen(  # noqa: S603  (the user's own)
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            received.is_raised = True
            if not received:  # none came while the command was started
                process.communicate(data, timeout=TIMEOUT_S)
                return process.returncode
        except BaseException:
            received.is_raised = False
            _end_group(process)
            raise
        _end_group(process)
    return -signal.SIGTERM


class _Received(list[int]):
    """The signals that came; raised at once only while the command can be ended."""

    is_raised = False


@contextmanager
def _signals_raised() -> Iterator[_Received]:
    """Hold back the signals that end auditor; raise them again at the end."""
    received = _Received()
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may set handlers
        return

    def receive(number: int, _: FrameType | None) -> None:
        received.append(number)
        if received.is_raised:
            received.is_raised = False
            raise _Signalled

    handlers = {
        number: signal.signal(number, receive)
        for number in _SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        with suppress(_Signalled):
            yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for one in received:
        signal.raise_signal(one)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the group: SIGTERM, grace, SIGKILL. Its leader is not waited for before."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        os.killpg(process.pid, signal.SIGKILL)


def _format_code(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _last_output(output: IO[bytes]) -> str:
    """The last lines of the output, in one line."""
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - 4 * _OUTPUT_CHARS))
    text = " ".join(output.read().decode(errors="replace").split())
    return safe_text(text[-_OUTPUT_CHARS:], _OUTPUT_CHARS)
