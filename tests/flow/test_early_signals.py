"""A signal before a run begins: one message, its exit code, and no files."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.flow.commands import auditor

pytestmark = pytest.mark.anyio

# The program, which sends itself a signal at a known moment: when it imports a module,
# opens the report, copies standard input, installs its handlers, prints the summary.
_AT_IMPORT = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {where!r}:
            os.kill(os.getpid(), {number:d})
sys.meta_path.insert(0, Finder())
from auditor.__main__ import main
main()
"""
_AT_OPENING = """
import contextlib, os, sys
import anyio
import auditor.audit.job as job
@contextlib.asynccontextmanager
async def open_report(settings, **more):
    async with original(settings, **more) as report:
        os.kill(os.getpid(), {number:d})
        await anyio.sleep_forever()
        yield report
original, job.open_report = job.open_report, open_report
from auditor.__main__ import main
main()
"""
_AT_COPYING = """
import os, sys
import auditor.scale.sharded_run as sharded_run
def copy(source, target):
    os.kill(os.getpid(), {number:d})
    source.read()
sharded_run.shutil.copyfileobj = copy
from auditor.__main__ import main
main()
"""
_AT_LISTENING = """
import os
import anyio
def receiver(*numbers):
    os.kill(os.getpid(), {number:d})
    return original(*numbers)
original, anyio.open_signal_receiver = anyio.open_signal_receiver, receiver
from auditor.__main__ import main
main()
"""
_AT_SUMMARY = """
import os
import auditor.cli.sharded_audit as sharded_audit
def lines(summary):
    os.kill(os.getpid(), {number:d})
    return original(summary)
original, sharded_audit.summary_lines = sharded_audit.summary_lines, lines
from auditor.__main__ import main
main()
"""


def program(script: str, number: signal.Signals, where: str = "") -> tuple[str, ...]:
    script = script.format(number=number, where=where)
    return (sys.executable, "-W", "error", "-c", script)


@pytest.mark.parametrize(
    ("where", "number", "code"),
    [
        ("click", signal.SIGINT, 130),
        ("auditor.cli.audit_command", signal.SIGTERM, 143),
        # Inside the event loop, which does not listen yet.
        ("auditor.input.lists", signal.SIGHUP, 129),
        ("auditor.input.lists", signal.SIGINT, 130),
    ],
)
async def test_a_signal_while_the_program_is_loaded_is_one_message(
    where: str, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    done = await auditor(
        *("audit", "-o", "out", "localhost:1/team/app:1"),
        program=program(_AT_IMPORT, number, where),
        place=tmp_path,
    )
    assert (done.code, done.messages) == (
        code,
        [f"interrupted by {number.name} before anything was done"],
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_while_a_run_is_prepared_leaves_no_files(
    number: signal.Signals, tmp_path: Path
) -> None:
    done = await auditor(
        *("audit", "-o", "out", "localhost:1/team/app:1"),
        program=program(_AT_OPENING, number),
        place=tmp_path,
    )
    assert (done.code, done.messages) == (
        128 + number,
        [f"interrupted by {number.name} before the audit began"],
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", [_AT_COPYING, _AT_LISTENING])
async def test_a_signal_while_shards_are_prepared_leaves_no_files(
    script: str, tmp_path: Path
) -> None:
    done = await auditor(
        *("audit", "--processes", "2", "-f", "-", "--allow-empty"),
        program=program(script, signal.SIGTERM),
        environment={"TMPDIR": str(tmp_path)},
        place=tmp_path,
    )
    assert (done.code, done.messages) == (
        143,
        ["interrupted by SIGTERM before anything was done"],
    )
    assert list(tmp_path.iterdir()) == []


async def test_a_signal_while_a_sharded_run_prints_its_summary_changes_nothing(
    tmp_path: Path,
) -> None:
    done = await auditor(
        *("audit", "--processes", "2", "--tries", "1", "-o", "out"),
        *("--summary", "s.json", "--metrics", "m.prom", "localhost:1/team/app:1"),
        program=program(_AT_SUMMARY, signal.SIGTERM),
        place=tmp_path,
    )
    assert done.code == 1, done.stderr  # of the report, which was complete before
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"out", "s.json", "m.prom"}


async def test_other_commands_keep_the_handlers_of_python() -> None:
    done = await auditor(
        "schema", program=program(_AT_IMPORT, signal.SIGTERM, "auditor.report.shapes")
    )
    assert (done.code, done.stderr) == (-signal.SIGTERM, [])
