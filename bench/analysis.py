"""Time and peak memory of every command that reads reports, as a table in Markdown.

    python -m bench.analysis --official
    python -m bench.analysis --synthetic 5000000

Each command is a process of its own, measured by the kernel (`wait4`): seconds from
start to end, and the peak of its resident set. Reports and results are in a temporary
folder (`TMPDIR`) and removed; two reports of 5,000,000 records alone are 18 GB.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import orjson

from auditor.cli.main import COMMANDS
from bench.official_report import make as make_official

COUNT = "SELECT count(*) FROM images"
BYTES = """
    SELECT repository, count(DISTINCT digest) AS layers, sum(size) AS bytes
    FROM (SELECT DISTINCT repository, digest, size FROM layers)
    GROUP BY repository ORDER BY bytes DESC LIMIT 10
"""
POLICY = Path(__file__).parent.parent / "auditor" / "examples" / "policy-baseline.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One process: exit code, wall time, and the peak of its resident set."""

    code: int
    seconds: float
    peak_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--official", action="store_true")
    what.add_argument("--synthetic", type=int, metavar="RECORDS")
    what.add_argument("--reports", nargs=2, metavar=("OLD", "NEW"))
    parser.add_argument("--only", action="append", help="a command (repeatable)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="auditor-bench-") as name:
        folder = Path(name)
        if given.official:
            old, new = folder / "old.jsonl", folder / "new.jsonl"
            make_official(old, new)
        elif given.synthetic:
            old, new = _synthetic(given.synthetic, folder)
        else:
            old, new = map(Path, given.reports)
        _print(old, new, folder / "results", given.only)


def _synthetic(records: int, folder: Path) -> tuple[Path, Path]:
    nights = [folder / "old.jsonl", folder / "new.jsonl"]
    make = [sys.executable, "-m", "bench.synthetic_report", str(records)]
    running = [
        subprocess.Popen([*make, "--night", str(night), "--output", str(report)])
        for night, report in enumerate(nights)
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit("the synthetic reports could not be made")
    return nights[0], nights[1]


def _print(old: Path, new: Path, results: Path, only: list[str] | None) -> None:
    threads = os.cpu_count()
    print(
        f"{old.stat().st_size / 1e9:.2f} GB, {threads} cores,"
        f" Python {platform.python_version()}, DuckDB {duckdb.__version__},"
        f" load {os.getloadavg()[0]:.1f} before\n"
    )
    print("| command | time and peak memory |\n|---|---:|")
    for shown, arguments in _commands(str(old), str(new), results):
        name = arguments[0]
        if name not in COMMANDS or (only and name not in only):
            continue
        results.mkdir(exist_ok=True)
        found = measure(arguments)
        failed = f" (exit {found.code})" if found.code not in {0, 1} else ""
        print(
            f"| `{shown}`{failed} | {found.seconds:.1f} s, {found.peak_mib:.0f} MiB |",
            flush=True,
        )
        shutil.rmtree(results / "out", ignore_errors=True)
    print(f"\nload {os.getloadavg()[0]:.1f} after")


def _commands(old: str, new: str, results: Path) -> Iterator[tuple[str, list[str]]]:
    """The label and arguments of each command.

    CSV and SQLite get one table: they are not compressed, and writing all tables of
    5,000,000 records would take most of the time.
    """
    out, history, page = (str(results / name) for name in ("out", "history", "page"))
    policy = ["--policy", str(POLICY)]
    tag, layer = _samples(new)
    show = ["history", "show", history]
    yield "query REPORT 'select count(*) from images'", ["query", new, COUNT]
    yield "query REPORT 'select ... from layers group by ...'", ["query", new, BYTES]
    yield "diff OLD NEW", ["diff", old, new]
    yield "layers REPORT", ["layers", new]
    yield "layers REPORT --digest sha256:...", ["layers", new, "--digest", layer]
    old_tags = "SELECT reference FROM images WHERE tag LIKE '1.%'"
    yield (
        "cleanup plan REPORT --delete 'select ...'",
        ["cleanup", "plan", new, "--delete", old_tags],
    )
    yield "cleanup protect REPORT", ["cleanup", "protect", new]
    yield f"check REPORT --policy {POLICY.name}", ["check", new, *policy]
    export = ["export", new, "-o", f"{out}/it", "--to"]
    for target in ("parquet", "duckdb"):
        yield f"export REPORT --to {target}", [*export, target]
    for target in ("csv", "sqlite"):
        yield (
            f"export REPORT --to {target} --table images",
            [*export, target, "--table", "images"],
        )
    yield "history add DATASET OLD", ["history", "add", history, old]
    yield "history add DATASET NEW", ["history", "add", history, new]
    yield "history show DATASET REFERENCE", [*show, tag]
    yield "html REPORT", ["html", new, "-o", page]
    yield "html REPORT --previous OLD", ["html", new, "--previous", old, "-o", page]


def _samples(report: str) -> tuple[str, str]:
    """A reference with a tag and a layer of it, from the first lines."""
    with Path(report).open("rb") as lines:
        for line in lines:
            record = orjson.loads(line)
            if record["kind"] == "image" and record["tag"]:
                return record["reference"], record["platforms"][0]["layers"][0][
                    "digest"
                ]
    sys.exit(f"{report}: no image with a tag")


def measure(arguments: list[str]) -> Measured:
    """Run `auditor` with these arguments, without its output."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "auditor", *arguments], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Measured(
        code=process.returncode,
        seconds=time.perf_counter() - began,
        peak_mib=usage.ru_maxrss / 1024,  # Linux counts in KiB
    )


if __name__ == "__main__":
    main()
