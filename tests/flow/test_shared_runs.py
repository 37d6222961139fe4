"""One audit by several: shares merged, processes, a cluster. Always the same report."""

from __future__ import annotations

import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from aiohttp import web

from auditor.audit.run import AuditRun
from auditor.config import Settings, sharded_run_settings
from auditor.demo.demo import demo_images, demo_tokens
from auditor.demo.registry import Content
from auditor.demo.tokens import Account
from auditor.errors import ExitCode, UsageError
from auditor.model import Order, Shape
from auditor.report.journal import Journal
from auditor.report.merge import merge_records
from auditor.report.metrics import audit_metrics
from auditor.report.summary_text import summary_lines
from auditor.report.writer import Report
from auditor.scale.dask import Cluster, PartOrder
from auditor.scale.parts import PartFolder, PartStore, whole_part
from auditor.scale.processes import Plan, Processes, Share, plan
from auditor.scale.shared_run import SharedRun, join, output_locked
from auditor.util.shard import Shard
from tests.flow.cluster import cluster
from tests.flow.commands import auditor, finish, running
from tests.flow.harness import MANIFESTS, PATIENCE_S, FakeClock, Lab, lab, simple
from tests.flow.reporting import lines_of, report_to
from tests.support.fault_actions import Gate, Hold

pytestmark = pytest.mark.anyio

NOBODY = Account("", "")
FLAGS: dict[str, Any] = {"no_cache": True, "docker_config": False}
SHARES = 4
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
        Content.of(demo_images()), tokens=demo_tokens(), login=NOBODY, routes=no_api
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


def share_of(here: Lab, repository: str) -> Shard:
    """The share that a repository is in."""
    return next(
        shard
        for shard in (Shard(number=n, of=SHARES) for n in range(1, SHARES + 1))
        if shard.takes(here.host, repository)
    )


async def shares_of(
    here: Lab, folder: Path, *references: str, **changes: Any
) -> list[str]:
    names = []
    for number in range(1, SHARES + 1):
        part = folder / f"part-{number}"
        shard = Shard(number=number, of=SHARES)
        await report_to(here, part, *references, shard=shard, **changes)
        names.append(str(part))
    return names


@pytest.mark.parametrize("shape", Shape)
async def test_merged_shares_are_the_report_line_by_line(
    shape: Shape, tmp_path: Path
) -> None:
    async with demo() as (here, asked):
        whole = await report_to(here, tmp_path / "whole", *asked, shape=shape)
        names = await shares_of(here, tmp_path, *asked, shape=shape)
    summary = await join(
        [names[2], names[0], names[3], names[1]], str(tmp_path / "out")
    )
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")
    told = whole.summary.to_json()
    assert told["references"]["failed"] > 1
    assert summary["references"] == told["references"]
    assert {k: one["count"] for k, one in summary["failures"].items()} == {
        k: one["count"] for k, one in told["failures"].items()
    }
    assert summary["architectures"] == pytest.approx(told["architectures"])
    assert summary["requests"]["manifest"] == told["requests"]["manifest"]
    assert not list(tmp_path.glob("out.*")), "something is left behind"


async def test_a_pattern_for_which_no_share_has_a_tag_is_told(tmp_path: Path) -> None:
    async with lab(simple(NAMES)) as here:
        asked = (here.ref("team/a*:nothing"), here.ref("team/*:3"))
        whole = await report_to(here, tmp_path / "whole", *asked)
        names = await shares_of(here, tmp_path, *asked)
    summary = await join(names, str(tmp_path / "out"))
    *images, failure = lines_of(tmp_path / "out")
    assert [failure, *images] == lines_of(tmp_path / "whole")
    assert failure["failure"] == "not_found"
    told = whole.summary.to_json()
    for key in ("references", "failures", "listings"):
        assert summary[key] == told[key]


