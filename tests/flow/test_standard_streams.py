"""Standard input, output and error in every state that a caller may leave them in."""

from __future__ import annotations

import os
import pty
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from tests.flow.commands import PROGRAM, auditor, finish, running
from tests.flow.harness import Lab, lab, simple

pytestmark = pytest.mark.anyio

NAMES = [f"team/app:{number}" for number in range(6)]


def _tags(report: bytes) -> list[str]:
    """The tags of a report's lines, all of which must be whole."""
    assert report == b"" or report.endswith(b"\n")
    return [orjson.loads(line)["tag"] for line in report.splitlines()]


def _arguments(here: Lab, *more: str) -> list[str]:
    return ["audit", *map(here.ref, NAMES), *more]


async def test_only_the_report_goes_to_standard_output() -> None:
    async with lab(simple(NAMES)) as here:
        done = await auditor(*_arguments(here))
    assert done.code == 0
    assert _tags(done.out) == list("012345")
    assert done.messages[0].startswith("6 of 6 references audited in ")


async def test_references_are_read_from_a_pipe() -> None:
    async with lab(simple(NAMES)) as here:
        listed = "\n".join(map(here.ref, NAMES)).encode()
        done = await auditor("audit", "-f", "-", stdin=listed)
    assert _tags(done.out) == list("012345")


@pytest.mark.parametrize(
    "arguments",
    [
        ["audit", "{reference}"],
        ["schema"],
        ["inspect", "{reference}"],
        ["inspect", "--raw", "{reference}"],
        ["inspect", "--format=json", "{reference}"],
        ["token", "--decode", "x"],
        ["demo"],
    ],
)
async def test_a_closed_pipe_is_a_message_and_no_bug(
    arguments: list[str], tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        async with lab(simple(NAMES)) as here:
            reference = here.ref(NAMES[0])
            done = await auditor(
                *(one.format(reference=reference) for one in arguments),
                stdout=writer,
                place=tmp_path,
            )
    finally:
        os.close(writer)
    assert done.code == 3
    (message,) = done.messages
    assert message.startswith("standard output")
    assert "cannot be written: Broken pipe" in message


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["audit", "--help"],
        ["schema"],
        ["token", "--decode", "x"],
        ["inspect", "{reference}"],
    ],
)
async def test_a_full_disk_under_standard_output_is_a_message(
    arguments: list[str],
) -> None:
    async with lab(simple(NAMES)) as here:
        with Path("/dev/full").open("wb") as full:
            done = await auditor(
                *(one.format(reference=here.ref(NAMES[0])) for one in arguments),
                stdout=full,
            )
    assert done.code == 3
    assert done.messages == [
        "standard output cannot be written: No space left on device"
    ]


async def test_a_full_disk_under_the_report_is_a_message() -> None:
    async with lab(simple(NAMES)) as here:
        done = await auditor(*_arguments(here, "-o", "/dev/full"))
    assert done.code == 3
    assert done.messages == [
        "/dev/full: the report cannot be written: No space left on device"
    ]


async def test_a_device_is_not_replaced_by_a_file() -> None:
    async with lab(simple(NAMES)) as here:
        done = await auditor(*_arguments(here, "-o", "/dev/null"))
    assert done.code == 0
    assert not Path("/dev/null.partial").exists()


# -- environment --------------------------------------------------------------------


async def test_an_audit_runs_with_an_empty_environment() -> None:
    async with lab(simple(NAMES)) as here:
        done = await auditor(*_arguments(here), program=("env", "-i", *PROGRAM))
    assert done.code == 0
    assert _tags(done.out) == list("012345")


def _without(redirection: str) -> tuple[str, ...]:
    return ("sh", "-c", f'exec "$0" "$@" {redirection}', *PROGRAM)


async def test_an_audit_runs_with_standard_input_closed() -> None:
    async with lab(simple(NAMES)) as here:
        done = await auditor(*_arguments(here), program=_without("<&-"))
    assert done.code == 0
    assert _tags(done.out) == list("012345")


async def test_a_list_from_a_closed_standard_input_is_a_message() -> None:
    done = await auditor("audit", "-f", "-", program=_without("<&-"))
    assert done.code == 2
    assert done.messages == ["stdin: the list cannot be read: Bad file descriptor"]


