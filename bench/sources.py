"""Time and memory of the sources of an input: a CSV list with labels.

    python -m bench.sources                 # a million rows
    python -m bench.sources --rows 100000

Prints the CPU time of the first reading and of a look-up, and the most memory.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from pathlib import Path

from auditor.config import Settings
from auditor.input.source_scan import open_input
from auditor.oci.reference import Reference

HEADER = "reference,team,cost centre,environment,host,owner\n"
TAGS = 10
TEAMS = 250


def main() -> None:
    """Write the list, read it, and look up a part of its references."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "inventory.csv")
        with path.open("w") as into:
            into.write(HEADER)
            into.writelines(_row(number) for number in range(rows))
        size = path.stat().st_size
        print(f"{rows:,} rows, {size / 1e6:.0f} MB")
        before = _peak_mb()
        asyncio.run(_measure(path, rows))
        print(f"memory: {before:.0f} MB before, {_peak_mb():.0f} MB at most")


async def _measure(path: Path, rows: int) -> None:
    started = time.process_time()
    async with open_input(Settings(lists=(str(path),))) as opened:
        read_s = time.process_time() - started
        print(
            f"first reading: {read_s:.1f} s of CPU, {1e6 * read_s / rows:.1f} us a row"
        )
        assert opened.sources is not None
        numbers = range(0, rows, max(1, rows // 100_000))
        started = time.process_time()
        for number in numbers:
            opened.sources.of_reference(_reference(number))
        look_up_s = (time.process_time() - started) / len(numbers)
        print(f"look-up: {1e6 * look_up_s:.1f} us of CPU a record")


def _reference(number: int) -> Reference:
    # Every reference occurs twice.
    name = number // 2
    return Reference(
        registry="registry.example.com",
        repository=f"team-{name % TEAMS}/app-{name // TAGS}",
        tag=f"1.{name % TAGS}",
        digest=None,
    )


def _row(number: int) -> str:
    team = number % TEAMS
    return (
        f"{_reference(number)},team-{team},{4000 + team},production,"
        f"node-{number % 9973},owner-{team}@example.com\n"
    )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
