"""The report file, signals, and what a run that ends early leaves."""

from __future__ import annotations

import signal
from pathlib import Path

import orjson
import pytest

from tests.flow.commands import PROGRAM, auditor, finish, running
from tests.flow.harness import MANIFESTS, Lab, lab, simple
from tests.support.fault_actions import Answer, Gate, Hold

pytestmark = pytest.mark.anyio

NAMES = [f"team/app:{number}" for number in range(6)]
HELD = "/v2/team/app/manifests/3"


def _tags(report: bytes) -> list[str]:
    """The tags of a report's lines, which must be complete."""
    assert report == b"" or report.endswith(b"\n")
    return [orjson.loads(line)["tag"] for line in report.splitlines()]


def _arguments(here: Lab, *more: str) -> list[str]:
    # One worker: references after the held one are not started.
    return ["audit", *map(here.ref, NAMES), "--workers", "1", *more]


async def test_a_report_gets_its_name_when_it_is_complete(
    tmp_path: Path,
) -> None:
    report, partial = tmp_path / "report.jsonl", tmp_path / "report.jsonl.partial"
    report.write_text("yesterday's\n")
    partial.write_text("of a run that crashed\n")
    gate = Gate()
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", HELD, Hold(gate))
        async with running(*_arguments(here, "-o", str(report))) as process:
            await here.faults.until(lambda: here.faults.count("GET", HELD) == 1)
            assert report.read_text() == "yesterday's\n"
            assert "crashed" not in partial.read_text()
            gate.open()
            done = await finish(process)
    assert (done.code, done.out) == (0, b"")
    assert _tags(report.read_bytes()) == list("012345")
    assert [one.name for one in tmp_path.iterdir()] == ["report.jsonl"]
    left, summary_line = done.messages[:2]
    assert left.startswith(f"{partial}: left by an unfinished run, kept as ")
    assert summary_line.startswith("6 of 6 references audited in ")


async def test_a_report_replaces_the_target_of_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "report.jsonl").symlink_to(tmp_path / "kept" / "report.jsonl")
    async with lab(simple(NAMES)) as here:
        done = await auditor(*_arguments(here, "-o", "report.jsonl"), place=tmp_path)
    assert done.code == 0
    assert (tmp_path / "report.jsonl").is_symlink()
    assert len(_tags((tmp_path / "kept" / "report.jsonl").read_bytes())) == 6


