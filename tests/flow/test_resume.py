"""--resume continues an unfinished report to exactly the same result."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.audit.image import ImageAuditor
from auditor.audit.job import report_options
from auditor.audit.run import AuditRun
from auditor.cli.main import is_out_of_memory
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import image, index
from auditor.errors import OutputError, UsageError
from auditor.model import Order, Shape
from auditor.report import resume_index
from auditor.report.writer import Report, ReportOptions, open_report
from auditor.version import __version__
from tests.clock import STARTED_AT
from tests.examples import examples
from tests.flow.commands import PROGRAM, auditor, finish, running
from tests.flow.harness import BLOBS, MANIFESTS, PATIENCE_S, TAGS, Lab, lab, simple
from tests.flow.reporting import files_next_to, lines_of, report_to, restored
from tests.support.fault_actions import Gate, Hold

pytestmark = pytest.mark.anyio

NAMES = [f"team/app:{number}" for number in range(6)]
HELD = "/v2/team/app/manifests/3"
MALFORMED = "Not A Reference"


def _asked(here: Lab) -> list[str]:
    """References, a duplicate, a pattern, a missing tag, and malformed lines."""
    return [
        here.ref("team/app:4"),
        MALFORMED,
        here.ref("team/app:gone"),
        here.ref("team/app:*"),
        here.ref("team/app:4"),
        MALFORMED,
        here.ref("team/none:*"),
        here.ref("other/app:both"),
    ]


def _content() -> DemoContent:
    content = simple(NAMES)
    children = [image("app", platform=one) for one in ("linux/amd64", "linux/arm64")]
    content.add("other/app", index(children), "both")
    return content


def _stop(here: Lab, path: str = HELD) -> Any:
    """Hold the next request for this path, and stop the run that sends it."""
    here.faults.on("GET", path, Hold())
    before = here.faults.count("GET", path)

    @asynccontextmanager
    async def meanwhile(run: AuditRun, report: Report) -> AsyncIterator[None]:
        async with here.when(
            lambda: here.faults.count("GET", path) > before, lambda: run.stop(0.0)
        ):
            yield

    return meanwhile


@pytest.mark.parametrize("shape", Shape)
async def test_a_stopped_run_is_resumed_to_the_same_report(
    shape: Shape, tmp_path: Path
) -> None:
    whole, output = tmp_path / "whole", tmp_path / "out"
    async with lab(_content()) as here:
        await report_to(here, whole, *_asked(here), shape=shape)
        stopped = await report_to(
            here,
            output,
            *_asked(here),
            shape=shape,
            workers=1,
            meanwhile=_stop(here),
        )
        assert stopped.summary.interrupted
        between = here.good(MANIFESTS)
        done = await report_to(here, output, *_asked(here), shape=shape, resume=True)
        after = here.good(MANIFESTS)
    assert lines_of(output) == lines_of(whole)
    assert files_next_to(output) == {}
    resumed = done.summary.resumed
    assert resumed is not None
    # Four images and a missing tag, which need no further request.
    assert (resumed["kept"], resumed["left_out"]) == (5, 0)
    # Of nine manifests: six tags, an index, its two children.
    assert after - between == 9 - 4
    summary = done.summary
    assert (summary.asked, summary.to_do, summary.duplicates) == (11, 0, 2)
    assert summary.tally.audited + summary.tally.failed == 11


async def test_the_summary_counts_resumed_records(tmp_path: Path) -> None:
    output = tmp_path / "out"
    async with lab(_content()) as here:
        plain = await report_to(here, tmp_path / "whole", *_asked(here))
        meanwhile = _stop(here)
        await report_to(here, output, *_asked(here), workers=1, meanwhile=meanwhile)
        done = await report_to(here, output, *_asked(here), resume=True)
    resumed_summary, expected = done.summary.to_json(), plain.summary.to_json()
    for key in ("references", "failures", "warnings", "architectures", "media_types"):
        assert resumed_summary[key] == expected[key]
    assert expected["resumed"] is None
    assert resumed_summary["resumed"]["kept"] > 0


async def test_records_no_longer_in_the_input_are_left_out_and_counted(
    tmp_path: Path,
) -> None:
    output = tmp_path / "out"
    async with lab(simple(NAMES)) as here:
        await report_to(
            here,
            output,
            *map(here.ref, NAMES),
            workers=1,
            meanwhile=_stop(here),
        )
        others = [here.ref(NAMES[number]) for number in (5, 2, 0, 3)]
        done = await report_to(here, output, *others, resume=True)
    assert [line["reference"] for line in lines_of(output)] == others
    assert done.summary.resumed is not None
    assert (done.summary.resumed["kept"], done.summary.resumed["left_out"]) == (2, 1)
    assert done.summary.asked == 4


async def test_records_waiting_for_their_turn_are_in_the_journal_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first reference hangs; five are finished and wait for their turn."""
    monkeypatch.setattr("auditor.audit.job.CHECKPOINT_S", 0.01)
    output = tmp_path / "out"
    left: dict[str, bytes] = {}

    async with lab(simple(NAMES)) as here:

        @asynccontextmanager
        async def meanwhile(run: AuditRun, report: Report) -> AsyncIterator[None]:
            async def watch() -> None:
                while left.get("out.journal", b"").count(b'"kind":"image"') < 5:
                    await anyio.sleep(0.005)
                    left.update(files_next_to(output))
                run.stop(0.0)

            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                yield

        asked = list(map(here.ref, NAMES))
        here.faults.on("GET", "/v2/team/app/manifests/0", Hold())
        await report_to(here, output, *asked, meanwhile=meanwhile)
        assert left["out.partial"] == b""
        with restored(output, left):
            done = await report_to(here, output, *asked, resume=True)
        assert [line["reference"] for line in lines_of(output)] == asked
        assert done.summary.resumed is not None
        assert done.summary.resumed["kept"] == 5
        assert here.good(MANIFESTS) == 6


