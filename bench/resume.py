"""The cost of `--resume` before its first request: time and memory.

    python -m bench.resume 10000 1000000

For each number of references, another process resumes a partial report of that many,
looks up every reference in input order, adds one at the beginning, and sorts the report
into input order, which copies it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import anyio

from auditor.report.summary import Tally
from auditor.report.writer import ReportOptions, open_report
from bench.synthetic_report import records

NOW = "2026-11-25T02:00:00Z"


async def unfinished(output: str, count: int) -> None:
    """Write the files of a killed run."""
    told = ReportOptions(output=output)
    async with open_report(told, now=NOW, notify=print) as report:
        for record in records(count):
            await report.write(record)


async def resumed(output: str, count: int) -> None:
    """Resume, and print the cost of each step."""
    began = time.perf_counter()

    def step(name: str) -> None:
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        taken_s = time.perf_counter() - began
        print(f"  {name:12} after {taken_s:6.1f} s, {peak_mib:5.0f} MiB at most")

    told = ReportOptions(output=output, resume=True)
    async with open_report(told, now=NOW, notify=lambda _: None) as report:
        assert report.resume_index is not None
        step("read")
        tally = Tally()
        first = replace(next(iter(records(1))), reference="a/first:1")
        for record in chain([first], records(count)):
            lines = report.resume_index.take(record.reference)
            if lines is None:
                await report.write(record)
                tally.add(record)
            else:
                tally.add_lines(lines)
        step("looked up")
        await report.commit()
        step("in order")
    assert tally.audited + tally.failed == count + 1


def main() -> None:
    """Run each step in another process, which prints its peak."""
    steps: dict[str, Callable[[str, int], Awaitable[None]]] = {
        "unfinished": unfinished,
        "resumed": resumed,
    }
    if sys.argv[1] in steps:
        anyio.run(steps[sys.argv[1]], sys.argv[2], int(sys.argv[3]))
        return
    for count in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, "report.jsonl")
            for name in steps:
                if name == "resumed":
                    size = output.with_name("report.jsonl.partial").stat().st_size
                    print(
                        f"{int(count):,} references, {size / 1e6:,.0f} MB", flush=True
                    )
                command = [
                    sys.executable,
                    "-m",
                    "bench.resume",
                    name,
                    str(output),
                    count,
                ]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
