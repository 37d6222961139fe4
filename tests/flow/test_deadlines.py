"""At the deadline every reference left becomes a failure; none is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from auditor.errors import FailureKind, Stage
from auditor.model import FailureRecord
from auditor.report.summary_text import summary_lines
from tests.clock import advance_loop
from tests.flow.harness import TAGS, TOKENS, Lab, lab, service, simple
from tests.patience import HANG_S
from tests.support.fault_actions import Gate, Hold
from tests.support.registry import Behaviour

pytestmark = pytest.mark.anyio

NAMES = [f"team/app:{number}" for number in range(6)]
HELD = "/v2/team/app/manifests/3"
INTERRUPTED = FailureKind.INTERRUPTED.value


def _held(here: Lab, path: str = HELD) -> Callable[[], bool]:
    here.faults.on("GET", path, Hold())  # for ever
    return lambda: here.faults.count("GET", path) >= 1


async def test_at_the_deadline_every_reference_has_a_record_in_input_order() -> None:
    async with lab(simple(NAMES)) as here:
        asked = list(map(here.ref, NAMES))
        outcome = await here.audit(*asked, workers=1, expire_when=_held(here))
    assert outcome.references == asked
    assert outcome.kinds[:3] == ["image"] * 3
    assert outcome.kinds[3] == INTERRUPTED
    cut = outcome.records[3]
    assert isinstance(cut, FailureRecord)
    assert cut.detail == "not finished: the run's deadline was reached"
    summary = outcome.summary
    assert (summary.deadline_reached, summary.interrupted) == (True, False)
    assert (summary.asked, summary.to_do, summary.all_listed) == (6, 0, True)
    assert summary_lines(summary.to_json())[0].startswith("deadline reached: ")


async def test_no_reference_is_started_after_the_deadline() -> None:
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(
            *map(here.ref, NAMES), workers=1, expire_when=_held(here)
        )
        assert here.faults.count("GET", "/v2/team/app/manifests/4") == 0
    assert outcome.kinds == ["image"] * 3 + [INTERRUPTED] * 3
    rest = outcome.records[-1]
    assert isinstance(rest, FailureRecord)
    assert rest.detail == "not started: the run's deadline was reached"
    assert (rest.stage, rest.attempts, rest.tag) == (Stage.MANIFEST, 0, "5")


async def test_a_silent_token_service_does_not_delay_the_deadline() -> None:
    async with lab(simple(NAMES), tokens=service()) as here:
        outcome = await here.audit(
            *map(here.ref, NAMES), expire_when=_held(here, TOKENS)
        )
    assert outcome.kinds == [INTERRUPTED] * 6


async def test_a_listing_not_finished_at_the_deadline_is_a_failure_of_its_pattern() -> (
    None
):
    async with lab(simple(NAMES), behaviour=Behaviour(max_page=2)) as here:
        here.faults.on("GET", TAGS, Hold(), skip=1)
        outcome = await here.audit(
            here.ref("team/app:*"),
            here.ref("team/other:*"),
            expire_when=lambda: here.faults.count("GET", TAGS) == 3,
        )
    kinds_by_reference = dict(zip(outcome.references, outcome.kinds, strict=True))
    for pattern in ("team/app:*", "team/other:*"):
        assert kinds_by_reference[here.ref(pattern)] == INTERRUPTED
    whole = [one.complete for one in outcome.summary.listings.shown]
    assert whole == [False, False]
    last = outcome.records[-1]
    assert isinstance(last, FailureRecord)
    assert last.stage is Stage.LIST
    assert last.detail.startswith("the tag list of team/other was not read completely")


async def test_a_listing_not_started_at_the_deadline_is_a_failure_too() -> None:
    patterns = [f"team/{name}:*" for name in "abcdefghijklmnopqrst"]
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(
            *map(here.ref, patterns), expire_when=_held(here, TAGS)
        )
    assert outcome.references == list(map(here.ref, patterns))
    assert set(outcome.kinds) == {INTERRUPTED}


async def test_an_endless_input_does_not_delay_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.input.expand.INPUT_GRACE_S", 0.01)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ours = os.open(pipe, os.O_RDWR)
    try:
        async with lab(simple(NAMES)) as here:
            os.write(ours, f"{here.ref(NAMES[0])}\n".encode())
            outcome = await here.audit(
                lists=(str(pipe),),
                expire_when=lambda: here.good("*/blobs/*") == 1,
            )
    finally:
        os.close(ours)
    assert outcome.references[-1] == "(the rest of the input)"
    assert outcome.kinds[-1] == INTERRUPTED
    assert outcome.summary.all_listed is False
    assert outcome.summary.asked == len(outcome.records) == 2


async def test_a_list_file_is_read_to_its_end_after_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More lines than the lookahead: each still has its record."""
    monkeypatch.setattr("auditor.input.expand.INPUT_GRACE_S", HANG_S)
    path = tmp_path / "list.txt"
    async with lab(simple(NAMES)) as here:
        path.write_text("".join(f"{here.ref('team/app')}:{n}\n" for n in range(5000)))
        outcome = await here.audit(
            lists=(str(path),),
            window=64,
            expire_when=_held(here, "/v2/team/app/manifests/0"),
        )
    assert len(outcome.records) == outcome.summary.asked == 5000
    assert outcome.summary.all_listed is True
    assert outcome.references[-1].endswith(":4999")


async def test_the_deadline_of_the_settings_follows_the_clock() -> None:
    """The test clock jumps to the deadline as soon as a task waits for it."""
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(*map(here.ref, NAMES), deadline_s=3600.0)
    assert here.clock.slept == [3600.0]
    assert outcome.kinds == [INTERRUPTED] * 6


async def test_a_deadline_that_is_not_reached_changes_nothing() -> None:
    async with lab(simple(NAMES)) as here:
        plain = await here.audit(*map(here.ref, NAMES))
        timed = await here.audit(*map(here.ref, NAMES), reference_timeout_s=60.0)
    assert plain.records == timed.records
    assert timed.summary.deadline_reached is False


async def test_a_reference_timeout_ends_only_that_reference() -> None:
    next_one, last = Gate(), Gate()

    async with lab(simple(NAMES)) as here:

        def requested(number: int) -> bool:
            return here.faults.count("GET", f"/v2/team/app/manifests/{number}") > 0

        def move_on(gate: Gate) -> None:
            """The held reference has had 40 s, then 80 s; the others 40 s at most."""
            advance_loop(40)
            gate.open()

        here.faults.on("GET", HELD, Hold())
        here.faults.on("GET", "/v2/team/app/manifests/4", Hold(next_one))
        here.faults.on("GET", "/v2/team/app/manifests/5", Hold(last))
        async with (
            here.when(lambda: requested(3) and requested(4), lambda: move_on(next_one)),
            here.when(lambda: requested(5), lambda: move_on(last)),
        ):
            outcome = await here.audit(
                *map(here.ref, NAMES),
                workers=2,
                reference_timeout_s=60.0,
                read_timeout_s=HANG_S,
                request_timeout_s=HANG_S,
            )
    assert outcome.kinds == ["image"] * 3 + ["timeout"] + ["image"] * 2
    slow = outcome.records[3]
    assert isinstance(slow, FailureRecord)
    assert slow.detail.startswith("not audited within 60 s")
    assert outcome.summary.deadline_reached is False