async def test_what_was_listed_is_told_as_by_one_process(tmp_path: Path) -> None:
    async with lab(simple(NAMES)) as here:
        asked = here.ref("**:*")
        rules: dict[str, Any] = {
            "include": ("[12]",),
            "exclude_repositories": ("team/b*",),
        }
        whole = await report_to(here, tmp_path / "whole", asked, **rules)
        names = await shares_of(here, tmp_path, asked, **rules)
    summary = await join(names, str(tmp_path / "out"))
    told = whole.summary.to_json()
    assert summary["listings"] == told["listings"]
    assert summary["lists"]["repositories"] == told["lists"]["repositories"]
    told_of_lists = [
        line for line in summary_lines(told)
        if "listings of" in line or "filtered out" in line
    ]  # fmt: skip
    assert len(told_of_lists) == 4
    assert [one for one in summary_lines(summary) if one in told_of_lists] == (
        told_of_lists
    )


async def test_shares_in_the_order_of_completion_hold_the_same(tmp_path: Path) -> None:
    async with demo() as (here, asked):
        await report_to(here, tmp_path / "whole", *asked)
        names = await shares_of(here, tmp_path, *asked, order=Order.COMPLETION)
    await join(names, str(tmp_path / "out"))

    def by_reference(name: str) -> list[bytes]:
        return sorted(orjson.dumps(line) for line in lines_of(tmp_path / name))

    assert by_reference("out") == by_reference("whole")


async def test_a_share_that_was_resumed_merges_as_if_nothing_had_been(
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
        shard = share_of(here, "library/mysql")
        part = tmp_path / f"part-{shard.number}"
        cut = await report_to(here, part, *asked, shard=shard, meanwhile=stopped)
        assert cut.summary.interrupted
        assert not part.exists()
        names = await shares_of(here, tmp_path, *asked, resume=True)
    await join(names, str(tmp_path / "out"))
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


async def test_what_since_leaves_out_leaves_no_gap(tmp_path: Path) -> None:
    async with demo() as (here, asked):
        since: dict[str, Any] = {"since": "2999-01-01", "image_config": "always"}
        whole = await report_to(here, tmp_path / "whole", *asked, **since)
        names = await shares_of(here, tmp_path, *asked, **since)
    assert whole.summary.tally.filtered
    await join(names, str(tmp_path / "out"))
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


async def part_files(tmp_path: Path) -> list[str]:
    async with lab(Content.of(demo_images())) as here:
        return await shares_of(here, tmp_path, here.ref("library/mysql:*"))


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
    "{0}.shard: no such file: {0} is not the whole report of a share (audit --shard"
    " leaves one beside it)":
        lambda names: Path(names[0] + ".shard").unlink(),
    "{2}: no such file":
        lambda names: Path(names[2]).unlink(),
}  # fmt: skip


@pytest.mark.parametrize(("said", "change"), REFUSED.items())
async def test_what_is_not_one_whole_audit_is_not_merged(
    said: str, change: Callable[[list[str]], Any], tmp_path: Path
) -> None:
    names = await part_files(tmp_path)
    said = said.format(*names)
    change(names)
    with pytest.raises(UsageError) as caught:
        await join(names, str(tmp_path / "out"))
    assert str(caught.value) == said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("add", [b"", b'{"kind":"image","reference":"a"}\n'])
async def test_a_part_that_was_changed_is_not_merged(
    add: bytes, tmp_path: Path
) -> None:
    names = await part_files(tmp_path)
    full = next(name for name in names if Path(name).stat().st_size)
    if add:
        Path(full).write_bytes(Path(full).read_bytes() + add)
    else:
        cut(full)
    with pytest.raises(UsageError, match="does not match its shard file"):
        await join(names, str(tmp_path / "out"))


