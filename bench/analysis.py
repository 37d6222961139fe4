"""Time and peak memory of every command that reads reports, as a table in Markdown.

    python -m bench.analysis --official
    python -m bench.analysis --synthetic 5000000
    python -m bench.analysis --synthetic 1000000 --keep FOLDER --only unused

Each command is a process of its own, measured by the kernel (`wait4`): seconds of CPU
(of all its threads) and from start to end, and the peak of its resident set. Reports
and results are in a temporary folder (`TMPDIR`) and removed; two reports of 5,000,000
records alone are 30 GB. `--keep` makes the reports once, and leaves them in a folder.
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
OWNERS = """
    SELECT l.value AS team, count(*) AS images
    FROM input_labels AS l JOIN images USING (reference)
    WHERE l.name = 'team' AND NOT images.signed GROUP BY ALL ORDER BY images DESC
"""
SBOMS = "SELECT type, count(*), count(DISTINCT reference) FROM packages GROUP BY 1"
POLICY = Path(__file__).parent.parent / "auditor" / "examples" / "policy-baseline.toml"
EVERY_RULE = Path(__file__).parent / "policy-every-source.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One process: exit code, CPU and wall time, the peak of its resident set."""

    code: int
    cpu_s: float
    seconds: float
    peak_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--official", action="store_true")
    what.add_argument("--synthetic", type=int, metavar="RECORDS")
    what.add_argument("--reports", nargs=2, metavar=("OLD", "NEW"))
    parser.add_argument("--only", action="append", help="a command (repeatable)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="auditor-bench-") as name:
        folder = Path(name)
        made: list[tuple[str, list[str]]] = []
        if given.official:
            old, new = folder / "old.jsonl", folder / "new.jsonl"
            make_official(old, new)
        elif given.synthetic:
            kept = given.keep or folder
            kept.mkdir(exist_ok=True)
            old, new, running, sboms = _synthetic(given.synthetic, kept)
            made = list(_commands_of_all_options(str(new), running, sboms))
        else:
            old, new = map(Path, given.reports)
        results = folder / "results"
        commands = [*_commands(str(old), str(new), results), *made]
        _print(old, commands, results, given.only)


def _synthetic(records: int, folder: Path) -> tuple[Path, Path, str, str]:
    """Two nights, what runs, and the SBOM file; those that are missing are made."""
    wanted = {
        folder / "old.jsonl": ["--night", "0"],
        folder / "new.jsonl": ["--night", "1"],
        folder / "running.jsonl": ["--night", "1", "--running"],
        folder / "sboms.jsonl": ["--night", "1", "--sboms"],
    }
    make = [sys.executable, "-m", "bench.synthetic_report", str(records)]
    making = [
        subprocess.Popen([*make, *options, "--output", str(file)])
        for file, options in wanted.items()
        if not file.exists()
    ]
    codes = [process.wait() for process in making]
    if any(codes):
        sys.exit("the synthetic reports could not be made")
    old, new, running, sboms = wanted
    return old, new, str(running), str(sboms)


def _print(
    old: Path,
    commands: list[tuple[str, list[str]]],
    results: Path,
    only: list[str] | None,
) -> None:
    threads = os.cpu_count()
    print(
        f"{old.stat().st_size / 1e9:.2f} GB, {threads} cores,"
        f" Python {platform.python_version()}, DuckDB {duckdb.__version__},"
        f" load {os.getloadavg()[0]:.1f} before\n"
    )
    print("| command | CPU | time | peak memory |\n|---|---:|---:|---:|")
    for shown, arguments in commands:
        name = arguments[0]
        if name not in COMMANDS or (only and name not in only):
            continue
        results.mkdir(exist_ok=True)
        found = measure(arguments)
        failed = f" (exit {found.code})" if found.code not in {0, 1} else ""
        print(
            f"| `{shown}`{failed} | {found.cpu_s:.1f} s | {found.seconds:.1f} s |"
            f" {found.peak_mib:.0f} MiB |",
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


def _commands_of_all_options(
    new: str, running: str, sboms: str
) -> Iterator[tuple[str, list[str]]]:
    """Commands about what only an audit with more options records."""
    yield "query REPORT 'select ... from input_labels join ...'", ["query", new, OWNERS]
    policy = ["--policy", str(EVERY_RULE)]
    yield f"check REPORT --policy {EVERY_RULE.name}", ["check", new, *policy]
    yield (
        f"html REPORT --policy {EVERY_RULE.name}",
        ["html", new, *policy, "-o", os.devnull],
    )
    yield (
        "unused --registry REPORT --running RUNNING",
        ["unused", "--registry", new, "--running", running],
    )
    yield (
        "unused ... --format jsonl",
        ["unused", "--registry", new, "--running", running, "--format", "jsonl"],
    )
    yield "bases REPORT", ["bases", new]
    package = [new, "package-7", "--version", "<1.50", "--sbom", sboms]
    yield "packages REPORT NAME --version RANGE --sbom FILE", ["packages", *package]
    yield (
        "query REPORT --sbom FILE 'select ... from packages group by ...'",
        ["query", new, "--sbom", sboms, SBOMS],
    )


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
        cpu_s=usage.ru_utime + usage.ru_stime,
        seconds=time.perf_counter() - began,
        peak_mib=usage.ru_maxrss / 1024,  # Linux counts in KiB
    )


if __name__ == "__main__":
    main()
