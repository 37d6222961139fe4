"""`auditor audit` where several share the run."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from auditor.cli import early_signals
from auditor.cli.main import say
from auditor.cli.side_outputs import check_beside, write_beside
from auditor.cli.signals import CODES, signals_heard
from auditor.config import EngineName, Settings, sharded_run_settings
from auditor.errors import ExitCode, UsageError, unwrap_exception_group
from auditor.input.lists import check_lists
from auditor.report.summary_text import EMPTY_INPUT, is_empty_input, summary_lines
from auditor.scale.parts import PartFolder, Parts, is_url
from auditor.scale.processes import SHARES_A_WORKER, Processes, flags_of_shares, plan
from auditor.scale.shared_run import (
    Output,
    SharedRun,
    output_locked,
    parts_place,
    spooled_input,
)
from auditor.util.clock import SystemClock

if TYPE_CHECKING:
    from auditor.scale.processes import Engine as Shares


async def shared_audit(settings: Settings, flags: dict[str, Any]) -> int:
    """Audit by processes or a cluster, tell a person; the exit code."""
    if settings.shard is not None:
        raise UsageError("--shard is a share already: give it or --processes, --engine")
    check_lists(settings)
    check_beside(settings)
    clock = SystemClock()
    make = _by_processes
    if settings.engine is EngineName.DASK:
        make = _on_cluster
        _load_dask(settings)
    with ExitStack() as listening:
        with ExitStack() as stack:
            with early_signals.PutAwayFirst():
                output = stack.enter_context(output_locked(settings, clock))
                place = stack.enter_context(_place(settings))
                run, engine = make(settings, flags_of_shares(flags), place, stack)
                # Until everything is written, and what was made is put away.
                signals = listening.enter_context(signals_heard())
            code = await _audited(run, engine, output, signals)
        return early_signals.decided(code)


async def _audited(
    run: SharedRun,
    engine: Shares,
    output: Output,
    signals: AsyncIterator[signal.Signals],
) -> int:
    interrupted: ExitCode | None = None

    async def watch() -> None:
        nonlocal interrupted
        async for number in signals:
            more = "" if interrupted else "; once more ends without it"
            interrupted = CODES[number]
            if run.is_joining:
                say(f"{number.name}: the shares are whole, and stay shares")
            else:
                say(f"{number.name}: the shares finish what is under way{more}")
            run.stop(engine, number)

    with unwrap_exception_group():
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            summary = await run.run(engine)
            if summary is None:
                code = interrupted or _code(run)
            else:
                failed = summary["references"]["failed"]
                code = ExitCode.FAILED if failed else ExitCode.OK
            group.cancel_scope.cancel()
    output.is_whole = summary is not None
    told = run.so_far() if summary is None else summary
    for line in summary_lines(told):
        say(line)
    if summary is None:
        _tell_way_on(run)
    elif is_empty_input(summary):
        say(EMPTY_INPUT)
    write_beside(run.settings, told)
    return code


def _tell_way_on(run: SharedRun) -> None:
    settings = run.settings
    if run.uncounted:
        say(
            f"  {run.uncounted} of {len(run.plan.shards)} shares ended before they"
            " could say what they came to"
        )
    if settings.output == "-" and settings.shard_dir is None:
        say(
            "nothing of it is kept: standard output has no place for parts"
            " (-o FILE or --shard-dir has)"
        )
        return
    say(
        f"what was finished is in {parts_place(settings)};"
        " --resume goes on with the shares that are not whole"
    )


def _code(run: SharedRun) -> int:
    """That of the first share that failed; killed ones have none of their own, and 0
    and 1 are those of runs with a whole report, which there is not."""
    codes = [share.code for share in run.failed if share.code > ExitCode.FAILED]
    return codes[0] if codes else ExitCode.OUTPUT


@contextmanager
def _place(settings: Settings) -> Iterator[str]:
    if settings.output == "-" and settings.shard_dir is None:
        # Nobody can resume a run that writes to standard output.
        with tempfile.TemporaryDirectory(prefix="auditor-parts-") as folder:
            yield folder
        return
    place = parts_place(settings)
    try:
        yield place
    finally:
        if settings.shard_dir is None:  # a folder of ours: gone, but for what is in it
            with suppress(OSError):
                Path(place).rmdir()


def _run(settings: Settings, parts: Parts, workers: int, shares: int) -> SharedRun:
    return SharedRun(
        settings=settings,
        plan=plan(settings, workers=workers, shares_a_worker=shares),
        parts=parts,
        tell=say,
        clock=SystemClock(),
    )


def _by_processes(
    settings: Settings, flags: dict[str, Any], place: str, stack: ExitStack
) -> tuple[SharedRun, Shares]:
    if is_url(place):
        raise UsageError("--shard-dir: a folder is wanted where processes share a run")
    parts = PartFolder(Path(place))
    stack.enter_context(parts.locked())
    if not settings.resume:
        parts.clear()
    run = _run(settings, parts, settings.processes, 1)
    if run.plan.at_once < settings.processes:
        say(
            f"{run.plan.at_once} processes and not {settings.processes}: no registry"
            " may be sent more requests than --requests-at-once and --max-requests say"
        )
    run.stdin = spooled_input(settings, parts.folder)
    engine = Processes(
        flags=flags,
        report=parts.path,
        tell=say,
        stdin=run.stdin,
        deadline_s=settings.deadline_s,
        metrics=settings.metrics is not None,
    )
    return run, engine


def _deadline_at(settings: Settings) -> float | None:
    """When the run's time is up, in epoch seconds."""
    if settings.deadline_s is None:
        return None
    return SystemClock().epoch() + settings.deadline_s


def _load_dask(settings: Settings) -> None:
    """Import what takes a second, while a signal still ends that at once."""
    if settings.scheduler is None:
        raise UsageError("--engine dask needs the address of a --scheduler")
    import auditor.scale.parts  # noqa: F401


def _on_cluster(
    settings: Settings, flags: dict[str, Any], place: str, stack: ExitStack
) -> tuple[SharedRun, Shares]:
    assert settings.scheduler is not None
    from auditor.scale.dask import Cluster, PartOrder
    from auditor.scale.parts import PartStore

    parts = PartStore(place)
    stack.enter_context(parts.locked())
    if not settings.resume:
        parts.clear()
    cluster = stack.enter_context(Cluster(settings.scheduler))
    run = _run(settings, parts, cluster.workers, SHARES_A_WORKER)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="auditor-input-"))
    run.stdin = spooled_input(settings, Path(folder))
    cluster.order = PartOrder(
        flags=flags,
        references=settings.references,
        lists=parts.put_lists(settings.lists, stdin=run.stdin),
        record_settings=sharded_run_settings(settings),
        parts=parts.url,
        runs_at_once=run.plan.runs_at_once,
        deadline_at=_deadline_at(settings),
    )
    return run, cluster
