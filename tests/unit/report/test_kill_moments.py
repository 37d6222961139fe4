"""A run that is killed at any step of the file system leaves no wrong report behind.

A kill leaves the files as they are before the next system call. `_Moments` notes them
before each call that could change them; each of these states is then continued, by a
run of the same night and by one of the next night.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from auditor.model import Order, Record, Shape
from auditor.report.writer import Report, ReportOptions, open_report
from auditor.util.compressed_file import decompressing
from tests.manifests import digest
from tests.records import failure, image

EVENING = "2026-11-25T02:00:00Z"
MORNING = "2026-11-25T06:00:00Z"  # a restart after a kill
NEXT_NIGHT = "2026-11-26T02:00:00Z"
KEEP_S = 12 * 3600.0
TAGS = tuple("abcdef")
# Every call with which auditor/report changes a file, or makes a change durable.
CALLS = (
    *("open", "write", "close", "rename", "replace", "unlink", "rmdir"),
    *("ftruncate", "fsync", "fdatasync"),
)
State = dict[str, bytes]


def _records(night: str, content: str) -> list[Record]:
    """The records of a night: the registry has other content every night."""
    common: dict[str, Any] = {"audited_at": night, "repository": "team/app"}
    records: list[Record] = [
        image(
            reference=f"r.example.com/team/app:{tag}",
            tag=tag,
            digest=digest(content),
            **common,
        )
        for tag in TAGS
    ]
    records[2] = failure(
        reference=records[2].reference, tag="c", detail=content, **common
    )
    return records


class _Moments:
    """The states of a folder before each call, without repetitions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.states: list[State] = []
        self.calls = 0

    def note(self) -> None:
        state = {
            path.name: path.read_bytes() for path in sorted(self._folder.iterdir())
        }
        if state not in self.states[-1:]:
            self.states.append(state)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            is_noting = False

            def noted(call: Callable[..., Any]) -> Callable[..., Any]:
                def before(*arguments: Any, **more: Any) -> Any:
                    nonlocal is_noting
                    if not is_noting:
                        is_noting = True
                        self.calls += 1
                        self.note()
                        is_noting = False
                    return call(*arguments, **more)

                return before

            for name in CALLS:
                patch.setattr(os, name, noted(getattr(os, name)))
            yield
        self.note()

    def restore(self, state: State) -> None:
        for path in self._folder.iterdir():
            path.unlink()
        for name, data in state.items():
            (self._folder / name).write_bytes(data)


async def _night(
    options: ReportOptions, now: str, records: Sequence[Record], *, early: int = 0
) -> int:
    """A run; returns how many records it audited itself.

    The last `early` records are finished first and wait in the journal.
    """
    audited = 0

    async def next_record(report: Report, record: Record) -> None:
        nonlocal audited
        index = report.resume_index
        if index is None or index.take(record.reference) is None:
            if index is not None:
                index.entry_finished(has_record=True)
            await report.write(record)
            audited += 1

    async with open_report(options, now=now, notify=lambda _: None) as report:
        if early:
            await report.checkpoint(records[-early:], has_waiting=True)
        for number, record in enumerate(records):
            await next_record(report, record)
            if number == 1:
                await report.checkpoint([], has_waiting=bool(early))
        await report.commit()
    return audited


def _lines(path: Path) -> list[dict[str, Any]]:
    with decompressing(path.open("rb"), path.name) as stream:
        return [orjson.loads(line) for line in stream]


async def _leave_unfinished(
    output: Path, records: Sequence[Record], shape: Shape
) -> None:
    """Leave a report that is in another order than the input."""
    options = ReportOptions(output=str(output), shape=shape)
    async with open_report(options, now=EVENING, notify=pytest.fail) as report:
        for record in reversed(records[:4]):
            await report.write(record)


@pytest.mark.parametrize(
    ("shape", "order", "name"),
    [
        (Shape.IMAGE, Order.INPUT, "out"),
        (Shape.IMAGE, Order.COMPLETION, "out"),
        (Shape.LAYER, Order.INPUT, "out"),
        (Shape.IMAGE, Order.INPUT, "out.gz"),
        (Shape.LAYER, Order.COMPLETION, "out.zst"),
    ],
)
@pytest.mark.parametrize(
    ("resumes", "early", "is_left"),
    [
        pytest.param(False, 0, False, id="new"),
        pytest.param(False, 3, False, id="with_records_in_the_journal"),
        pytest.param(False, 2, True, id="sets_an_unfinished_report_aside"),
        pytest.param(True, 0, True, id="resumed_and_sorted"),
        pytest.param(True, 2, True, id="resumed_with_records_in_the_journal"),
    ],
)
def test_no_kill_lets_a_later_run_publish_an_old_report(
    resumes: bool,
    early: int,
    is_left: bool,
    shape: Shape,
    order: Order,
    name: str,
    tmp_path: Path,
) -> None:
    output = tmp_path / name
    tonight, restart = _records(EVENING, "1"), _records(MORNING, "2")
    tomorrow = _records(NEXT_NIGHT, "3")
    options = ReportOptions(
        output=str(output), shape=shape, order=order, keep_s=KEEP_S, resume=True
    )

    def sorted_lines(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if order is Order.INPUT:
            return lines
        return sorted(lines, key=lambda line: str(line["reference"]))

    async def main() -> None:
        await _night(replace(options, resume=False), EVENING, tomorrow)
        expected = sorted_lines(_lines(output))
        output.write_bytes(b"the night before\n")
        if is_left:
            await _leave_unfinished(output, tonight, shape)
        moments = _Moments(tmp_path)
        with moments.recorded():
            await _night(
                replace(options, resume=resumes), EVENING, tonight, early=early
            )
        published = output.read_bytes()
        assert moments.calls > 15
        assert moments.states[-1] == {name: published}
        for state in moments.states:
            moments.restore(state)
            audited = await _night(options, NEXT_NIGHT, tomorrow)
            assert audited == len(TAGS)
            assert sorted_lines(_lines(output)) == expected
            assert [path.name for path in tmp_path.iterdir()] == [name]

            moments.restore(state)
            audited = await _night(options, MORNING, restart)
            if state[name] == published:
                # The report is complete: nothing of it is kept.
                assert audited == len(TAGS)
            references = [line["reference"] for line in sorted_lines(_lines(output))]
            assert list(dict.fromkeys(references)) == [r.reference for r in restart]
            moments.restore({})

    with pytest.MonkeyPatch.context() as patch:
        # Syncing is slow, and this test cannot see its effect.
        patch.setattr("os.fsync", lambda fd: None)
        patch.setattr("os.fdatasync", lambda fd: None)
        anyio.run(main)