async def test_shares_of_other_settings_are_no_audit(tmp_path: Path) -> None:
    async with lab(Content.of(demo_images())) as here:
        asked = here.ref("library/mysql:*")
        names = await shares_of(here, tmp_path, asked)
        shard = Shard(number=1, of=SHARES)
        other = tmp_path / "part-1"
        await report_to(here, other, asked, shard=shard, image_config="never")
    with pytest.raises(UsageError, match=r"made with other settings \(image_config\)"):
        await join(names, str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exclude": ("*-*",)}, r"with other settings \(exclude\)"),
        ({"latest": 2}, r"with other settings \(latest\)"),
        ({"order": Order.COMPLETION}, r"with other settings \(order\)"),
        ({"references": ("library/mysql:8*",)}, "of other references or lists"),
        (
            {"references": ("library/mysql:*", "library/a:1")},
            "of other references or lists",
        ),
    ],
)
async def test_shares_of_another_selection_are_no_audit(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    asked = changes.pop("references", ("library/mysql:*",))
    async with lab(Content.of(demo_images())) as here:
        names = await shares_of(here, tmp_path, here.ref("library/mysql:*"))
        shard = Shard(number=2, of=SHARES)
        references = map(here.ref, asked)
        await report_to(here, Path(names[1]), *references, shard=shard, **changes)
    with pytest.raises(UsageError, match=said):
        await join(names, str(tmp_path / "out"))


async def test_shares_that_a_deadline_cut_short_are_merged(tmp_path: Path) -> None:
    @asynccontextmanager
    async def over(run: AuditRun, report: Report) -> AsyncIterator[None]:
        run.expire()
        yield

    path = tmp_path / "list"
    async with demo() as (here, asked):
        path.write_text("\n".join(asked))
        names = await shares_of(here, tmp_path, lists=(str(path),))
        whole = await report_to(here, tmp_path / "whole", lists=(str(path),))
        shard = share_of(here, "library/mysql")
        cut = tmp_path / f"part-{shard.number}"
        await report_to(here, cut, lists=(str(path),), shard=shard, meanwhile=over)
    summary = await join(names, str(tmp_path / "out"))
    assert summary["deadline_reached"]
    assert whole.summary.tally.audited > summary["references"]["audited"]


async def test_the_commands_make_and_merge_shares(tmp_path: Path) -> None:
    async with lab(Content.of(demo_images())) as here:
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

    def told(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**line, "audited_at": None} for line in lines]

    assert told(done.lines) == told(whole.lines)
    summary = orjson.loads((tmp_path / "sum.json").read_bytes())
    assert summary["references"]["audited"] == len(whole.lines)


# -- engines -------------------------------------------------------------------


def shared(
    here: Lab, output: Path, parts: PartFolder | PartStore, *asked: str, of: int
) -> SharedRun:
    settings = Settings(
        references=asked, output=str(output), docker_config=False, no_cache=True
    )
    said: list[str] = []
    return SharedRun(
        settings=settings,
        plan=plan(settings, workers=of),
        parts=parts,
        tell=said.append,
        clock=here.clock,
    )


