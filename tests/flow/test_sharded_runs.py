"""Sharded audits: merged shards, processes, a cluster. Always the same report."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import orjson
import pytest
from aiohttp import web

from auditor.audit.run import AuditRun
from auditor.config import Settings, sharded_run_settings
from auditor.config.requests_at_once import DEFAULT_MOST
from auditor.demo.demo_images import demo_images, demo_tokens
from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import DemoAccount
from auditor.demo.image_builder import image
from auditor.errors import ExitCode, UsageError
from auditor.model import Order, Shape
from auditor.report.locked_journal import Journal
from auditor.report.metrics import audit_metrics
from auditor.report.shard_file import merge_records
from auditor.report.summary_text import summary_lines
from auditor.report.writer import Report
from auditor.scale.dask_engine import DaskEngine, ShardTask
from auditor.scale.merge_shards import merge_shards
from auditor.scale.process_engine import ProcessEngine
from auditor.scale.shard_dir import LocalShardDir, RemoteShardDir, complete_report
from auditor.scale.sharded_run import (
    ShardedRun,
    ShardPlan,
    ShardResult,
    lock_output,
    plan_shards,
)
from auditor.util.shard import Shard
from tests.clock import FakeClock
from tests.flow.cluster import cluster
from tests.flow.commands import auditor, finish, running
from tests.flow.harness import MANIFESTS, PATIENCE_S, Lab, lab, simple
from tests.flow.reporting import lines_of, report_to
from tests.support.fault_actions import Gate, Hold

pytestmark = pytest.mark.anyio

ANONYMOUS_ACCOUNT = DemoAccount("", "")
FLAGS: dict[str, Any] = {"no_cache": True, "docker_config": False}
SHARDS = 4
NAMES = [f"team/{name}:{tag}" for name in ("a-1", "a-2", "b-1") for tag in "123"]


async def _not_found(_: web.Request) -> web.Response:
    return web.json_response({"errors": []}, status=404)


@asynccontextmanager
async def demo() -> AsyncIterator[tuple[Lab, tuple[str, ...]]]:
    """The demo's registry, asked anonymously, and an input of every kind for it.

    It closes its catalog as DTR does, and has no API that could stand in for it.
    """
    no_api = [web.get("/api/v0/{path:.*}", _not_found)]
    async with lab(
        DemoContent.of(demo_images()),
        tokens=demo_tokens(),
        login=ANONYMOUS_ACCOUNT,
        routes=no_api,
    ) as it:
        catalog = it.ref("library/a*:*")
        yield (
            it,
            (
                it.ref("team/*:*"),
                it.ref("library/mysql:*"),
                it.ref("library/ubuntu:latest"),
                it.ref("library/busybox:*"),
                "no reference",
                it.ref("library/mysql:latest"),  # again
                it.ref("library/ubuntu:noble"),
                catalog,
            ),
        )


def shard_of(here: Lab, repository: str) -> Shard:
    """The shard that a repository is in."""
    return next(
        shard
        for shard in (Shard(number=n, of=SHARDS) for n in range(1, SHARDS + 1))
        if shard.takes(here.host, repository)
    )


async def shard_reports(
    here: Lab, folder: Path, *references: str, **changes: Any
) -> list[str]:
    names = []
    for number in range(1, SHARDS + 1):
        part = folder / f"shard-{number}"
        shard = Shard(number=number, of=SHARDS)
        await report_to(here, part, *references, shard=shard, **changes)
        names.append(str(part))
    return names


@pytest.mark.parametrize("shape", Shape)
async def test_merged_shards_are_the_report_line_by_line(
    shape: Shape, tmp_path: Path
) -> None:
    async with demo() as (here, asked):
        whole = await report_to(here, tmp_path / "whole", *asked, shape=shape)
        names = await shard_reports(here, tmp_path, *asked, shape=shape)
    summary = await merge_shards(
        [names[2], names[0], names[3], names[1]], str(tmp_path / "out")
    )
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")
    expected = whole.summary.to_json()
    assert expected["references"]["failed"] > 1
    assert summary["references"] == expected["references"]
    assert {k: one["count"] for k, one in summary["failures"].items()} == {
        k: one["count"] for k, one in expected["failures"].items()
    }
    assert summary["architectures"] == pytest.approx(expected["architectures"])
    assert summary["requests"]["manifest"] == expected["requests"]["manifest"]
    assert not list(tmp_path.glob("out.*")), "something is left behind"


async def test_a_pattern_without_tags_in_any_shard_is_one_failure(
    tmp_path: Path,
) -> None:
    async with lab(simple(NAMES)) as here:
        asked = (here.ref("team/a*:nothing"), here.ref("team/*:3"))
        whole = await report_to(here, tmp_path / "whole", *asked)
        names = await shard_reports(here, tmp_path, *asked)
    summary = await merge_shards(names, str(tmp_path / "out"))
    *images, failure = lines_of(tmp_path / "out")
    assert [failure, *images] == lines_of(tmp_path / "whole")
    assert failure["failure"] == "not_found"
    expected = whole.summary.to_json()
    for key in ("references", "failures", "listings"):
        assert summary[key] == expected[key]


async def test_merged_listings_are_those_of_one_process(tmp_path: Path) -> None:
    async with lab(simple(NAMES)) as here:
        asked = here.ref("**:*")
        rules: dict[str, Any] = {
            "include": ("[12]",),
            "exclude_repositories": ("team/b*",),
        }
        whole = await report_to(here, tmp_path / "whole", asked, **rules)
        names = await shard_reports(here, tmp_path, asked, **rules)
    summary = await merge_shards(names, str(tmp_path / "out"))
    expected = whole.summary.to_json()
    assert summary["listings"] == expected["listings"]
    assert summary["lists"]["repositories"] == expected["lists"]["repositories"]
    listing_lines = [
        line for line in summary_lines(expected)
        if "listings of" in line or "filtered out" in line
    ]  # fmt: skip
    assert len(listing_lines) == 4
    assert [one for one in summary_lines(summary) if one in listing_lines] == (
        listing_lines
    )


async def test_shards_in_completion_order_have_the_same_records(tmp_path: Path) -> None:
    async with demo() as (here, asked):
        await report_to(here, tmp_path / "whole", *asked)
        names = await shard_reports(here, tmp_path, *asked, order=Order.COMPLETION)
    await merge_shards(names, str(tmp_path / "out"))

    def by_reference(name: str) -> list[bytes]:
        return sorted(orjson.dumps(line) for line in lines_of(tmp_path / name))

    assert by_reference("out") == by_reference("whole")


async def test_a_resumed_shard_merges_like_an_uninterrupted_one(
    tmp_path: Path,
) -> None:
    @asynccontextmanager
    async def stopped(run: AuditRun, report: Report) -> AsyncIterator[None]:
        asked = here.faults.count("GET", MANIFESTS)
        async with here.when(
            lambda: here.faults.count("GET", MANIFESTS) >= asked + 3,
            lambda: run.stop(0),
        ):
            yield

    async with demo() as (here, asked):
        await report_to(here, tmp_path / "whole", *asked)
        shard = shard_of(here, "library/mysql")
        part = tmp_path / f"shard-{shard.number}"
        cut = await report_to(here, part, *asked, shard=shard, meanwhile=stopped)
        assert cut.summary.interrupted
        assert not part.exists()
        names = await shard_reports(here, tmp_path, *asked, resume=True)
    await merge_shards(names, str(tmp_path / "out"))
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


async def test_images_older_than_since_leave_no_gap(tmp_path: Path) -> None:
    async with demo() as (here, asked):
        since: dict[str, Any] = {"since": "2999-01-01", "image_config": "always"}
        whole = await report_to(here, tmp_path / "whole", *asked, **since)
        names = await shard_reports(here, tmp_path, *asked, **since)
    assert whole.summary.tally.filtered
    await merge_shards(names, str(tmp_path / "out"))
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


async def four_shard_reports(tmp_path: Path) -> list[str]:
    async with lab(DemoContent.of(demo_images())) as here:
        return await shard_reports(here, tmp_path, here.ref("library/mysql:*"))


def cut(path: str | Path) -> None:
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: data.rindex(b"\n", 0, -1) + 1])


REFUSED: dict[str, Callable[[list[str]], Any]] = {
    "1 of the 4 shards is missing: 2; give the reports of all shards":
        lambda names: names.pop(1),
    "{0} and {0} are the same shard, 1/4":
        lambda names: names.append(names[0]),
    "{3}.shard: incomplete shard file: the audit of this shard did not finish; audit it"
    " again":
        lambda names: cut(names[3] + ".shard"),
    "{0}.shard: no such file: {0} is not the complete report of a shard (audit --shard"
    " writes this file next to it)":
        lambda names: Path(names[0] + ".shard").unlink(),
    "{2}: no such file":
        lambda names: Path(names[2]).unlink(),
}  # fmt: skip


@pytest.mark.parametrize(("message", "change"), REFUSED.items())
async def test_incomplete_or_repeated_shards_are_not_merged(
    message: str, change: Callable[[list[str]], Any], tmp_path: Path
) -> None:
    names = await four_shard_reports(tmp_path)
    message = message.format(*names)
    change(names)
    with pytest.raises(UsageError) as caught:
        await merge_shards(names, str(tmp_path / "out"))
    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("add", [b"", b'{"kind":"image","reference":"a"}\n'])
async def test_a_changed_report_is_not_merged(add: bytes, tmp_path: Path) -> None:
    names = await four_shard_reports(tmp_path)
    full = next(name for name in names if Path(name).stat().st_size)
    if add:
        Path(full).write_bytes(Path(full).read_bytes() + add)
    else:
        cut(full)
    with pytest.raises(UsageError, match="does not match its shard file"):
        await merge_shards(names, str(tmp_path / "out"))


async def test_shards_with_different_settings_are_not_merged(tmp_path: Path) -> None:
    async with lab(DemoContent.of(demo_images())) as here:
        asked = here.ref("library/mysql:*")
        names = await shard_reports(here, tmp_path, asked)
        shard = Shard(number=1, of=SHARDS)
        other = tmp_path / "shard-1"
        await report_to(here, other, asked, shard=shard, image_config="never")
    with pytest.raises(
        UsageError, match=r"made with different settings \(image_config\)"
    ):
        await merge_shards(names, str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exclude": ("*-*",)}, r"with different settings \(exclude\)"),
        ({"latest": 2}, r"with different settings \(latest\)"),
        ({"order": Order.COMPLETION}, r"with different settings \(order\)"),
        ({"references": ("library/mysql:8*",)}, "from different references or lists"),
        (
            {"references": ("library/mysql:*", "library/a:1")},
            "from different references or lists",
        ),
    ],
)
async def test_shards_with_a_different_selection_are_not_merged(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    asked = changes.pop("references", ("library/mysql:*",))
    async with lab(DemoContent.of(demo_images())) as here:
        names = await shard_reports(here, tmp_path, here.ref("library/mysql:*"))
        shard = Shard(number=2, of=SHARDS)
        references = map(here.ref, asked)
        await report_to(here, Path(names[1]), *references, shard=shard, **changes)
    with pytest.raises(UsageError, match=message):
        await merge_shards(names, str(tmp_path / "out"))


async def test_shards_that_reached_their_deadline_are_merged(tmp_path: Path) -> None:
    @asynccontextmanager
    async def over(run: AuditRun, report: Report) -> AsyncIterator[None]:
        run.expire()
        yield

    path = tmp_path / "list"
    async with demo() as (here, asked):
        path.write_text("\n".join(asked))
        names = await shard_reports(here, tmp_path, lists=(str(path),))
        whole = await report_to(here, tmp_path / "whole", lists=(str(path),))
        shard = shard_of(here, "library/mysql")
        cut = tmp_path / f"shard-{shard.number}"
        await report_to(here, cut, lists=(str(path),), shard=shard, meanwhile=over)
    summary = await merge_shards(names, str(tmp_path / "out"))
    assert summary["deadline_reached"]
    assert whole.summary.tally.audited > summary["references"]["audited"]


async def test_processes_print_the_table_of_one_process() -> None:
    async with lab(simple(NAMES)) as here:
        references = [here.ref("team/*:*"), here.ref("team/gone:1"), "no reference"]
        table = ("audit", *references, "--format", "table", "--quiet")
        one = await auditor(*table)
        two = await auditor(*table, "--processes", "2")
    assert two.out == one.out
    assert b"failed (2)" in two.out
    assert (one.code, two.code) == (1, 1)


async def test_the_commands_audit_and_merge_shards(tmp_path: Path) -> None:
    async with lab(DemoContent.of(demo_images())) as here:
        asked = (here.ref("library/mysql:*"), here.ref("library/ubuntu:*"))
        whole = await auditor("audit", "--no-cache", *asked)
        for number in ("1", "2"):
            done = await auditor(
                *("audit", "--no-cache", "--shard", "auto/2", "-o", number, *asked),
                environment={"JOB_COMPLETION_INDEX": str(int(number) - 1)},
                place=tmp_path,
            )
            assert done.code == 0
    done = await auditor("merge", "2", "1", "--summary", "sum.json", place=tmp_path)
    assert done.code == 0

    def without_time(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**line, "audited_at": None} for line in lines]

    assert without_time(done.lines) == without_time(whole.lines)
    summary = orjson.loads((tmp_path / "sum.json").read_bytes())
    assert summary["references"]["audited"] == len(whole.lines)


# -- engines -------------------------------------------------------------------


def sharded_run(
    here: Lab,
    output: Path,
    shard_dir: LocalShardDir | RemoteShardDir,
    *asked: str,
    of: int,
) -> ShardedRun:
    settings = Settings(
        references=asked, output=str(output), docker_config=False, no_cache=True
    )
    messages: list[str] = []
    return ShardedRun(
        settings=settings,
        plan=plan_shards(settings, workers=of),
        shard_dir=shard_dir,
        notify=messages.append,
        clock=here.clock,
    )


class LocalEngine:
    """An engine in this process; the shards in `fails` fail."""

    def __init__(self, here: Lab, run: ShardedRun, *fails: int) -> None:
        self._here = here
        self._run = run
        self._fails = fails
        self.audited: list[int] = []

    async def run(
        self, plan: ShardPlan, on_result: Callable[[ShardResult], None]
    ) -> None:
        settings, shard_dir = self._run.settings, self._run.shard_dir
        for shard in plan.shards:
            code = ExitCode.OUTPUT
            if shard.number not in self._fails:
                self.audited.append(shard.number or 0)
                await report_to(
                    self._here,
                    Path(shard_dir.name(shard)),
                    *settings.references,
                    lists=settings.lists,
                    exclude=settings.exclude,
                    shard=shard,
                )
                code = ExitCode.OK
            on_result(ShardResult(shard=shard, code=code))

    def stop(self, number: signal.Signals) -> None:
        raise AssertionError(number)


@pytest.mark.parametrize(
    ("line", "exclude", "again"),
    [
        ("library/mysql:*", (), [2]),
        ("library/mysql:8*", (), [1, 2, 3, 4]),
        ("library/mysql:*\nlibrary/busybox:*", (), [1, 2, 3, 4]),
        ("library/mysql:*", ("8*",), [1, 2, 3, 4]),
    ],
)
async def test_complete_shards_are_resumed_only_for_the_same_input_and_selection(
    line: str, exclude: tuple[str, ...], again: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "list"
    async with demo() as (here, asked):

        def run_of(**changes: Any) -> ShardedRun:
            run = sharded_run(here, tmp_path / "out", shard_dir, *asked[1:4], of=SHARDS)
            run.settings = replace(run.settings, lists=(str(path),), **changes)
            return run

        shard_dir = LocalShardDir(tmp_path / "shards")
        path.write_text(here.ref("library/mysql:*"))
        first = run_of()
        assert await first.run(LocalEngine(here, first, 2)) is None
        path.write_text("\n".join(map(here.ref, line.split("\n"))))
        run = run_of(resume=True, exclude=exclude)
        engine = LocalEngine(here, run)
        assert await run.run(engine) is not None
        settings = run.settings
        await report_to(
            here,
            tmp_path / "whole",
            *settings.references,
            lists=settings.lists,
            exclude=exclude,
        )
    assert engine.audited == again
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("damage", "store"), [(Path.unlink, LocalShardDir), (cut, RemoteShardDir)]
)
async def test_a_damaged_shard_report_is_audited_again(
    damage: Callable[[Path], Any], store: Any, tmp_path: Path
) -> None:
    place = tmp_path / "shards"
    async with demo() as (here, asked):
        shard_dir = store(place if store is LocalShardDir else str(place))
        first = sharded_run(here, tmp_path / "out", shard_dir, *asked, of=SHARDS)
        damaged = shard_of(here, "library/mysql")
        number = damaged.number or 0
        fails = 1 + number % SHARDS
        assert await first.run(LocalEngine(here, first, fails)) is None
        damage(Path(shard_dir.name(damaged)))
        run = sharded_run(here, tmp_path / "out", shard_dir, *asked, of=SHARDS)
        run.settings = replace(run.settings, resume=True)
        engine = LocalEngine(here, run)
        assert await run.run(engine) is not None
        await report_to(here, tmp_path / "whole", *asked)
    assert engine.audited == sorted([fails, number])
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


async def test_a_killed_process_is_restarted_and_resumes(
    tmp_path: Path,
) -> None:
    async with demo() as (here, asked):
        await report_to(here, tmp_path / "whole", *asked)
        shard_dir = LocalShardDir(tmp_path / "shards")
        run = sharded_run(here, tmp_path / "out", shard_dir, *asked, of=2)
        notes: list[str] = []
        engine = ProcessEngine(
            flags={**FLAGS, "reference": asked},
            report_path=shard_dir.path,
            notify=notes.append,
        )
        gate = Gate()
        before = here.faults.count("GET", MANIFESTS)
        # So few that neither process can have ended.
        here.faults.on("GET", MANIFESTS, Hold(gate), skip=before + 4, forever=True)

        def kill() -> None:
            os.kill(min(process.pid for process in engine.running), signal.SIGKILL)
            gate.open()

        async with here.when(
            lambda: here.faults.count("GET", MANIFESTS) > before + 4, kill
        ):
            summary = await run.run(engine)
    assert summary is not None
    assert sum("killed by signal 9" in note for note in notes) == 1
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")
    assert not (tmp_path / "shards").exists()


async def test_a_stop_leaves_the_exit_code_of_a_process_that_has_just_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio's `send_signal` takes it from the watcher, which then reports 255."""
    is_stopped = threading.Event()
    waitpid = os.waitpid

    def late_waitpid(process: int, options: int) -> tuple[int, int]:
        is_stopped.wait()
        return waitpid(process, options)

    engine = ProcessEngine(
        flags={},
        report_path=LocalShardDir(tmp_path).path,
        notify=lambda _: None,
        program=(sys.executable, "-c", "raise SystemExit(1)"),
    )
    results: list[ShardResult] = []
    monkeypatch.setattr(os, "waitpid", late_waitpid)

    async def stop() -> None:
        while not engine.running:
            await anyio.lowlevel.checkpoint()
        (process,) = engine.running
        has_ended = os.WEXITED | os.WNOWAIT
        await anyio.to_thread.run_sync(os.waitid, os.P_PID, process.pid, has_ended)
        engine.stop(signal.SIGTERM)
        is_stopped.set()

    async with anyio.create_task_group() as group:
        group.start_soon(stop)
        plan = ShardPlan(shards=[Shard(number=1, of=1)], at_once=1)
        await engine.run(plan, results.append)
    assert [result.code for result in results] == [1]


