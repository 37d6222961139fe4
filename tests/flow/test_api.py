"""`auditor.audit_references(...)`: the records for programs."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

import anyio
import pytest

import auditor
from auditor.errors import UsageError
from tests.flow.harness import ADMIN, PATIENCE_S, lab, service, simple
from tests.support.fault_actions import Answer, Hold

pytestmark = pytest.mark.anyio

NAMES = [f"team/app:{number}" for number in range(30)]


def _tasks() -> set[asyncio.Task[object]]:
    return {one for one in asyncio.all_tasks() if not one.done()}


def _of_the_audit(tasks: set[asyncio.Task[object]]) -> set[asyncio.Task[object]]:
    """The tasks other than those of the registry."""
    return {one for one in tasks if "RequestHandler" not in repr(one)}


async def test_one_record_per_reference_is_yielded_in_order() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "*/manifests/7", Answer(404))
        found = [
            record async for record in auditor.audit_references(map(here.ref, NAMES))
        ]
    assert [record.reference for record in found] == list(map(here.ref, NAMES))
    kinds = [record.kind for record in found]
    assert kinds.count("failure") == 1
    failure = found[7]
    assert isinstance(failure, auditor.FailureRecord)
    assert failure.failure is auditor.FailureKind.NOT_FOUND


async def test_settings_are_used(tmp_path: Path) -> None:
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens) as here:
        tokens.clock = time.time
        (tmp_path / "list.txt").write_text(here.ref(NAMES[2]))
        settings = auditor.Settings(
            references=(here.ref(NAMES[1]),),
            lists=(str(tmp_path / "list.txt"),),
            docker_config=False,
            registries={
                here.host: auditor.RegistrySettings(
                    username=ADMIN.name, password=auditor.Secret(ADMIN.password)
                )
            },
        )
        found = [
            record
            async for record in auditor.audit_references(
                [here.ref(NAMES[0])], settings=settings
            )
        ]
    assert [record.reference for record in found] == list(map(here.ref, NAMES[:3]))
    assert {record.kind for record in found} == {"image"}


async def test_closing_early_leaves_no_task_and_no_connection() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "*/manifests/9", Hold())  # for ever
        before = _tasks()
        records = auditor.audit_references(map(here.ref, NAMES))
        first = await anext(records)
        assert first.reference == here.ref(NAMES[0])
        with anyio.fail_after(PATIENCE_S):
            await records.aclose()  # type: ignore[attr-defined]
            # The server notices that its clients are gone.
            await here.faults.until(
                lambda: all(one.ended is not None for one in here.faults.log)
            )
        assert _of_the_audit(_tasks() - before) == set()


async def test_the_generator_may_be_closed_by_another_task() -> None:
    async with lab(simple(NAMES)) as here:
        before = _tasks()
        records = auditor.audit_references(map(here.ref, NAMES))
        async for _ in records:
            break
        await asyncio.create_task(records.aclose())  # type: ignore[attr-defined]
        assert _of_the_audit(_tasks() - before) == set()


async def test_a_cancelled_consumer_ends_the_audit() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "*/manifests/0", Hold())

        async def consume() -> None:
            async for _ in auditor.audit_references(map(here.ref, NAMES)):
                pass

        consumer = asyncio.create_task(consume())
        await here.faults.until(lambda: here.good("*/blobs/*") > 0)
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer


async def test_a_slow_consumer_limits_how_far_the_audit_runs_ahead() -> None:
    async with lab(simple(f"app:{number}" for number in range(200))) as here:
        settings = auditor.Settings(workers=2, window=4, docker_config=False)
        references = [here.ref(f"app:{number}") for number in range(200)]
        records = auditor.audit_references(references, settings=settings)
        await anext(records)
        # A consumer that does nothing: the audit comes to a stop by itself.
        seen = -1
        while seen != len(here.faults.log):
            seen = len(here.faults.log)
            for _ in range(500):
                await anyio.lowlevel.checkpoint()
        # Two records wait in the stream, four in the window, two are being made.
        assert here.faults.count("GET", "*/manifests/*") <= 1 + 2 + 4 + 2 + 1
        await records.aclose()  # type: ignore[attr-defined]


async def test_an_error_of_the_audit_is_raised() -> None:
    settings = auditor.Settings(lists=("/nonexistent/list.txt",), docker_config=False)
    with pytest.raises(UsageError, match="list cannot be read"):
        async for _ in auditor.audit_references(settings=settings):
            pass


async def test_an_error_after_good_records_is_raised() -> None:
    async with lab(simple(NAMES)) as here:
        settings = auditor.Settings(
            lists=("/nonexistent/list.txt",), docker_config=False
        )
        records = auditor.audit_references([here.ref(NAMES[0])], settings=settings)
        with pytest.raises(UsageError):
            [record async for record in records]


async def test_without_references_there_are_no_records() -> None:
    assert [record async for record in auditor.audit_references()] == []


async def test_an_endless_list_is_read_only_as_far_as_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with lab(simple(NAMES)) as here:
        reader, writer = os.pipe()
        line = here.ref(NAMES[0]) + "-%09d\n"
        written = 0

        def write() -> None:
            nonlocal written
            try:
                while True:
                    os.write(writer, (line % written).encode())
                    written += 1
            except BrokenPipeError:
                os.close(writer)

        endless = threading.Thread(target=write)
        endless.start()
        with open(reader) as stdin:  # noqa: PTH123  (a descriptor)
            monkeypatch.setattr(sys, "stdin", stdin)
            settings = auditor.Settings(lists=("-",), docker_config=False)
            records = auditor.audit_references(settings=settings)
            for _ in range(50):
                await anext(records)
            # The kernel's pipe, a block, and what waits between the steps: not more.
            assert written < 50_000
            await records.aclose()  # type: ignore[attr-defined]
        await asyncio.to_thread(endless.join)