async def test_failure_records_are_part_of_a_complete_report(tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", HELD, Answer(403))
        done = await auditor(*_arguments(here, "-o", str(report)))
    assert done.code == 1
    lines = [orjson.loads(line) for line in report.read_bytes().splitlines()]
    assert [line["kind"] for line in lines].count("failure") == 1


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
async def test_a_signal_lets_requests_in_flight_finish_and_starts_nothing_new(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    report, summary = tmp_path / "report.jsonl", tmp_path / "summary.json"
    gate = Gate()
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", HELD, Hold(gate))
        arguments = _arguments(here, "-o", str(report), "--summary", str(summary))
        async with running(*arguments) as process:
            await here.faults.until(lambda: here.faults.count("GET", HELD) == 1)
            process.send_signal(number)
            assert process.stderr is not None
            stderr = (await process.stderr.receive()).decode()
            assert ": finishing requests in flight (up to 5 s); " in stderr
            gate.open()
            done = await finish(process)
        assert here.faults.count("GET", "/v2/team/app/manifests/4") == 0
    assert (done.code, done.out) == (code, b"")
    assert not report.exists()
    partial = tmp_path / "report.jsonl.partial"
    assert _tags(partial.read_bytes()) == list("0123")
    assert done.messages[0].startswith("interrupted: 4 of ")
    assert done.messages[-1] == (f"progress saved in {partial}; continue with --resume")
    summary_json = orjson.loads(summary.read_bytes())
    assert summary_json["interrupted"] is True
    references = summary_json["references"]
    assert references["audited"] == 4
    assert references["asked"] == 4 + references["to_do"]


async def test_a_signal_ignored_at_start_stays_ignored(
    tmp_path: Path,
) -> None:
    """nohup ignores SIGHUP, and a shell ignores SIGINT for background jobs."""
    gate = Gate()
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", HELD, Hold(gate))
        async with running(
            *_arguments(here, "-o", str(tmp_path / "report.jsonl")),
            program=("sh", "-c", 'trap \'\' HUP INT; exec "$0" "$@"', *PROGRAM),
        ) as process:
            await here.faults.until(lambda: here.faults.count("GET", HELD) == 1)
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGINT)
            gate.open()
            done = await finish(process)
    assert done.code == 0
    assert len(_tags((tmp_path / "report.jsonl").read_bytes())) == 6


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("second", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
async def test_a_second_signal_quits_now(
    first: signal.Signals, second: signal.Signals, code: int, tmp_path: Path
) -> None:
    report = tmp_path / "report.jsonl"
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", HELD, Hold())  # for ever
        async with running(*_arguments(here, "-o", str(report))) as process:
            await here.faults.until(lambda: here.faults.count("GET", HELD) == 1)
            process.send_signal(first)
            assert process.stderr is not None
            await process.stderr.receive()
            process.send_signal(second)
            assert (await finish(process)).code == code
    assert not report.exists()


async def test_a_signal_while_waiting_for_standard_input_ends_the_run() -> None:
    async with (
        lab(simple(NAMES)) as here,
        running("audit", here.ref(NAMES[0]), "-f", "-") as process,
    ):
        # Its first line shows that a list is plain, and can be audited as it arrives.
        assert process.stdin is not None
        await process.stdin.send(f"{here.ref(NAMES[0])}\n".encode())
        await here.faults.until(lambda: here.good("*/blobs/*") == 1)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        # Standard input is still open: the run does not wait for its end.
        out = b"".join([piece async for piece in process.stdout])
        assert await process.wait() == 130
    assert _tags(out) == ["0"]


# -- the summary --------------------------------------------------------------------


async def test_the_summary_proves_that_nothing_is_missing(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("Not/A/Reference\n")
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", HELD, Answer(403))
        done = await auditor(
            *("audit", here.ref("team/app:*"), here.ref("team/app:0")),
            *("-f", "list.txt", "-o", "report.jsonl", "--summary", "summary.json"),
            place=tmp_path,
        )
        requests = len(here.faults.log)
        manifests = here.faults.count("GET", MANIFESTS)
    assert done.code == 1
    summary = orjson.loads((tmp_path / "summary.json").read_bytes())
    assert (summary["schema"], summary["kind"]) == (1, "summary")
    assert summary["interrupted"] is False
    assert summary["output"] == "report.jsonl"
    lines = (tmp_path / "report.jsonl").read_bytes().splitlines()
    references = summary["references"]
    assert references["asked"] == len(lines) == 7
    assert references["audited"] == 5
    assert references["failed"] == 2
    assert references["to_do"] == 0
    assert references["duplicates"] == 1
    assert summary["failures"]["denied"]["count"] == 1
    assert summary["failures"]["denied"]["example"]["reference"].endswith("app:3")
    assert summary["failures"]["invalid_reference"]["example"]["detail"].startswith(
        "list.txt:1: "
    )
    assert summary["architectures"] == {"linux/amd64": 5}
    assert sum(summary["requests"].values()) == requests
    assert summary["requests"]["manifest"] == manifests
    (listing,) = summary["listings"]
    assert listing["complete"] is True
    assert (listing["pages"], listing["tags"], listing["matched"]) == (1, 6, 6)
    assert not (tmp_path / "summary.json.partial").exists()


async def test_failures_are_counted_by_kind_with_one_example_each() -> None:
    async with lab(simple(NAMES)) as here:
        for tag, status in ((1, 403), (2, 403), (4, 404)):
            path = f"/v2/team/app/manifests/{tag}"
            here.faults.on("GET", path, Answer(status))
        done = await auditor(*_arguments(here))
    messages = done.messages
    assert messages[0].endswith(", 3 failed")
    assert f"  2 denied, for example {here.ref('team/app:1')}" in messages
    assert f"  1 not_found, for example {here.ref('team/app:4')}" in messages