async def test_a_locked_shard_is_audited_when_it_is_unlocked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a process of a run that was killed, which ends as soon as it can."""
    async with demo() as (here, asked):
        await report_to(here, tmp_path / "whole", *asked)
        shard_dir = LocalShardDir(tmp_path / "shards")
        run = sharded_run(here, tmp_path / "out", shard_dir, *asked, of=2)
        engine = ProcessEngine(
            flags={**FLAGS, "reference": asked},
            report_path=shard_dir.path,
            notify=run.notify,
        )
        part = shard_dir.path(run.plan.shards[0])
        with ExitStack() as left:
            journal = part.with_name(part.name + ".journal")
            left.enter_context(Journal(journal, output=part.name))

            async def it_ends(_: float) -> None:
                left.close()

            monkeypatch.setattr("auditor.scale.process_engine.anyio.sleep", it_ends)
            assert await run.run(engine) is not None
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


async def test_interrupted_processes_can_be_resumed(tmp_path: Path) -> None:
    async with demo() as (here, asked):
        await report_to(here, tmp_path / "whole", *asked)
        flags = {**FLAGS, "reference": asked}
        shard_dir = LocalShardDir(tmp_path / "shards")
        run = sharded_run(here, tmp_path / "out", shard_dir, *asked, of=2)
        engine = ProcessEngine(
            flags=flags, report_path=shard_dir.path, notify=run.notify
        )
        before = here.faults.count("GET", MANIFESTS)
        async with here.when(
            lambda: here.faults.count("GET", MANIFESTS) > before + 20,
            lambda: run.stop(engine, signal.SIGTERM),
        ):
            assert await run.run(engine) is None
        # Which does not listen yet is ended by the signal itself.
        codes = {ExitCode.TERMINATED, -signal.SIGTERM}
        assert {result.code for result in run.failed} <= codes
        assert not (tmp_path / "out").exists()
        again = sharded_run(here, tmp_path / "out", shard_dir, *asked, of=2)
        again.settings = Settings(**{
            **{name: getattr(run.settings, name) for name in Settings.__slots__},
            "resume": True,
        })  # fmt: skip
        engine = ProcessEngine(
            flags=flags, report_path=shard_dir.path, notify=again.notify
        )
        assert await again.run(engine) is not None
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


async def test_an_interrupted_run_reports_its_progress_and_can_be_resumed(
    tmp_path: Path,
) -> None:
    names = [f"team/app{n % 8}:{n}" for n in range(64)]
    summary, metrics = tmp_path / "sum.json", tmp_path / "run.prom"
    async with lab(simple(names)) as here:
        asked = tuple(map(here.ref, names))
        await report_to(here, tmp_path / "whole", *asked)
        before = here.good(MANIFESTS)
        gate = Gate()
        # No shard ends: three tags of each repository are answered at
        # once, then those that the eight workers have begun, and no other.
        held = [Hold(gate) for _ in range(4)]
        rules = [
            here.faults.on(
                "GET",
                f"/v2/team/app{n}/manifests/*",
                *held,
                Hold(),
                skip=3,
                forever=True,
            )
            for n in range(8)
        ]
        arguments = (
            *("audit", "--processes", "2", "--requests-at-once", "4", "--resume"),
            *("-o", "out", "--summary", "sum.json", "--metrics", "run.prom", *asked),
        )
        async with running(*arguments, place=tmp_path) as process:
            await here.faults.until(
                lambda: here.faults.count("GET", MANIFESTS) >= before + 26
            )
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            stderr = b""
            while b"finishing the requests of the shards in flight" not in stderr:
                stderr += await process.stderr.receive()
            gate.open()
            done = await finish(process)
        for rule in rules:
            here.faults.rules.remove(rule)
        finished = here.good(MANIFESTS) - before
        assert done.code == ExitCode.INTERRUPTED
        totals = orjson.loads(summary.read_bytes())
        assert 'auditor_run_complete{audit="run"} 0' in metrics.read_text()
        again = await auditor(*arguments, place=tmp_path)
        # What was finished costs nothing more.
        assert here.good(MANIFESTS) - before == len(names)
    references = totals["references"]
    assert totals["interrupted"] is True
    assert 24 <= references["audited"] == finished <= 32
    assert references["failed"] == 0
    first, last = (
        f"interrupted: {finished} of {references['asked']} references audited",
        f"progress saved in {tmp_path}/out.shards; continue with --resume",
    )
    assert any(line.startswith(first) for line in done.messages)
    assert done.messages[-1] == last
    assert again.code == 0, again.stderr
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")
    assert not (tmp_path / "out.shards").exists()


async def test_a_run_with_a_failed_shard_has_the_summary_of_the_others(
    tmp_path: Path,
) -> None:
    async with demo() as (here, asked):
        shard_dir = LocalShardDir(tmp_path / "shards")
        run = sharded_run(here, tmp_path / "out", shard_dir, *asked, of=SHARDS)
        number = shard_of(here, "library/mysql").number or 0
        assert await run.run(LocalEngine(here, run, number)) is None
        whole = await report_to(here, tmp_path / "whole", *asked)
    totals = run.unfinished_summary()
    assert totals["interrupted"] is True
    assert not totals["references"]["all_listed"]
    assert run.without_summary == 1
    missing = sum(
        line.get("repository") == "library/mysql"
        for line in lines_of(tmp_path / "whole")
    )
    assert missing
    heads = [complete_report(shard_dir, shard) for shard in run.plan.shards]
    assert totals["references"]["asked"] == sum(
        head.summary["references"]["asked"] for head in heads if head is not None
    )
    assert totals["references"]["asked"] <= whole.summary.asked - missing
    first = summary_lines(totals)[0]
    assert first.startswith("interrupted: ")
    assert "still to do (listing not finished)" in first


async def test_a_run_interrupted_before_the_first_result_has_a_summary(
    tmp_path: Path,
) -> None:
    async with lab(simple(NAMES)) as here:
        shard_dir = LocalShardDir(tmp_path / "shards")
        run = sharded_run(here, tmp_path / "out", shard_dir, here.ref(NAMES[0]), of=2)
        totals = run.unfinished_summary()
    assert totals["references"]["asked"] == 0
    assert not totals["references"]["all_listed"]
    assert summary_lines(totals)[0].startswith("interrupted: 0 of 0 references audited")
    assert audit_metrics(totals)


async def test_a_signal_during_the_merge_keeps_the_shard_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with demo() as (here, asked):
        shard_dir = LocalShardDir(tmp_path / "shards")
        run = sharded_run(here, tmp_path / "out", shard_dir, *asked, of=SHARDS)
        stopped: list[signal.Signals] = []

        def interrupted(*arguments: Any) -> Iterator[bytes]:
            for number, record in enumerate(merge_records(*arguments)):
                if number == 2:
                    assert run.is_merging
                    run.stop(engine, signal.SIGTERM)
                yield record

        engine = LocalEngine(here, run)
        monkeypatch.setattr(engine, "stop", stopped.append)
        with monkeypatch.context() as patched:
            patched.setattr("auditor.scale.merge_shards.merge_records", interrupted)
            patched.setattr("auditor.report.writer.PIECE_BYTES", 1)
            assert await run.run(engine) is None
        assert stopped == [signal.SIGTERM]
        assert [path.name for path in tmp_path.iterdir()] == ["shards"]
        again = sharded_run(here, tmp_path / "out", shard_dir, *asked, of=SHARDS)
        again.settings = replace(again.settings, resume=True)
        engine = LocalEngine(here, again)
        assert await again.run(engine) is not None
        assert engine.audited == []
        await report_to(here, tmp_path / "whole", *asked)
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


async def _merged_and_killed(
    run: ShardedRun, here: Lab, *, renamed: bool, removed: int
) -> None:
    """Audit and merge; a kill before or after the rename leaves shards behind."""

    class KilledError(Exception):
        pass

    def killed(*_: object) -> None:
        raise KilledError

    def removed_some() -> None:
        for shard in run.plan.shards[:removed]:
            run.shard_dir.discard(shard)
        raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        if renamed:
            patch.setattr(run.shard_dir, "remove", removed_some)
        else:
            patch.setattr("auditor.scale.merge_shards.replace_durably", killed)
        with pytest.raises(KilledError):
            await run.run(LocalEngine(here, run))


@pytest.mark.parametrize("store", [LocalShardDir, RemoteShardDir])
@pytest.mark.parametrize(
    ("renamed", "removed", "later_s", "again"),
    [
        pytest.param(False, 0, 60, 0, id="before_the_rename"),
        pytest.param(False, 0, 24 * 3600, SHARDS, id="before_it_the_next_night"),
        pytest.param(True, 0, 60, SHARDS, id="after_the_rename"),
        pytest.param(True, 2, 60, SHARDS, id="while_shards_are_removed"),
        pytest.param(True, 0, 24 * 3600, SHARDS, id="after_it_the_next_night"),
    ],
)
async def test_the_shards_of_a_published_report_are_never_merged_again(
    store: Any, renamed: bool, removed: int, later_s: int, again: int, tmp_path: Path
) -> None:
    place = tmp_path / "shards"
    async with lab(simple(NAMES)) as here:
        asked = [here.ref("team/*:*")]

        def run_of(**changes: Any) -> ShardedRun:
            shard_dir = store(place if store is LocalShardDir else str(place))
            run = sharded_run(here, tmp_path / "out", shard_dir, *asked, of=SHARDS)
            run.settings = replace(run.settings, **changes)
            return run

        await _merged_and_killed(run_of(), here, renamed=renamed, removed=removed)
        here.content.add("team/a-1", image("moved"), "1")
        here.clock.now += later_s
        run = run_of(resume=True)
        engine = LocalEngine(here, run)
        assert await run.run(engine) is not None
        assert len(engine.audited) == again
        if again:
            await report_to(here, tmp_path / "whole", *asked)
            assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")
    assert not place.exists()


async def test_a_shard_with_failures_is_audited_again_if_failures_are_retried(
    tmp_path: Path,
) -> None:
    async with lab(simple(NAMES)) as here:
        shard_dir = LocalShardDir(tmp_path / "shards")
        gone = here.ref("team/a-1:gone")
        asked = [here.ref("team/*:*"), gone]
        run = sharded_run(here, tmp_path / "out", shard_dir, *asked, of=SHARDS)
        assert await run.run(LocalEngine(here, run, 4)) is None
        again = sharded_run(here, tmp_path / "out", shard_dir, *asked, of=SHARDS)
        again.settings = replace(again.settings, resume=True, retry_failed=True)
        engine = LocalEngine(here, again)
        assert await again.run(engine) is not None
        home = next(
            number
            for number in range(1, SHARDS + 1)
            if Shard(number=number, of=SHARDS).takes(here.host, "team/a-1")
        )
    assert engine.audited == sorted({home, 4})


async def test_the_command_audits_with_processes(tmp_path: Path) -> None:
    async with lab(DemoContent.of(demo_images())) as here:
        asked = here.ref("library/mysql:*"), here.ref("library/ubuntu:*")
        await report_to(here, tmp_path / "whole", *asked, "-bad-")
        done = await auditor(
            *("audit", "--no-cache", "--processes", "2", "-o", "out"),
            *("--summary", "sum.json", "-f", "-"),
            stdin="\n".join([*asked, "-bad-"]).encode(),
            place=tmp_path,
        )
    assert done.code == 1
    merged, expected = lines_of(tmp_path / "out"), lines_of(tmp_path / "whole")
    assert merged[:-1] == expected[:-1]
    assert merged[-1]["failure"] == expected[-1]["failure"] == "invalid_reference"
    summary = orjson.loads((tmp_path / "sum.json").read_bytes())
    assert summary["references"]["asked"] == len(merged)
    (host,) = summary["hosts"]
    assert host["most"] == host["runs"] * DEFAULT_MOST // 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "sum.json", "whole"]


async def test_processes_end_with_their_parent(tmp_path: Path) -> None:
    """SIGKILL takes the run away, which cannot pass anything on any more."""
    # No two repositories have a manifest in common, for which both would wait.
    names = [f"team/app{n % 8}:{n}" for n in range(64)]
    async with lab(simple(names)) as here:
        asked = tuple(map(here.ref, names))
        await report_to(here, tmp_path / "whole", *asked)
        done = len(here.faults.log)
        rule = here.faults.on("GET", MANIFESTS, Hold(), skip=8, forever=True)
        arguments = ("audit", "--processes", "2", "-o", "out", "--resume", *asked)

        def held() -> list[bool]:
            """Of each request that is held, whether its client has gone."""
            log = here.faults.log[done:]
            return [one.ended is not None for one in log if one.fault is not None]

        async with running(*arguments, place=tmp_path) as process:
            await here.faults.until(lambda: len(held()) >= 4)
            process.send_signal(signal.SIGKILL)
            assert await process.wait() == -signal.SIGKILL
            await here.faults.until(lambda: all(held()))
        here.faults.rules.remove(rule)
        again = await auditor(*arguments, place=tmp_path)
    assert again.code == 0, again.stderr
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


async def test_a_cluster_that_loses_a_worker_writes_the_complete_report(
    tmp_path: Path,
) -> None:
    async with demo() as (here, asked):
        await report_to(here, tmp_path / "whole", *asked)
        with cluster(tmp_path, workers=2) as machines:
            shard_dir = RemoteShardDir(str(tmp_path / "shards"))
            run = sharded_run(here, tmp_path / "out", shard_dir, *asked, of=SHARDS)
            gate = Gate()
            before = here.faults.count("GET", MANIFESTS)
            here.faults.on("GET", MANIFESTS, Hold(gate), skip=before + 30, forever=True)

            def kill() -> None:
                machines.kill_one()
                gate.open()

            engine = await anyio.to_thread.run_sync(DaskEngine, machines.scheduler)
            with engine:
                assert engine.workers == 2
                engine.task = ShardTask(
                    flags=FLAGS,
                    references=asked,
                    lists=(),
                    expected_settings=sharded_run_settings(run.settings),
                    shard_dir=shard_dir.place,
                    runs_at_once=2,
                )
                run.plan = ShardPlan(shards=run.plan.shards, at_once=2)
                async with here.when(
                    lambda: here.faults.count("GET", MANIFESTS) > before + 30, kill
                ):
                    summary = await run.run(engine)
    assert summary is not None, run.failed
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")
    assert not (tmp_path / "shards").exists()


async def test_a_second_signal_does_not_wait_for_workers(
    tmp_path: Path,
) -> None:
    async with demo() as (here, asked):
        with cluster(tmp_path, workers=1) as machines:
            shard_dir = RemoteShardDir(str(tmp_path / "shards"))
            run = sharded_run(here, tmp_path / "out", shard_dir, *asked, of=1)
            gate = Gate()
            here.faults.on("GET", MANIFESTS, Hold(gate), forever=True)
            engine = await anyio.to_thread.run_sync(DaskEngine, machines.scheduler)
            engine.task = ShardTask(
                flags=FLAGS,
                references=asked,
                lists=(),
                expected_settings=sharded_run_settings(run.settings),
                shard_dir=shard_dir.place,
                runs_at_once=1,
            )

            def stop_twice() -> None:
                for _ in range(2):
                    run.stop(engine, signal.SIGTERM)

            with anyio.fail_after(PATIENCE_S), engine:
                async with here.when(lambda: gate.waiting > 0, stop_twice):
                    assert await run.run(engine) is None
    assert not run.failed


async def test_a_shard_to_standard_output_warns_that_it_cannot_be_merged(
    tmp_path: Path,
) -> None:
    async with lab(simple(NAMES)) as here:
        asked = map(here.ref, NAMES)
        done = await auditor("audit", "--shard", "1/2", *asked, place=tmp_path)
    assert done.code == 0
    assert done.messages[0] == (
        "shard 1/2: its report is not a file and gets no shard file, so that auditor"
        " merge cannot merge it; write it with -o FILE"
    )
    assert all(line["kind"] == "image" for line in done.lines)


async def test_dask_without_a_scheduler_is_an_error(tmp_path: Path) -> None:
    done = await auditor(
        *("audit", "--engine", "dask", "-o", "out", "localhost:1/a:1"), place=tmp_path
    )
    assert (done.code, done.messages) == (
        ExitCode.USAGE,
        ["--engine dask: needs the address of the cluster; add --scheduler"],
    )


async def test_more_shards_are_merged_than_the_limit_of_open_files(
    tmp_path: Path,
) -> None:
    names = await four_shard_reports(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (tmp_path / "highest").open("wb") as highest:
        few = highest.fileno() + 2 * SHARDS
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
    try:
        await merge_shards(names, str(tmp_path / "out"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(lines_of(tmp_path / "out")) > 1


async def test_a_shard_report_is_not_overwritten_by_the_merge(tmp_path: Path) -> None:
    names = await four_shard_reports(tmp_path)
    (tmp_path / "link").symlink_to(names[1])
    for output in (names[1], str(tmp_path / "link")):
        before = Path(names[1]).read_bytes()
        with pytest.raises(UsageError) as caught:
            await merge_shards(names, output)
        assert str(caught.value) == f"--output: {output} is the report of a shard"
        assert Path(names[1]).read_bytes() == before


def test_a_run_without_shards_is_not_resumed_by_a_sharded_run(
    tmp_path: Path,
) -> None:
    settings, clock = Settings(output=str(tmp_path / "out")), FakeClock()
    partial = tmp_path / "out.partial"
    partial.write_bytes(b'{"schema":1}\n')
    with (
        pytest.raises(UsageError, match=r"out\.partial is from a run without shards"),
        lock_output(replace(settings, resume=True), clock),
    ):
        pass
    with lock_output(settings, clock):
        pass
    assert partial.exists(), "the report is not whole"
    with lock_output(settings, clock) as output:
        output.is_complete = True
    assert list(tmp_path.iterdir()) == []
    with lock_output(replace(settings, resume=True), clock):
        pass


@pytest.mark.parametrize("partial", [None, b"", b'{"schema":1}\n'])
def test_an_empty_journal_of_a_killed_run_is_removed(
    tmp_path: Path, partial: bytes | None
) -> None:
    settings, clock = Settings(output=str(tmp_path / "out")), FakeClock()
    journal = tmp_path / "out.journal"
    with lock_output(settings, clock):
        killed = journal.read_bytes()
    assert killed
    journal.write_bytes(killed)
    if partial is not None:
        (tmp_path / "out.partial").write_bytes(partial)
    with lock_output(settings, clock):
        pass
    assert journal.exists() is bool(partial)
