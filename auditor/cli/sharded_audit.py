"""`auditor audit --processes` and `--engine dask`."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from auditor.cli import early_signals
from auditor.cli.output import (
    notice_printer,
    print_message,
    print_summary,
    quit_now,
)
from auditor.cli.side_outputs import (
    SbomOutcome,
    check_sbom_settings,
    check_side_outputs,
    not_written,
    read_sboms,
    write_side_outputs,
)
from auditor.cli.signals import EXIT_CODES, NO_SBOMS, interrupted_text, receive_signals
from auditor.config import EngineName, Settings, sharded_run_settings
from auditor.errors import ExitCode, UsageError, unwrap_exception_group
from auditor.input.list_reader import STANDARD_INPUT
from auditor.input.lists import check_lists
from auditor.report.summary_text import (
    empty_input_sentence,
    next_commands,
    summary_lines,
)
from auditor.scale.process_engine import ProcessEngine
from auditor.scale.shard_dir import LocalShardDir, RemoteShardDir, ShardDir, is_url
from auditor.scale.sharded_run import (
    SHARDS_PER_WORKER,
    LockedOutput,
    ShardedRun,
    copy_stdin,
    lock_output,
    plan_shards,
    shard_dir_of,
    shard_flags,
)
from auditor.util.clock import SystemClock

if TYPE_CHECKING:
    from auditor.report.audit_table import AuditTable
    from auditor.scale.sharded_run import ShardEngine


async def audit_sharded(
    settings: Settings, flags: dict[str, Any], table: AuditTable | None = None
) -> int:
    """Audit with processes or on a cluster; return the exit code.

    The `table` is written in place of the report.
    """
    if settings.shard is not None:
        raise UsageError("--shard excludes --processes and --engine; remove one")
    if settings.cluster is not None:
        raise UsageError(
            "--cluster: each process would read another state of the cluster; remove"
            " --processes or --engine"
        )
    check_lists(settings)
    check_side_outputs(settings)
    check_sbom_settings(settings)
    clock = SystemClock()
    late_at_s = None
    if settings.deadline_s is not None:
        late_at_s = clock.monotonic() + settings.deadline_s
    for_shards = shard_flags(flags)
    if settings.sbom is not None:  # which is not for the shards
        for_shards["attachments"] = settings.attachments.value
    make = _with_processes
    if settings.engine is EngineName.DASK:
        if settings.scheduler is None:
            raise UsageError(
                "--engine dask: needs the address of the cluster; add --scheduler"
            )
        # Takes a second: now, while a signal still ends the program at once.
        import auditor.scale.dask_engine  # noqa: F401

        make = _with_dask
    with ExitStack() as signal_stack:
        with ExitStack() as stack:
            with early_signals.RaiseOnSignal():
                # First: an empty input must not change anything.
                stdin = _copy_stdin(settings, stack)
                output = stack.enter_context(lock_output(settings, clock))
                place = stack.enter_context(_shard_dir(settings))
                run, engine = make(settings, for_shards, place, stack, stdin)
                run.table = table
                # Until everything is written, and `stack` has removed its files.
                signals = signal_stack.enter_context(receive_signals())
            code = await _audit(run, engine, output, signals, late_at_s)
        return early_signals.exit_code(code)


async def _audit(
    run: ShardedRun,
    engine: ShardEngine,
    output: LockedOutput,
    signals: AsyncIterator[signal.Signals],
    late_at_s: float | None,
) -> int:
    interrupted: ExitCode | None = None

    async def watch() -> None:
        nonlocal interrupted
        async for number in signals:
            if run.is_merging:
                print_message(
                    f"interrupted by {number.name}: the shards are complete; continue"
                    " with --resume"
                )
            elif interrupted is None:
                action = "finishing the requests of the shards in flight"
                print_message(interrupted_text(number, action))
            interrupted = EXIT_CODES[number]
            run.stop(engine, number)

    with unwrap_exception_group():
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            summary = await run.run(engine)
            group.cancel_scope.cancel()
    output.is_complete = summary is not None
    totals = run.unfinished_summary() if summary is None else summary
    say = notice_printer(run.settings)
    failed = totals["references"]["failed"] > 0
    # The table has shown the failures.
    has_table = run.table is not None and summary is not None
    shown = {**totals, "failures": {}} if has_table else totals
    print_summary(run.settings, summary_lines(shown), failed=failed)
    if summary is None:
        _print_resume_hint(run)
    elif sentence := empty_input_sentence(summary):
        (say if run.settings.allow_empty else print_message)(sentence)
    elif sys.stderr.isatty() and totals["references"]["audited"]:
        for line in next_commands(run.settings.output):
            say(line)
    write_side_outputs(run.settings, totals)
    if summary is None:
        return interrupted or _failed_code(run)
    code: int = ExitCode.OK
    if run.settings.sbom is not None:
        outcome, ended_by = await _read_sboms(run.settings, signals, late_at_s)
        write_side_outputs(run.settings, {**totals, "sboms": outcome.counts.to_json()})
        code = outcome.exit_code() if ended_by is None else ended_by
    return ExitCode.FAILED if failed and code == ExitCode.OK else code


async def _read_sboms(
    settings: Settings,
    signals: AsyncIterator[signal.Signals],
    late_at_s: float | None,
) -> tuple[SbomOutcome, int | None]:
    """Read the SBOMs of the merged report; return the exit code of a signal, too.

    The shards have closed their registries, so these are opened once more.
    """
    from auditor.cache.digest_cache import open_cache
    from auditor.registry.registries import open_registries

    assert settings.sbom is not None
    outcome, interrupted = not_written(settings.sbom), None
    clock = SystemClock()

    async def watch(scope: anyio.CancelScope) -> None:
        nonlocal interrupted
        async for number in signals:
            if interrupted is not None:
                quit_now(EXIT_CODES[number])
            interrupted = EXIT_CODES[number]
            print_message(interrupted_text(number, NO_SBOMS))
            scope.cancel()

    with unwrap_exception_group():
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                group.start_soon(watch, scope)
                async with (
                    open_registries(settings, clock=clock) as registries,
                    open_cache(settings, now=clock.epoch) as cache,
                ):
                    outcome = await read_sboms(
                        settings,
                        registries=registries,
                        cache=cache,
                        late_at_s=late_at_s,
                    )
            group.cancel_scope.cancel()
    (print_message if outcome.failed else notice_printer(settings))(outcome.line)
    return outcome, interrupted


def _print_resume_hint(run: ShardedRun) -> None:
    settings = run.settings
    if run.without_summary:
        print_message(
            f"  {run.without_summary} of {len(run.plan.shards)} shards ended without a"
            " summary"
        )
    if settings.output == "-" and settings.shard_dir is None:
        print_message(
            "progress is not saved: add -o FILE or --shard-dir to be able to resume"
        )
        return
    print_message(f"progress saved in {shard_dir_of(settings)}; continue with --resume")


def _failed_code(run: ShardedRun) -> int:
    """The exit code of the first failed shard that was not killed."""
    codes = [result.code for result in run.failed if result.code > ExitCode.FAILED]
    return codes[0] if codes else ExitCode.OUTPUT


def _copy_stdin(settings: Settings, stack: ExitStack) -> Path | None:
    """A temporary copy of standard input if it is one of the lists."""
    if STANDARD_INPUT not in settings.lists:
        return None
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="auditor-input-"))
    return copy_stdin(settings, Path(folder))


@contextmanager
def _shard_dir(settings: Settings) -> Iterator[str]:
    if settings.output == "-" and settings.shard_dir is None:
        # A run that writes to standard output cannot be resumed.
        with tempfile.TemporaryDirectory(prefix="auditor-shards-") as folder:
            yield folder
        return
    place = shard_dir_of(settings)
    try:
        yield place
    finally:
        if settings.shard_dir is None:  # the default folder goes when it is empty
            with suppress(OSError):
                Path(place).rmdir()


def _make_run(
    settings: Settings, shard_dir: ShardDir, workers: int, per_worker: int
) -> ShardedRun:
    plan = plan_shards(settings, workers=workers, shards_per_worker=per_worker)
    return ShardedRun(
        settings=settings,
        plan=plan,
        shard_dir=shard_dir,
        notify=print_message,
        clock=SystemClock(),
    )


def _with_processes(
    settings: Settings,
    flags: dict[str, Any],
    place: str,
    stack: ExitStack,
    stdin: Path | None,
) -> tuple[ShardedRun, ShardEngine]:
    if is_url(place):
        raise UsageError("--shard-dir: must be a folder with --processes")
    shard_dir = LocalShardDir(Path(place))
    stack.enter_context(shard_dir.locked())
    if not settings.resume:
        shard_dir.clear()
    run = _make_run(settings, shard_dir, settings.processes, 1)
    if run.plan.at_once < settings.processes:
        notice_printer(settings)(
            f"using {run.plan.at_once} processes instead of {settings.processes}, to"
            " keep to --requests-at-once and --max-requests"
        )
    run.stdin = stdin
    engine = ProcessEngine(
        flags=flags,
        report_path=shard_dir.path,
        notify=print_message,
        stdin=run.stdin,
        deadline_s=settings.deadline_s,
        metrics=settings.metrics is not None,
    )
    return run, engine


def _with_dask(
    settings: Settings,
    flags: dict[str, Any],
    place: str,
    stack: ExitStack,
    stdin: Path | None,
) -> tuple[ShardedRun, ShardEngine]:
    assert settings.scheduler is not None
    from auditor.scale.dask_engine import DaskEngine, ShardTask

    shard_dir = RemoteShardDir(place)
    stack.enter_context(shard_dir.locked())
    if not settings.resume:
        shard_dir.clear()
    engine = stack.enter_context(DaskEngine(settings.scheduler))
    run = _make_run(settings, shard_dir, engine.workers, SHARDS_PER_WORKER)
    run.stdin = stdin
    engine.task = ShardTask(
        flags=flags,
        references=settings.references,
        lists=shard_dir.put_lists(settings.lists, stdin=run.stdin),
        expected_settings=sharded_run_settings(settings),
        shard_dir=shard_dir.place,
        runs_at_once=run.plan.runs_at_once,
        deadline_at=None
        if settings.deadline_s is None
        else run.clock.epoch() + settings.deadline_s,
    )
    return run, engine
