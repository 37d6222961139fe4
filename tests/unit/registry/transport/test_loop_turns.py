"""When answers came that a busy event loop reads late."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.registry.transport.loop_turns import IDLE_S, TASK_S, LoopTurns
from tests.examples import examples


def test_what_a_waiting_loop_reads_came_just_now() -> None:
    turns = LoopTurns()
    turns.ran(1.0)
    assert turns.arrived(1.05, 1.0) == 1.05
    # Read right after it, in the same turn: it was there before.
    assert turns.arrived(1.0501, 1.0) == 1.05


def test_what_a_busy_loop_reads_came_while_it_was_busy() -> None:
    turns = LoopTurns()
    turns.ran(1.0)
    assert turns.arrived(1.05, 1.0) == 1.05
    turns.ran(1.0501)  # the task that waited for it
    turns.ran(1.0541)  # its next request
    assert turns.arrived(1.0542, 1.0) == pytest.approx(1.0521)
    assert turns.arrived(1.0543, 1.0) == pytest.approx(1.0521)
    # Not before its request was written.
    turns.ran(1.0545)
    turns.ran(1.0547)
    assert turns.arrived(1.0549, 1.0547) == pytest.approx(1.0548)


def test_a_loop_that_waited_before_a_write_was_not_busy_until_then() -> None:
    turns = LoopTurns()
    assert turns.arrived(1.0, 0.9) == 1.0
    turns.ran(1.0 + 3 * TASK_S)
    assert turns.arrived(1.0002 + 3 * TASK_S, 0.9) == pytest.approx(1.0001 + 3 * TASK_S)


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.floats(0, 2 * TASK_S) | st.floats(0, IDLE_S),
            st.floats(0, 1),
        ),
        max_size=40,
    )
)
@examples(100)
def test_an_answer_comes_after_its_request_and_before_it_is_read(
    events: list[tuple[bool, float, float]],
) -> None:
    turns, now = LoopTurns(), 100.0
    for is_read, after_s, ago_s in events:
        now += after_s
        if is_read:
            written_at = now - ago_s
            assert written_at <= turns.arrived(now, written_at) <= now
        else:
            turns.ran(now)
