"""A command that is forked behaves like a new interpreter."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL

import pytest

from tests.flow.commands import PROGRAM, Finished, auditor, finish, running
from tests.flow.harness import lab, simple

pytestmark = pytest.mark.anyio


def without_times(done: Finished) -> Finished:
    """The result without what differs from run to run."""
    return replace(
        done,
        out=b"\n".join(line.partition(b'"audited_at"')[0] for line in done.out.split()),
        stderr=[line.partition(" in ")[0] for line in done.stderr],
    )


async def test_a_forked_command_prints_what_a_new_interpreter_prints(
    tmp_path: Path,
) -> None:
    (tmp_path / "list.txt").write_text("")
    async with lab(simple(["team/app:1", "team/app:2"])) as here:
        for arguments in (
            ("--version",),
            ("--help",),
            ("audti",),
            ("audit", "-f", "list.txt"),
            ("audit", "--plain-http", here.ref("team/app:1"), here.ref("team/gone:1")),
            ("audit", "-f", "-", "--plain-http", "-o", "report.jsonl"),
            ("query", "report.jsonl", "SELECT count(*) AS images FROM images"),
            ("schema", "nonsense"),
        ):
            forked, started = [
                await auditor(
                    *arguments,
                    place=tmp_path,
                    stdin=here.ref("team/app:2").encode(),
                    program=program,
                )
                for program in (None, PROGRAM)
            ]
            assert without_times(forked) == without_times(started), arguments


async def test_a_forked_command_has_its_own_environment_and_folder(
    tmp_path: Path,
) -> None:
    (tmp_path / "here.toml").write_text("nonsense = 1\n")
    done = await auditor("audit", "-c", "here.toml", "alpine", place=tmp_path)
    assert done.code == 2
    assert "here.toml" in done.stderr[0]
    done = await auditor("audit", "alpine", environment={"AUDITOR_WORKERS": "many"})
    assert done.code == 2
    assert "AUDITOR_WORKERS" in done.stderr[0]
    done = await auditor("audit", "-f", "gone.txt")
    assert "AUDITOR_WORKERS" not in done.stderr[0]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_forked_command_can_be_ended_by_a_signal(
    number: signal.Signals,
) -> None:
    async with running("audit", "-f", "-", stderr=DEVNULL) as process:
        assert process.returncode is None
        process.send_signal(signal.SIGSTOP)
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        code = await process.wait()
    assert code in {-number, 128 + number}
    process.kill()  # of a process that has ended: nothing
    assert process.returncode == code


async def test_forked_commands_run_side_by_side(tmp_path: Path) -> None:
    async with (
        running("audit", "-f", "-", "--allow-empty", place=tmp_path) as first,
        running("schema", place=tmp_path) as second,
    ):
        assert (await finish(second)).code == 0
        assert first.returncode is None
        assert (await finish(first)).code == 0


async def test_a_large_input_and_output_pass(tmp_path: Path) -> None:
    references = "".join(f"localhost:1/a:{number}\n" for number in range(20_000))
    done = await auditor(
        *("audit", "--dry-run", "--plain-http", "-f", "-"),
        stdin=references.encode(),
        place=tmp_path,
    )
    assert done.code == 0, done.stderr[-3:]
    assert done.out.decode() == references