class Here:
    """An engine in this process. Leaves out the shares in `fails`."""

    def __init__(self, here: Lab, run: SharedRun, *fails: int) -> None:
        self._here = here
        self._run = run
        self._fails = fails
        self.audited: list[int] = []

    async def run(self, plan: Plan, ended: Callable[[Share], None]) -> None:
        settings, parts = self._run.settings, self._run.parts
        for shard in plan.shards:
            code = ExitCode.OUTPUT
            if shard.number not in self._fails:
                self.audited.append(shard.number or 0)
                await report_to(
                    self._here,
                    Path(parts.name(shard)),
                    *settings.references,
                    lists=settings.lists,
                    exclude=settings.exclude,
                    shard=shard,
                )
                code = ExitCode.OK
            ended(Share(shard=shard, code=code))

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
async def test_whole_shares_are_taken_up_only_for_the_same_input_and_selection(
    line: str, exclude: tuple[str, ...], again: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "list"
    async with demo() as (here, asked):

        def run_of(**changes: Any) -> SharedRun:
            run = shared(here, tmp_path / "out", parts, *asked[1:4], of=SHARES)
            run.settings = replace(run.settings, lists=(str(path),), **changes)
            return run

        parts = PartFolder(tmp_path / "parts")
        path.write_text(here.ref("library/mysql:*"))
        first = run_of()
        assert await first.run(Here(here, first, 2)) is None
        path.write_text("\n".join(map(here.ref, line.split("\n"))))
        run = run_of(resume=True, exclude=exclude)
        engine = Here(here, run)
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
    ("damage", "store"), [(Path.unlink, PartFolder), (cut, PartStore)]
)
async def test_a_part_that_is_damaged_is_audited_again(
    damage: Callable[[Path], Any], store: Any, tmp_path: Path
) -> None:
    place = tmp_path / "parts"
    async with demo() as (here, asked):
        parts = store(place if store is PartFolder else str(place))
        first = shared(here, tmp_path / "out", parts, *asked, of=SHARES)
        damaged = share_of(here, "library/mysql")
        number = damaged.number or 0
        fails = 1 + number % SHARES
        assert await first.run(Here(here, first, fails)) is None
        damage(Path(parts.name(damaged)))
        run = shared(here, tmp_path / "out", parts, *asked, of=SHARES)
        run.settings = replace(run.settings, resume=True)
        engine = Here(here, run)
        assert await run.run(engine) is not None
        await report_to(here, tmp_path / "whole", *asked)
    assert engine.audited == sorted([fails, number])
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


async def test_a_process_that_is_killed_goes_on_where_it_stopped(
    tmp_path: Path,
) -> None:
    async with demo() as (here, asked):
        await report_to(here, tmp_path / "whole", *asked)
        parts = PartFolder(tmp_path / "parts")
        run = shared(here, tmp_path / "out", parts, *asked, of=2)
        engine = Processes(
            flags={**FLAGS, "references": asked}, report=parts.path, tell=run.tell
        )
        gate = Gate()
        before = here.faults.count("GET", MANIFESTS)
        here.faults.on("GET", MANIFESTS, Hold(gate), skip=before + 30, forever=True)

        def kill() -> None:
            process = next(iter(engine.running))
            process.send_signal(signal.SIGKILL)
            gate.open()

        async with here.when(
            lambda: here.faults.count("GET", MANIFESTS) > before + 30, kill
        ):
            summary = await run.run(engine)
    assert summary is not None
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")
    assert not (tmp_path / "parts").exists()


