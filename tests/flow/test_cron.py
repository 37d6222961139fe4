"""An audit under cron, and with a slow reader of standard output."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import orjson
import pytest

from tests.flow.commands import BASE_ENVIRONMENT, PROGRAM, running
from tests.flow.harness import MANIFESTS, Passes, lab, simple
from tests.flow.reporting import report_to

pytestmark = pytest.mark.anyio

NAMES = ["team/app:1", "team/app:2"]


async def test_an_audit_runs_without_terminal_input_locale_and_home(
    tmp_path: Path,
) -> None:
    """Standard input is closed, the locale is C, the time zone is not UTC."""
    (tmp_path / "list.txt").write_text("R\u00e9gistre/App:1\n", encoding="utf-8")
    bare = ("env", "-i", f"PYTHONPATH={BASE_ENVIRONMENT['PYTHONPATH']}", "LC_ALL=C")
    program = (
        *("sh", "-c", 'exec "$0" "$@" <&-'),
        *(*bare, "TZ=America/St_Johns", *PROGRAM),
    )
    before = datetime.now(UTC) - timedelta(seconds=2)
    async with lab(simple(NAMES)) as here:
        arguments = ["audit", *map(here.ref, NAMES), "-f", "list.txt", "-o", "out"]
        async with running(
            *(*arguments, "--resume", "--log-format", "json", "--log-level", "info"),
            place=tmp_path,
            program=program,
        ) as process:
            assert process.stderr is not None
            stderr = b"".join([piece async for piece in process.stderr])
            assert await process.wait() == 1  # one line of the list is malformed
    after = datetime.now(UTC) + timedelta(seconds=2)
    entries = [json.loads(line) for line in stderr.splitlines()]
    assert {tuple(line) for line in entries} == {("at", "level", "logger", "message")}
    assert any("2 of 3 references audited" in line["message"] for line in entries)
    lines = [orjson.loads(one) for one in (tmp_path / "out").read_bytes().splitlines()]
    assert lines[2]["reference"] == "R\u00e9gistre/App:1"
    for at in [line["at"] for line in entries] + [line["audited_at"] for line in lines]:
        assert before <= datetime.fromisoformat(at) <= after


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0, 1e9])
async def test_setting_the_clock_changes_no_duration_and_no_deadline(
    jump_s: float,
) -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/team/app/manifests/2", Passes(here.clock, 5.0))
        began = here.clock._began

        def jump() -> None:
            here.clock._began = began - jump_s

        async with here.when(lambda: here.faults.count("GET", MANIFESTS) > 0, jump):
            outcome = await here.audit(*map(here.ref, NAMES), workers=1)
    assert outcome.kinds == ["image", "image"]
    assert outcome.summary.duration_s == 5.0
    assert outcome.summary.deadline_reached is False


async def test_a_slow_reader_slows_the_run_down_and_loses_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a byte is read, no more is done than pipe, buffers and window hold."""
    names = [f"team/app:{number}" for number in range(300)]
    page = 4096
    monkeypatch.setattr("auditor.report.writer.PIECE_BYTES", page)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, page)
    os.set_blocking(reader, True)
    read: list[bytes] = []

    async def read_late(done: list[int]) -> None:
        await here.faults.until(lambda: here.good(MANIFESTS) >= 16)  # the window
        await anyio.sleep(0.4)  # long enough for all of them if nothing blocked
        done.append(here.good(MANIFESTS))
        while piece := await anyio.to_thread.run_sync(os.read, reader, page):
            read.append(piece)

    done: list[int] = []
    try:
        async with lab(simple(names)) as here, anyio.create_task_group() as group:
            group.start_soon(read_late, done)
            await report_to(here, pipe, *map(here.ref, names), window=16, workers=4)
    finally:
        os.close(reader)
    lines = b"".join(read).splitlines(keepends=True)
    assert [orjson.loads(line)["tag"] for line in lines] == list(map(str, range(300)))
    shortest = min(map(len, lines))
    # In the pipe, on its way to it, in the buffer; in the window, with the workers.
    assert 0 < done[0] <= 3 * (page // shortest + 2) + 16 + 2 * 4
    assert done[0] < 100


_HURRIED = """
import auditor.cli.signals as place
place.GRACE_S = place.READER_S = 0.1
from auditor.cli.main import main
main()
"""


async def test_a_reader_that_stops_reading_does_not_block_the_end() -> None:
    """One signal is all that systemd or `timeout` send for a long while."""
    names = [f"team/app:{number}" for number in range(300)]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):  # full before the first line comes
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    try:
        async with (
            lab(simple(names)) as here,
            running(
                *("audit", *map(here.ref, names), "--window", "32"),
                program=(sys.executable, "-W", "error", "-c", _HURRIED),
                stdout=writer,
            ) as process,
        ):
            # Not one line is read, so that hardly more are done than the window holds.
            await here.faults.until(lambda: here.good(MANIFESTS) >= 32)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 143
            assert process.stderr is not None
            stderr = b"".join([piece async for piece in process.stderr]).decode()
            assert here.good(MANIFESTS) < 64
    finally:
        os.close(reader)
        os.close(writer)
    assert stderr.splitlines()[-1] == (
        "auditor: the last lines are missing: standard output is blocked"
    )
