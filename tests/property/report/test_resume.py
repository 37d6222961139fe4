"""After any crash, the resumed report equals an uninterrupted one."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import FailureKind
from auditor.model import FailureRecord, Order, Record, Shape
from auditor.report.resume_index import record_offsets
from auditor.report.shapes import encoder
from auditor.report.writer import Report, ReportOptions, open_report
from auditor.util.compressed_file import decompressing
from tests.examples import examples
from tests.records import failure, image, layer, platform

NOW = "2026-11-25T02:00:00Z"


def _image(number: int) -> Record:
    name = f"team/app{number % 3}"
    platforms = [
        platform(digit, layers=(layer("1"), layer("2"))[: number % 3] or None)
        for digit in "abc"[: number % 4]
    ]
    return image(
        reference=f"r.example.com/{name}:{number}",
        repository=name,
        tag=str(number),
        platforms=tuple(platforms),
    )


def _failure(number: int) -> Record:
    tag = f"gone{number}"
    return failure(reference=f"r.example.com/team/app:{tag}", tag=tag)


def _malformed(number: int) -> Record:
    """A malformed line: the same text may occur several times."""
    return failure(
        reference="Not A Reference",
        registry=None,
        repository=None,
        tag=None,
        digest=None,
        detail=f"list.txt:{number}: no",
    )


def _written(records: Sequence[Record], shape: Shape) -> list[bytes]:
    return list(map(encoder(shape), records))


def _name(record: Record) -> str | None:
    names_one = record.tag is not None or record.digest is not None
    return record.reference if names_one else None


def _cut_short(record: Record) -> Record:
    return failure(
        reference=record.reference,
        tag=record.tag,
        failure=FailureKind.INTERRUPTED,
        detail="no time",
    )


@dataclass(frozen=True, kw_only=True)
class Crash:
    """A killed run.

    `order`: the records in `.partial`, truncated to the share `cut`; `early`: those in
    the journal. Records at the positions `dropped` are filtered out.
    """

    records: tuple[Record, ...]
    dropped: frozenset[int]
    shape: Shape
    order: tuple[Record, ...]
    cut: float
    early: tuple[Record, ...]
    early_cut: float


@st.composite
def crashes(draw: st.DrawFn) -> Crash:
    made = [_image, _image, _image, _failure, _malformed]
    kinds = draw(st.lists(st.sampled_from(made), min_size=1, max_size=9))
    records = tuple(make(number) for number, make in enumerate(kinds))
    dropped = draw(st.frozensets(st.integers(0, len(records) - 1), max_size=2))
    written = [one for n, one in enumerate(records) if n not in dropped]
    strangers = [_image(number) for number in (90, 91)]
    order = [
        draw(st.sampled_from([record, record, record, _cut_short(record)]))
        if _name(record)
        else record
        for record in draw(st.permutations([*written, *strangers]))
    ]
    if draw(st.booleans()):
        order = list(written)
    return Crash(
        records=records,
        dropped=dropped,
        shape=draw(st.sampled_from(Shape)),
        order=tuple(order),
        cut=draw(st.floats(0, 1)),
        early=tuple(written[: draw(st.integers(0, 4))]),
        early_cut=draw(st.sampled_from([1, 1, draw(st.floats(0, 1))])),
    )


async def _crash(crash: Crash, options: ReportOptions) -> None:
    """Leave the files of a run that was killed."""
    output = Path(options.output)
    async with open_report(options, now=NOW, notify=pytest.fail) as report:
        for record in crash.order:
            await report.write(record)
        await report.checkpoint(crash.early, has_waiting=True)
        # the files as a kill at this moment leaves them
        partial = output.with_name(f"{output.name}.partial").read_bytes()
        journal = output.with_name(f"{output.name}.journal").read_bytes()
    head = journal.index(b"\n") + 1
    kept = journal[: head + int((len(journal) - head) * crash.early_cut)]
    output.with_name(f"{output.name}.partial").write_bytes(
        partial[: int(len(partial) * crash.cut)]
    )
    output.with_name(f"{output.name}.journal").write_bytes(kept)


async def _continue(report: Report, crash: Crash, many: int) -> None:
    """Write the records that the resume index does not have, as a run does."""
    for number, record in enumerate(crash.records[:many]):
        index = report.resume_index
        if index is None or index.take(_name(record)) is None:
            if index is not None:
                index.entry_finished(has_record=number not in crash.dropped)
            if number not in crash.dropped:
                await report.write(record)


@examples(60)
@given(
    crash=crashes(),
    again=st.floats(0, 1),
    order=st.sampled_from(Order),
    name=st.sampled_from(["out", "out.gz", "out.zst"]),
)
def test_a_resumed_report_equals_an_uninterrupted_one(
    crash: Crash, again: float, order: Order, name: str
) -> None:
    async def main(folder: str) -> None:
        output = Path(folder, name)
        options = ReportOptions(
            output=str(output), shape=crash.shape, order=order, resume=True
        )
        written = [
            record
            for number, record in enumerate(crash.records)
            if number not in crash.dropped
        ]
        whole = _written(written, crash.shape)
        await _crash(crash, ReportOptions(output=str(output), shape=crash.shape))
        messages: list[str] = []
        # The resumed run crashes as well, after a part of the remaining records.
        async with open_report(options, now=NOW, notify=messages.append) as report:
            await _continue(report, crash, int(len(crash.records) * again))
        async with open_report(options, now=NOW, notify=messages.append) as report:
            await _continue(report, crash, len(crash.records))
            await report.commit()
        assert [path.name for path in Path(folder).iterdir()] == [name]
        with decompressing(output.open("rb"), name) as stream:
            content = stream.read()
        if order is Order.INPUT:
            assert content == b"".join(whole)
        else:
            lines = b"".join(whole).splitlines()
            assert sorted(content.splitlines()) == sorted(lines)

    with pytest.MonkeyPatch.context() as patch:
        # Syncing is slow, and this test cannot see its effect.
        patch.setattr("os.fsync", lambda fd: None)
        patch.setattr("os.fdatasync", lambda fd: None)
        with tempfile.TemporaryDirectory() as folder:
            anyio.run(main, folder)


@pytest.mark.parametrize("shape", Shape)
def test_a_report_truncated_at_any_byte_gives_only_complete_records(
    shape: Shape,
) -> None:
    records = [_image(3), _failure(1), _image(6), _malformed(2), _image(5), _image(7)]
    written = _written(records, shape)
    data = b"".join(written)
    ends = [len(b"".join(written[: count + 1])) for count in range(len(written))]
    for cut in range(len(data) + 1):
        found = list(record_offsets(io.BytesIO(data[:cut]), 0, complete=False))
        whole = [
            record for record, end in zip(records, ends, strict=True) if end <= cut
        ]
        last = whole[-1] if whole else None
        if shape is not Shape.IMAGE and last and not isinstance(last, FailureRecord):
            # Only a following record shows that its rows are complete.
            behind = data[ends[len(whole) - 1] : cut]
            if b"\n" not in behind:
                whole.pop()
        assert [record.reference for record in found] == list(map(_name, whole))
        assert sum(record.size for record in found) == sum(
            map(len, written[: len(whole)])
        )


@given(damage=st.binary(min_size=1, max_size=40), at=st.floats(0, 1))
def test_reading_stops_at_the_first_damaged_line(damage: bytes, at: float) -> None:
    written = _written([_image(3), _image(6), _image(9)], Shape.IMAGE)
    data = b"".join(written)
    where = int(len(data) * at)
    found = list(
        record_offsets(io.BytesIO(data[:where] + b"\0" + damage), 0, complete=False)
    )
    assert len(found) == sum(
        len(b"".join(written[: count + 1])) <= where for count in range(3)
    )
