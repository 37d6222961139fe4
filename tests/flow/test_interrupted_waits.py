"""An interrupted run waits for requests in flight, not for those it has not sent.

The grace of these runs is longer than the patience of the tests.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from auditor.audit.run import AuditRun
from auditor.report.writer import Report
from tests.clock import FakeClock
from tests.flow.commands import finish, running
from tests.flow.harness import MANIFESTS, PATIENCE_S, TAGS, Lab, lab, simple
from tests.flow.reporting import Reported, lines_of, report_to
from tests.support.fault_actions import Action, Answer, Gate, Hold

pytestmark = pytest.mark.anyio

NAMES = [f"team/app:{number}" for number in range(6)]
LAST = "/v2/team/app/manifests/5"
THROTTLED = Answer(429, {"Retry-After": "60"})


class StillClock(FakeClock):
    """A clock on which no pause ends."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await anyio.sleep_forever()


async def _interrupted(here: Lab, output: Path, *names: str, workers: int) -> Reported:
    """The report of a run that is interrupted when it begins to pause."""
    clock = here.clock = StillClock()

    @asynccontextmanager
    async def meanwhile(run: AuditRun, report: Report) -> AsyncIterator[None]:
        async def interrupt() -> None:
            while not clock.slept:
                await anyio.lowlevel.checkpoint()
            run.stop(10 * PATIENCE_S)

        async with anyio.create_task_group() as group:
            group.start_soon(interrupt)
            yield
            group.cancel_scope.cancel()

    try:
        return await report_to(
            here, output, *map(here.ref, names), workers=workers, meanwhile=meanwhile
        )
    finally:
        here.clock = FakeClock()


async def _interrupted_at(
    here: Lab, output: Path, manifest: int, **settings: Any
) -> Reported:
    """The report of a run that is interrupted while its first, second, ... manifest is
    requested, of whichever reference.

    The registry answers it afterwards. There is one request at once.
    """
    gate = Gate()
    here.faults.on("GET", MANIFESTS, Hold(gate), skip=manifest - 1)

    @asynccontextmanager
    async def meanwhile(run: AuditRun, report: Report) -> AsyncIterator[None]:
        def interrupt() -> None:
            run.stop(10 * PATIENCE_S)
            gate.open()

        def is_requested() -> bool:
            return here.faults.count("GET", MANIFESTS) == manifest

        async with here.when(is_requested, interrupt):
            yield

    return await report_to(
        here,
        output,
        *map(here.ref, NAMES),
        requests_at_once=1,
        meanwhile=meanwhile,
        **settings,
    )


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(THROTTLED, id="Retry-After"),
        pytest.param(Answer(500), id="retry"),
    ],
)
async def test_a_pause_is_not_waited_for(fault: Action, tmp_path: Path) -> None:
    output = tmp_path / "out"
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", LAST, fault)
        stopped = await _interrupted(here, output, *NAMES, workers=1)
        assert stopped.summary.interrupted
        assert (stopped.summary.tally.audited, stopped.summary.to_do) == (5, 1)
        done = await report_to(here, output, *map(here.ref, NAMES), resume=True)
    assert done.summary.resumed == {"kept": 5, "left_out": 0}
    assert [line["kind"] for line in lines_of(output)] == ["image"] * 6


async def test_a_host_that_is_down_is_not_waited_for(tmp_path: Path) -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/", Answer(503), forever=True)
        stopped = await _interrupted(here, tmp_path / "out", *NAMES, workers=2)
    assert stopped.summary.interrupted
    assert stopped.summary.tally.count == 0


async def test_a_request_in_flight_is_finished_and_none_is_sent_in_its_slot(
    tmp_path: Path,
) -> None:
    async with lab(simple(NAMES)) as here:
        stopped = await _interrupted_at(here, tmp_path / "out", 1, workers=4)
        assert here.faults.count("GET", MANIFESTS) == 1
    assert stopped.summary.interrupted
    assert stopped.summary.tally.audited == 1


async def test_a_reference_that_was_begun_is_finished(tmp_path: Path) -> None:
    """Its config waits for the slot of another reference."""
    async with lab(simple(NAMES)) as here:
        stopped = await _interrupted_at(
            here, tmp_path / "out", 6, workers=6, image_config="always"
        )
        assert here.good(MANIFESTS) == 6
    assert stopped.summary.interrupted
    assert stopped.summary.tally.audited == 6


async def test_a_listing_that_is_throttled_is_not_waited_for(tmp_path: Path) -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", TAGS, THROTTLED)
        stopped = await _interrupted(here, tmp_path / "out", "team/app:*", workers=1)
    assert stopped.summary.interrupted
    assert not stopped.summary.all_listed


async def test_ctrl_c_while_a_host_throttles_leaves_a_report_to_resume(
    tmp_path: Path,
) -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", LAST, THROTTLED)
        arguments = ["audit", *map(here.ref, NAMES), "--workers", "1", "-o", "out"]
        async with running(*arguments, place=tmp_path) as process:
            await here.faults.until(lambda: here.answered(429) != [])
            process.send_signal(signal.SIGINT)
            stopped = await finish(process)
        assert stopped.code == 130
        async with running(*arguments, "--resume", place=tmp_path) as process:
            assert (await finish(process)).code == 0
    assert [line["tag"] for line in lines_of(tmp_path / "out")] == list("012345")