async def test_a_share_that_is_still_locked_is_audited_a_little_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a process of a run that was killed, which ends as soon as it can."""
    async with demo() as (here, asked):
        await report_to(here, tmp_path / "whole", *asked)
        parts = PartFolder(tmp_path / "parts")
        run = shared(here, tmp_path / "out", parts, *asked, of=2)
        engine = Processes(
            flags={**FLAGS, "references": asked}, report=parts.path, tell=run.tell
        )
        part = parts.path(run.plan.shards[0])
        with ExitStack() as left:
            journal = part.with_name(part.name + ".journal")
            left.enter_context(Journal(journal, output=part.name))

            async def it_ends(_: float) -> None:
                left.close()

            monkeypatch.setattr("auditor.scale.processes.anyio.sleep", it_ends)
            assert await run.run(engine) is not None
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


async def test_processes_that_are_interrupted_can_be_resumed(tmp_path: Path) -> None:
    async with demo() as (here, asked):
        await report_to(here, tmp_path / "whole", *asked)
        flags = {**FLAGS, "references": asked}
        parts = PartFolder(tmp_path / "parts")
        run = shared(here, tmp_path / "out", parts, *asked, of=2)
        engine = Processes(flags=flags, report=parts.path, tell=run.tell)
        before = here.faults.count("GET", MANIFESTS)
        async with here.when(
            lambda: here.faults.count("GET", MANIFESTS) > before + 20,
            lambda: run.stop(engine, signal.SIGTERM),
        ):
            assert await run.run(engine) is None
        # Which does not listen yet is ended by the signal itself.
        codes = {ExitCode.TERMINATED, -signal.SIGTERM}
        assert {share.code for share in run.failed} <= codes
        assert not (tmp_path / "out").exists()
        again = shared(here, tmp_path / "out", parts, *asked, of=2)
        again.settings = Settings(**{
            **{name: getattr(run.settings, name) for name in Settings.__slots__},
            "resume": True,
        })  # fmt: skip
        engine = Processes(flags=flags, report=parts.path, tell=again.tell)
        assert await again.run(engine) is not None
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


async def test_a_run_that_is_interrupted_says_what_it_has_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    names = [f"team/app{n % 8}:{n}" for n in range(64)]
    summary, metrics = tmp_path / "sum.json", tmp_path / "run.prom"
    async with lab(simple(names)) as here:
        asked = tuple(map(here.ref, names))
        await report_to(here, tmp_path / "whole", *asked)
        before = here.good(MANIFESTS)
        gate = Gate()
        # No share comes to its end: three tags of each repository are answered at
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
            said = b""
            while b"the shares finish what is under way" not in said:
                said += await process.stderr.receive()
            gate.open()
            done = await finish(process)
        for rule in rules:
            here.faults.rules.remove(rule)
        finished = here.good(MANIFESTS) - before
        assert done.code == ExitCode.INTERRUPTED
        told = orjson.loads(summary.read_bytes())
        assert 'auditor_run_complete{audit="run"} 0' in metrics.read_text()
        again = await auditor(*arguments, place=tmp_path)
        # What was finished costs nothing more.
        assert here.good(MANIFESTS) - before == len(names)
    references = told["references"]
    assert told["interrupted"] is True
    assert 24 <= references["audited"] == finished <= 32
    assert references["failed"] == 0
    first, last = (
        f"interrupted: {finished} of {references['asked']} references audited",
        f"what was finished is in {tmp_path}/out.shards; --resume goes on with the"
        " shares that are not whole",
    )
    assert any(line.startswith(first) for line in done.mistakes)
    assert done.mistakes[-1] == last
    assert again.code == 0, again.said
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")
    assert not (tmp_path / "out.shards").exists()


async def test_a_run_of_which_a_share_failed_says_what_the_others_have(
    tmp_path: Path,
) -> None:
    async with demo() as (here, asked):
        parts = PartFolder(tmp_path / "parts")
        run = shared(here, tmp_path / "out", parts, *asked, of=SHARES)
        number = share_of(here, "library/mysql").number or 0
        assert await run.run(Here(here, run, number)) is None
        whole = await report_to(here, tmp_path / "whole", *asked)
    told = run.so_far()
    assert told["interrupted"] is True
    assert not told["references"]["all_listed"]
    assert run.uncounted == 1
    missing = sum(
        line.get("repository") == "library/mysql"
        for line in lines_of(tmp_path / "whole")
    )
    assert missing
    heads = [whole_part(parts, shard) for shard in run.plan.shards]
    assert told["references"]["asked"] == sum(
        head.summary["references"]["asked"] for head in heads if head is not None
    )
    assert told["references"]["asked"] <= whole.summary.asked - missing
    first = summary_lines(told)[0]
    assert first.startswith("interrupted: ")
    assert "still to do (listing not finished)" in first


async def test_a_run_that_is_interrupted_before_anything_has_a_summary(
    tmp_path: Path,
) -> None:
    async with lab(simple(NAMES)) as here:
        parts = PartFolder(tmp_path / "parts")
        run = shared(here, tmp_path / "out", parts, here.ref(NAMES[0]), of=2)
        told = run.so_far()
    assert told["references"]["asked"] == 0
    assert not told["references"]["all_listed"]
    assert summary_lines(told)[0].startswith("interrupted: 0 of 0 references audited")
    assert audit_metrics(told)


async def test_parts_that_are_being_put_together_stay_parts_at_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with demo() as (here, asked):
        parts = PartFolder(tmp_path / "parts")
        run = shared(here, tmp_path / "out", parts, *asked, of=SHARES)
        stopped: list[signal.Signals] = []

        def interrupted(*arguments: Any) -> Iterator[bytes]:
            for number, record in enumerate(merge_records(*arguments)):
                if number == 2:
                    assert run.is_joining
                    run.stop(engine, signal.SIGTERM)
                yield record

        engine = Here(here, run)
        monkeypatch.setattr(engine, "stop", stopped.append)
        with monkeypatch.context() as patched:
            patched.setattr("auditor.scale.join.merged", interrupted)
            patched.setattr("auditor.report.jsonl.PIECE_BYTES", 1)
            assert await run.run(engine) is None
        assert stopped == [signal.SIGTERM]
        assert [path.name for path in tmp_path.iterdir()] == ["parts"]
        again = shared(here, tmp_path / "out", parts, *asked, of=SHARES)
        again.settings = replace(again.settings, resume=True)
        engine = Here(here, again)
        assert await again.run(engine) is not None
        assert engine.audited == []
        await report_to(here, tmp_path / "whole", *asked)
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


async def test_the_command_shares_a_run_out_over_processes(tmp_path: Path) -> None:
    async with lab(Content.of(demo_images())) as here:
        asked = here.ref("library/mysql:*"), here.ref("library/ubuntu:*")
        await report_to(here, tmp_path / "whole", *asked, "-bad-")
        done = await auditor(
            *("audit", "--no-cache", "--processes", "2", "-o", "out"),
            *("--summary", "sum.json", "-f", "-"),
            stdin="\n".join([*asked, "-bad-"]).encode(),
            place=tmp_path,
        )
    assert done.code == 1
    found, wanted = lines_of(tmp_path / "out"), lines_of(tmp_path / "whole")
    assert found[:-1] == wanted[:-1]
    assert found[-1]["failure"] == wanted[-1]["failure"] == "invalid_reference"
    summary = orjson.loads((tmp_path / "sum.json").read_bytes())
    assert summary["references"]["asked"] == len(found)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "sum.json", "whole"]


async def test_processes_end_with_what_started_them(tmp_path: Path) -> None:
    """SIGKILL takes the run away, which cannot pass anything on any more."""
    # None of these shares a manifest with another one, for which both would wait.
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
    assert again.code == 0, again.said
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


async def test_a_cluster_that_loses_a_worker_writes_the_whole_report(
    tmp_path: Path,
) -> None:
    async with demo() as (here, asked):
        await report_to(here, tmp_path / "whole", *asked)
        with cluster(tmp_path, workers=2) as machines:
            parts = PartStore(str(tmp_path / "parts"))
            run = shared(here, tmp_path / "out", parts, *asked, of=SHARES)
            gate = Gate()
            before = here.faults.count("GET", MANIFESTS)
            here.faults.on("GET", MANIFESTS, Hold(gate), skip=before + 30, forever=True)

            def kill() -> None:
                machines.kill_one()
                gate.open()

            engine = await anyio.to_thread.run_sync(Cluster, machines.scheduler)
            with engine:
                assert engine.workers == 2
                engine.order = PartOrder(
                    flags=FLAGS,
                    references=asked,
                    lists=(),
                    record_settings=sharded_run_settings(run.settings),
                    parts=parts.url,
                    runs_at_once=2,
                )
                run.plan = Plan(shards=run.plan.shards, at_once=2)
                async with here.when(
                    lambda: here.faults.count("GET", MANIFESTS) > before + 30, kill
                ):
                    summary = await run.run(engine)
    assert summary is not None, run.failed
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")
    assert not (tmp_path / "parts").exists()


async def test_a_second_signal_does_not_wait_for_what_workers_have_begun(
    tmp_path: Path,
) -> None:
    async with demo() as (here, asked):
        with cluster(tmp_path, workers=1) as machines:
            parts = PartStore(str(tmp_path / "parts"))
            run = shared(here, tmp_path / "out", parts, *asked, of=1)
            gate = Gate()
            here.faults.on("GET", MANIFESTS, Hold(gate), forever=True)
            engine = await anyio.to_thread.run_sync(Cluster, machines.scheduler)
            engine.order = PartOrder(
                flags=FLAGS,
                references=asked,
                lists=(),
                record_settings=sharded_run_settings(run.settings),
                parts=parts.url,
                runs_at_once=1,
            )

            def stop_twice() -> None:
                for _ in range(2):
                    run.stop(engine, signal.SIGTERM)

            with anyio.fail_after(PATIENCE_S), engine:
                async with here.when(lambda: gate.waiting > 0, stop_twice):
                    assert await run.run(engine) is None
    assert not run.failed


async def test_a_share_to_standard_output_says_that_it_cannot_be_merged(
    tmp_path: Path,
) -> None:
    async with lab(simple(NAMES)) as here:
        asked = map(here.ref, NAMES)
        done = await auditor("audit", "--shard", "1/2", *asked, place=tmp_path)
    assert done.code == 0
    assert done.mistakes[0] == (
        "share 1/2 goes where no shard file can stand beside it: auditor merge cannot"
        " take it (-o FILE leaves both)"
    )
    assert all(line["kind"] == "image" for line in done.lines)


async def test_a_scheduler_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = await auditor(
        *("audit", "--engine", "dask", "-o", "out", "localhost:1/a:1"), place=tmp_path
    )
    assert (done.code, done.mistakes) == (
        ExitCode.USAGE,
        ["--engine dask needs the address of a --scheduler"],
    )


async def test_more_parts_are_merged_than_files_may_be_open(tmp_path: Path) -> None:
    names = await part_files(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (tmp_path / "highest").open("wb") as highest:
        few = highest.fileno() + 2 * SHARES
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
    try:
        await join(names, str(tmp_path / "out"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(lines_of(tmp_path / "out")) > 1


async def test_a_part_is_not_written_over_by_the_whole(tmp_path: Path) -> None:
    names = await part_files(tmp_path)
    (tmp_path / "link").symlink_to(names[1])
    for output in (names[1], str(tmp_path / "link")):
        before = Path(names[1]).read_bytes()
        with pytest.raises(UsageError) as caught:
            await join(names, output)
        assert str(caught.value) == f"--output: {output} is one of the parts"
        assert Path(names[1]).read_bytes() == before


def test_what_a_run_of_one_process_left_is_resumed_by_one_or_begun_anew(
    tmp_path: Path,
) -> None:
    settings, clock = Settings(output=str(tmp_path / "out")), FakeClock()
    partial = tmp_path / "out.partial"
    partial.write_bytes(b'{"schema":1}\n')
    with (
        pytest.raises(
            UsageError, match=r"out\.partial was left by a run of one process"
        ),
        output_locked(replace(settings, resume=True), clock),
    ):
        pass
    with output_locked(settings, clock):
        pass
    assert partial.exists(), "the report is not whole"
    with output_locked(settings, clock) as output:
        output.is_whole = True
    assert list(tmp_path.iterdir()) == []
    with output_locked(replace(settings, resume=True), clock):
        pass


@pytest.mark.parametrize("partial", [None, b"", b'{"schema":1}\n'])
def test_what_a_killed_run_left_of_its_journal_is_taken_away_if_it_is_nothing(
    tmp_path: Path, partial: bytes | None
) -> None:
    settings, clock = Settings(output=str(tmp_path / "out")), FakeClock()
    journal = tmp_path / "out.journal"
    with output_locked(settings, clock):
        killed = journal.read_bytes()
    assert killed
    journal.write_bytes(killed)
    if partial is not None:
        (tmp_path / "out.partial").write_bytes(partial)
    with output_locked(settings, clock):
        pass
    assert journal.exists() is bool(partial)