async def test_the_journal_is_cleared_when_no_record_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first reference is late and the last one hangs; then no record waits."""
    monkeypatch.setattr("auditor.audit.job.CHECKPOINT_S", 0.01)
    output, gate = tmp_path / "out", Gate()

    @asynccontextmanager
    async def meanwhile(run: AuditRun, report: Report) -> AsyncIterator[None]:
        async def until(records: int, lines: int) -> None:
            found = (-1, -1)
            while found != (records, lines):
                await anyio.sleep(0.005)
                left = files_next_to(output)
                early = left.get("out.journal", b"").count(b'"kind":"image"')
                found = (early, left.get("out.partial", b"").count(b"\n"))

        async def watch() -> None:
            await until(4, 0)
            gate.open()
            await until(0, 5)
            run.stop(0.0)

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            yield

    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/team/app/manifests/0", Hold(gate))
        here.faults.on("GET", "/v2/team/app/manifests/5", Hold())
        asked = list(map(here.ref, NAMES))
        await report_to(here, output, *asked, meanwhile=meanwhile)
        done = await report_to(here, output, *asked, resume=True)
    assert [line["reference"] for line in lines_of(output)] == asked
    assert done.summary.resumed is not None
    assert done.summary.resumed["kept"] == 5


@pytest.mark.parametrize("order", Order)
async def test_a_silent_host_holds_up_no_record_of_another_host(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More references of it than are in memory; then the run is killed."""
    monkeypatch.setattr("auditor.audit.job.CHECKPOINT_S", 0.01)
    output = tmp_path / "out"
    left: dict[str, bytes] = {}
    async with lab(simple(["a:1"])) as silent, lab(simple(NAMES)) as here:
        silent.faults.on("GET", MANIFESTS, Hold(), forever=True)
        asked = [silent.ref(f"a:{number}") for number in range(300)]
        asked += map(here.ref, NAMES)

        @asynccontextmanager
        async def meanwhile(run: AuditRun, report: Report) -> AsyncIterator[None]:
            async def watch() -> None:
                lines = 0
                while lines < len(NAMES):
                    await anyio.sleep(0.005)
                    left.update(files_next_to(output))
                    lines = b"".join(left.values()).count(b'"kind":"image"')
                run.stop(0.0)

            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                yield

        await report_to(
            here, output, *asked, meanwhile=meanwhile, window=3, workers=2, order=order
        )
        manifests = here.good(MANIFESTS)
        assert manifests == len(NAMES)
        with restored(output, left):
            done = await report_to(here, output, *map(here.ref, NAMES), resume=True)
        assert here.good(MANIFESTS) == manifests
    assert done.summary.resumed == {"kept": len(NAMES), "left_out": 0}


