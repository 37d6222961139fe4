"""`run_after`: its input, its output, and how it is ended."""

from __future__ import annotations

import functools
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.nightly import run_after
from auditor.nightly.night_folder import Night
from auditor.nightly.run_after import run_command
from tests.patience import HANG_S

NIGHT = Night(number=1, name="2026-12-01", started_at="2026-12-01T02:00:00Z")
# A command that leaves a child with its output, and one that ignores SIGTERM.
LEAVES_A_CHILD = "echo why >&2; sleep 60 & exit {code}"
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("still here", flush=True)
os.write({started}, b"x")
time.sleep(6000)
"""


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_ends_although_a_child_keeps_its_output(code: int) -> None:
    problem = run_command(["sh", "-c", LEAVES_A_CHILD.format(code=code)], NIGHT, "/f")
    assert problem == (
        f"run_after: sh ended with exit code {code}: why" if code else None
    )


def test_the_night_is_on_its_standard_input(tmp_path: Path) -> None:
    out = tmp_path / "night.json"
    assert run_command(["sh", "-c", f"cat > {out}"], NIGHT, "/state") is None
    document = orjson.loads(out.read_bytes())
    assert (document["name"], document["folder"]) == ("2026-12-01", "/state")


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("echo first; echo 'the cause' >&2; exit 4", "exit code 4: first the cause"),
        ("kill -9 $$", "SIGKILL"),
        (
            r"printf '\033[31m\302\233evil\342\200\256'; exit 1",
            r"exit code 1: \x1b[31m\x9bevil",
        ),
        ("yes no | head -c 100000; echo the end; exit 1", "the end"),
    ],
)
def test_what_it_printed_last_is_the_warning(script: str, sentence: str) -> None:
    problem = run_command(["sh", "-c", script], NIGHT, "/f")
    assert problem is not None
    assert sentence in problem
    assert problem.isprintable()
    assert len(problem) < 400


def test_a_command_that_cannot_be_run_is_named() -> None:
    assert run_command(["/nonexistent/command"], NIGHT, "/f") == (
        "run_after: /nonexistent/command cannot be run: No such file or directory"
    )


def test_a_command_that_takes_too_long_is_ended_with_its_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ignores SIGTERM; the pipe is at its end when the whole group is gone."""
    monkeypatch.setattr(run_after, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(run_after, "GRACE_S", 0.05)
    reader, writer = os.pipe()
    script = f"trap '' TERM; echo slow; sleep 6000 & echo >/proc/self/fd/{writer}; wait"

    class Popen(subprocess.Popen[bytes]):
        """Its time begins when the script has come to its end."""

        def communicate(self, *arguments: Any, **more: Any) -> tuple[Any, Any]:
            if self.returncode is None:
                assert os.read(reader, 1) == b"\n"
            return super().communicate(*arguments, **more)

    started = functools.partial(Popen, pass_fds=(writer,))
    monkeypatch.setattr(subprocess, "Popen", started)
    problem = run_command(["sh", "-c", script], NIGHT, "/f")
    os.close(writer)
    assert problem is not None
    assert problem.startswith("run_after: sh took longer than ")
    assert problem.endswith("and was ended: slow")
    assert _is_at_its_end(reader)
    os.close(reader)


def _is_at_its_end(reader: int) -> bool:
    """Whether no process has the other end of a pipe any more, in the end."""
    ready, _, _ = select.select([reader], [], [], HANG_S)
    return bool(ready) and os.read(reader, 1) == b""


def _inheriting(descriptor: int) -> Callable[..., object]:
    """`Popen` whose commands have this descriptor, too."""
    return functools.partial(subprocess.Popen, pass_fds=(descriptor,))


def test_a_signal_that_ends_auditor_ends_the_command_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """auditor gets SIGTERM; the command ignores it, and is killed after the grace."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # as the program does: a handler that ends it at once
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
        monkeypatch.setattr(run_after, "GRACE_S", 0.05)
        monkeypatch.setattr(subprocess, "Popen", _inheriting(writer))
        command = [sys.executable, "-c", STUBBORN.format(started=writer)]
        run_command(command, NIGHT, "/f")
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b"x"
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM
    assert _is_at_its_end(reader)
    os.close(reader)