async def test_an_audit_runs_with_standard_error_closed() -> None:
    async with lab(simple(NAMES)) as here:
        done = await auditor(*_arguments(here), program=_without("2>&-"))
    assert (done.code, done.stderr) == (0, [])
    assert _tags(done.out) == list("012345")


@pytest.mark.parametrize("arguments", [["schema"], ["audit", "{reference}"]])
async def test_a_closed_standard_output_is_a_message(arguments: list[str]) -> None:
    async with lab(simple(NAMES)) as here:
        reference = here.ref(NAMES[0])
        done = await auditor(
            *(one.format(reference=reference) for one in arguments),
            program=_without(">&-"),
        )
    assert done.code == 3
    (message,) = done.messages
    assert message.startswith("standard output")
    assert message.endswith("cannot be written: Bad file descriptor")


async def test_a_report_is_not_written_to_a_closed_standard_stream(
    tmp_path: Path,
) -> None:
    report = tmp_path / "report.jsonl"
    async with lab(simple(NAMES)) as here:
        done = await auditor(
            *_arguments(here, "-o", str(report)), program=_without("<&- >&- 2>&-")
        )
    assert done.code == 0
    assert _tags(report.read_bytes()) == list("012345")


async def _on_a_terminal(
    *arguments: str, stdout_too: bool = False, **more: Any
) -> tuple[bytes, bytes]:
    """What a command writes to standard output and, as a terminal, to error."""
    ours, theirs = pty.openpty()
    shown = []
    try:
        if stdout_too:
            more["stdout"] = theirs
        async with running(*arguments, stderr=theirs, **more) as process:
            os.close(theirs)

            async def watch() -> None:
                while True:
                    await anyio.wait_readable(ours)
                    try:
                        shown.append(os.read(ours, 65536))
                    except OSError:  # Linux: EIO when the other side is closed
                        return

            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                done = await finish(process)
    finally:
        os.close(ours)
    assert done.code == 0
    return done.out, b"".join(shown)


async def test_progress_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    report = str(tmp_path / "report.jsonl")
    async with lab(simple(NAMES)) as here:
        terminal = {"TERM": "xterm-256color"}
        _, shown = await _on_a_terminal(
            *_arguments(here, "-o", report), environment=terminal
        )
        out, piped = await _on_a_terminal(*_arguments(here), environment=terminal)
        _, quiet = await _on_a_terminal(
            *_arguments(here, "--progress", "never", "-o", report),
            environment=terminal | {"NO_COLOR": "1"},
        )
    assert _tags(out) == list("012345")
    # The program that reads the pipe (`head`) may print on the same terminal.
    assert b"auditing" not in piped
    assert b"auditing" in shown
    assert b"\x1b" in shown
    assert b"6 of 6 references audited" in shown
    assert b"\x1b" not in quiet
    assert b"auditing" not in quiet


async def test_an_audit_prints_a_table_on_a_terminal_and_json_into_a_pipe() -> None:
    terminal = {"TERM": "xterm-256color", "NO_COLOR": "1", "COLUMNS": "80"}
    async with lab(simple(NAMES)) as here:
        _, table = await _on_a_terminal(
            *_arguments(here), stdout_too=True, environment=terminal
        )
        _, lines = await _on_a_terminal(
            *_arguments(here, "--format", "jsonl"),
            stdout_too=True,
            environment=terminal,
        )
        piped = await auditor(*_arguments(here, "--format", "table"))
    shown = table.decode()
    assert "reference " in shown
    assert here.ref("app:3") in shown or "app:3" in shown
    assert '{"schema"' not in shown
    assert "auditor html report.jsonl -o report.html" in shown
    assert '{"schema"' in lines.decode()
    assert piped.out.decode().startswith("reference ")
    assert b"\x1b" not in piped.out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("-o", "report.jsonl"), "-o FILE writes JSON lines; leave out one of them"),
        (("--shape", "layer"), "has a line per image; leave out --shape layer"),
    ],
)
async def test_a_table_that_would_not_be_printed_is_refused(
    arguments: tuple[str, ...], problem: str, tmp_path: Path
) -> None:
    done = await auditor(
        "audit", "r.example.com/app:1", "--format", "table", *arguments, place=tmp_path
    )
    assert done.code == 2
    assert problem in done.messages[0]
    assert list(tmp_path.iterdir()) == []