async def test_a_resumed_run_lists_again_and_audits_only_new_tags(
    tmp_path: Path,
) -> None:
    output = tmp_path / "out"
    async with lab(simple(NAMES)) as here:
        pattern = here.ref("team/app:*")
        meanwhile = _stop(here)
        await report_to(here, output, pattern, workers=1, meanwhile=meanwhile)
        here.content.add("team/app", image("new"), "1.5")
        lists = here.faults.count("GET", TAGS)
        await report_to(here, output, pattern, resume=True)
        assert here.faults.count("GET", TAGS) == lists + 1
    tags = [line["tag"] for line in lines_of(output)]
    assert tags == ["0", "1", "1.5", "2", "3", "4", "5"]


@examples(8)
@given(cut=st.floats(0, 1), shape=st.sampled_from(Shape))
def test_any_prefix_of_a_report_is_resumed_to_the_complete_report(
    cut: float, shape: Shape, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def main(folder: Path) -> None:
        whole, output = folder / "whole", folder / "out"
        async with lab(_content()) as here:
            await report_to(here, whole, *_asked(here), shape=shape)
            meanwhile = _stop(here)
            await report_to(
                here, output, *_asked(here), shape=shape, meanwhile=meanwhile
            )
            data = whole.read_bytes()
            output.with_name("out.partial").write_bytes(data[: int(len(data) * cut)])
            await report_to(here, output, *_asked(here), shape=shape, resume=True)
        assert lines_of(output) == lines_of(whole)

    anyio.run(main, tmp_path_factory.mktemp("prefix"))


async def test_records_of_another_night_are_audited_again(tmp_path: Path) -> None:
    """All records were written before the kill; then a tag has moved."""
    output = tmp_path / "out"
    async with lab(simple(NAMES)) as here:
        asked = list(map(here.ref, NAMES))
        meanwhile = _stop(here)
        await report_to(here, output, *asked, workers=1, meanwhile=meanwhile)
        here.content.add("team/app", image("moved"), "0")
        here.clock.now += 24 * 3600
        done = await report_to(here, output, *asked, resume=True)
        await report_to(here, tmp_path / "whole", *asked)
    assert done.messages == [
        f"resuming: 0 finished records are in {output}.partial; audited again: 3 older"
        " than 12 hours (--resume-max-age)"
    ]
    assert output.read_bytes() == (tmp_path / "whole").read_bytes()
    assert done.summary.resumed == {"kept": 0, "left_out": 0}
    assert files_next_to(output) == {}


@pytest.mark.parametrize(
    ("max_age_s", "later_s", "kept"),
    [(3600, 3600, 3), (3600, 3601, 0), (3 * 86_400, 2 * 86_400, 3), (60, -61, 0)],
)
async def test_the_age_up_to_which_records_are_kept_can_be_chosen(
    max_age_s: float, later_s: int, kept: int, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    async with _stopped(output) as here:
        here.clock.now += later_s
        asked = map(here.ref, NAMES)
        done = await report_to(
            here, output, *asked, resume=True, resume_max_age_s=max_age_s
        )
    assert done.summary.resumed == {"kept": kept, "left_out": 0}


@pytest.mark.parametrize("shape", Shape)
async def test_failures_are_retried_on_request(shape: Shape, tmp_path: Path) -> None:
    """A token that was revoked, an account without rights: mended since."""
    output, names = tmp_path / "out", ["team/app:gone", *NAMES]
    async with lab(simple(NAMES)) as here:
        asked = list(map(here.ref, names))
        meanwhile = _stop(here)
        await report_to(
            here, output, *asked, workers=1, meanwhile=meanwhile, shape=shape
        )
        here.content.add("team/app", image("back"), "gone")
        manifests = here.good(MANIFESTS)
        done = await report_to(
            here, output, *asked, resume=True, retry_failed=True, shape=shape
        )
        requests = here.good(MANIFESTS) - manifests
        await report_to(here, tmp_path / "whole", *asked, shape=shape)
    kept = 3 if shape is Shape.IMAGE else 2  # the last rows may be incomplete
    assert done.messages[0].endswith("; audited again: 1 failed (--retry-failed)")
    assert done.summary.resumed == {"kept": kept, "left_out": 0}
    assert requests == len(names) - kept
    assert lines_of(output) == lines_of(tmp_path / "whole")


# -- refusals ---------------------------------------------------------


@asynccontextmanager
async def _stopped(output: Path, **changes: Any) -> AsyncIterator[Lab]:
    async with lab(simple(NAMES)) as here:
        asked = list(map(here.ref, NAMES))
        meanwhile = _stop(here)
        await report_to(here, output, *asked, workers=1, meanwhile=meanwhile, **changes)
        yield here


async def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "out"
    async with _stopped(output) as here:
        left = files_next_to(output)
        with pytest.raises(UsageError) as refused:
            await report_to(here, output, "x", shape=Shape.LAYER, resume=True)
        assert files_next_to(output) == left
    assert str(refused.value) == (
        f"--resume: {output}.partial was started with other settings (shape was 'image'"
        " and is 'layer'); run without --resume to start a new report"
    )


async def test_the_unfinished_report_of_another_version_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crontab line with --resume must not fail after an upgrade."""
    output = tmp_path / "out"
    async with _stopped(output) as here:
        left = files_next_to(output)["out.partial"]
        monkeypatch.setattr("auditor.report.resume.__version__", "99.0")
        asked = here.ref("team/app:*")
        settings = here.settings(asked, output=str(output), resume=True)
        messages: list[str] = []
        async with open_report(
            report_options(settings), now=STARTED_AT, notify=messages.append
        ) as report:
            assert report.resume_index is None
            assert output.with_name("out.partial.old").read_bytes() == left
        assert messages == [
            f"{output}.partial: written by auditor {__version__}, this is 99.0;"
            " starting"
            " a new report (the old one is kept as out.partial.old until the new one is"
            " complete)"
        ]
        done = await report_to(here, output, asked, resume=True)
    assert done.summary.resumed is None
    assert files_next_to(output) == {}


@pytest.mark.parametrize("journal", [None, b"", b'{"kind":"journ', b"[]\n", b"\0\n"])
async def test_resuming_without_a_readable_journal_is_refused(
    journal: bytes | None, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    async with _stopped(output) as here:
        path = output.with_name("out.journal")
        if journal is None:
            path.unlink()
        else:
            path.write_bytes(journal)
        with pytest.raises(UsageError, match="has no readable journal"):
            await report_to(here, output, "x", resume=True)
        assert output.with_name("out.partial").exists()


async def test_without_anything_to_resume_a_new_report_is_started(
    tmp_path: Path,
) -> None:
    output = tmp_path / "out"
    async with lab(simple(NAMES)) as here:
        done = await report_to(here, output, here.ref(NAMES[0]), resume=True)
    assert done.messages == ["nothing to resume; starting a new report"]
    assert len(lines_of(output)) == 1
    assert done.summary.resumed is None


@pytest.mark.parametrize("output", ["-", "/dev/null"])
async def test_a_stream_cannot_be_resumed(output: str) -> None:
    options = ReportOptions(output=output, resume=True)
    with pytest.raises(UsageError, match="needs a report in a file"):
        async with open_report(options, now="2026-11-25T02:00:00Z", notify=pytest.fail):
            pass


async def test_without_resume_an_unfinished_report_is_kept_until_the_new_one_ends(
    tmp_path: Path,
) -> None:
    output = tmp_path / "out"
    async with _stopped(output) as here:
        left = files_next_to(output)
        anew = await report_to(
            here,
            output,
            *map(here.ref, NAMES),
            workers=1,
            meanwhile=_stop(here),
        )
        assert anew.messages[0].startswith(f"{output}.partial: left by an unfinished")
        resume = files_next_to(output)
        assert resume["out.partial.old"] == left["out.partial"]
        assert resume["out.journal.old"] == left["out.journal"]
        # Renamed back, it can be resumed.
        old = {name.removesuffix(".old"): data for name, data in left.items()}
        with restored(output, old):
            await report_to(here, output, *map(here.ref, NAMES), resume=True)
    assert len(lines_of(output)) == 6
    assert files_next_to(output) == {}


# -- failing disks, killed processes --------------------------------------------------


async def test_a_full_disk_keeps_the_old_report_and_the_finished_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """write(2) on a full disk leaves a torn last line."""
    whole, output = tmp_path / "whole", tmp_path / "out"
    output.write_bytes(b"yesterday's\n")
    really = os.write
    room = 0

    def write(fd: int, data: bytes) -> int:
        nonlocal room
        if Path(f"/proc/self/fd/{fd}").readlink().name != "out.partial":
            return really(fd, data)
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = really(fd, data[:room])
        room -= count
        return count

    async with lab(_content()) as here:
        await report_to(here, whole, *_asked(here))
        # Two images and a failure between them, and a part of the next record.
        first = whole.read_bytes().splitlines(keepends=True)[:3]
        size = room = len(b"".join(first)) + 100
        with monkeypatch.context() as patch:
            patch.setattr("auditor.report.writer.os.write", write)
            patch.setattr("auditor.report.writer.PIECE_BYTES", 1)
            messages: list[str] = []
            with pytest.raises(OutputError, match="No space left on device"):
                await report_to(here, output, *_asked(here), messages=messages)
        assert messages == [
            f"progress saved in {output}.partial; continue with --resume"
        ]
        assert output.read_bytes() == b"yesterday's\n"
        torn = output.with_name("out.partial").read_bytes()
        assert len(torn) == size
        assert not torn.endswith(b"\n")
        done = await report_to(here, output, *_asked(here), resume=True)
    assert lines_of(output) == lines_of(whole)
    assert done.summary.resumed is not None
    assert done.summary.resumed["kept"] == 2


async def test_a_failing_disk_ends_the_run_with_a_one_line_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint notices it even while no record is finished."""

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("auditor.audit.job.CHECKPOINT_S", 0.01)
    monkeypatch.setattr("auditor.report.writer.os.fdatasync", fail)
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", HELD, Hold())
        with pytest.raises(OutputError, match="cannot be written: Input/output error"):
            await report_to(here, tmp_path / "out", *map(here.ref, NAMES))


async def test_no_space_for_the_resume_index_is_a_one_line_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    async with _stopped(output) as here:
        small = resume_index._TABLES.replace(
            "BEGIN", "PRAGMA max_page_count = 1;\nBEGIN"
        )
        monkeypatch.setattr("auditor.report.resume_index._TABLES", small)
        line = b'{"kind":"image","reference":"r/a:%%d","tag":"1","audited_at":"%s"}\n'
        line %= STARTED_AT.encode()
        lines = b"".join(line % number for number in range(5000))
        output.with_name("out.partial").write_bytes(lines)
        with pytest.raises(
            OutputError, match=r"resume index cannot be written .*TMPDIR"
        ):
            await report_to(here, output, here.ref(NAMES[0]), resume=True)
        assert output.with_name("out.partial").read_bytes() == lines


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("can't start new thread")],
    ids=["heap", "thread"],
)
async def test_a_run_out_of_memory_keeps_its_records(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, messages = tmp_path / "out", list[str]()
    fetch, count = ImageAuditor.audit, 0

    async def fails(self: ImageAuditor, *arguments: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count > 3:
            raise error
        return await fetch(self, *arguments, **more)

    async with lab(simple(NAMES)) as here:
        asked = list(map(here.ref, NAMES))
        with monkeypatch.context() as patch:
            patch.setattr(ImageAuditor, "audit", fails)
            with pytest.raises(ExceptionGroup) as caught:
                await report_to(here, output, *asked, workers=1, messages=messages)
        assert is_out_of_memory(caught.value)
        assert messages == [
            f"progress saved in {output}.partial; continue with --resume"
        ]
        done = await report_to(here, output, *asked, resume=True)
    assert done.summary.resumed == {"kept": 3, "left_out": 0}
    assert len(lines_of(output)) == 6


@pytest.mark.parametrize("limit_mb", [140, 180, 205, 210, 240, 300])
async def test_a_limit_of_memory_ends_with_a_sentence(
    limit_mb: int, tmp_path: Path
) -> None:
    """`ulimit -v`: libuv called abort(3) where it got no memory for a thread."""
    limit = limit_mb * 1000 * 1024
    program = ("prlimit", f"--as={limit}:{limit}", *PROGRAM)
    async with lab(simple(NAMES)) as here:
        arguments = ["audit", *map(here.ref, NAMES), "-o", "out"]
        async with running(*arguments, place=tmp_path, program=program) as process:
            done = await finish(process)
    assert done.code in {0, 3}
    if done.code:
        assert any("out of memory" in line for line in done.stderr)
    assert done.stderr


async def _flushed(partial: Path, *, lines: int) -> None:
    with anyio.fail_after(PATIENCE_S):
        # Another process writes the file: poll.
        while not partial.exists() or partial.read_bytes().count(b"\n") < lines:  # noqa: ASYNC110
            await anyio.sleep(0.02)


async def test_a_killed_run_is_resumed_to_the_same_report(tmp_path: Path) -> None:
    """SIGKILL with a request in flight; records older than a second are kept."""
    output = tmp_path / "out"
    async with lab(simple(NAMES)) as here:
        arguments = ["audit", *map(here.ref, NAMES), "--workers", "1", "-o", "out"]
        output.write_bytes(b"yesterday's\n")
        here.faults.on("GET", "/v2/team/app/manifests/5", Hold())
        async with running(*arguments, place=tmp_path) as process:
            await _flushed(output.with_name("out.partial"), lines=5)
            process.send_signal(signal.SIGKILL)
            assert await process.wait() == -signal.SIGKILL
        assert output.read_bytes() == b"yesterday's\n"
        done = await auditor(*arguments, "--resume", place=tmp_path)
        assert here.good(BLOBS) == 6
        assert here.good(MANIFESTS) == 6
    assert done.code == 0
    assert [line["tag"] for line in lines_of(output)] == list("012345")
    assert done.messages[0] == f"resuming: 5 finished records are in {output}.partial"
    assert done.messages[1].startswith("6 of 6 references audited in ")
    assert "  resumed: 5 of them from the unfinished report" in done.messages
    assert files_next_to(output) == {}


async def test_a_second_signal_keeps_every_finished_record(tmp_path: Path) -> None:
    """In the first second nothing was flushed, and all records but one wait."""
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/team/app/manifests/1", Hold())
        arguments = ["audit", *map(here.ref, NAMES), "-o", "out", "--resume"]
        async with running(*arguments, place=tmp_path) as process:
            await here.faults.until(lambda: here.good(BLOBS) == 5)
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            stderr = await process.stderr.receive()
            assert b"nothing to resume" in stderr
            if b"SIGTERM" not in stderr:
                await process.stderr.receive()
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
        left = files_next_to(tmp_path / "out")
    lines = [*left["out.partial"].splitlines(), *left["out.journal"].splitlines()[1:]]
    # The last responses may still have been in flight at the signals.
    assert len(lines) >= 3
    assert {orjson.loads(line)["kind"] for line in lines} == {"image"}
