"""The machine instructions of an audit: python -m bench.instructions

Valgrind's callgrind counts them in the audit's process, without the kernel. Unlike
seconds, they are the same on a busy and on an idle machine, to 0.1 %, so that savings
of 1 % can be measured. They are not time: a cache miss counts like a hit, and
valgrind's processor has no SHA-256 instructions, so that hashing seems more expensive
than it is.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.throughput.clients import SLOTS
from bench.throughput.programs import DISTRIBUTION_2, DISTRIBUTION_3, Program
from bench.throughput.servers import USER, running
from bench.throughput.workload import some_repositories, workload

VALGRIND = Program("valgrind", "apt-get install valgrind")
REPOSITORIES = 18
_COLLECTED = re.compile(rb"Collected : (\d+)")


def main() -> None:
    """Count and print."""
    valgrind = VALGRIND.path()
    registry = DISTRIBUTION_3.path() or DISTRIBUTION_2.path()
    if valgrind is None or registry is None:
        missing = VALGRIND if valgrind is None else DISTRIBUTION_3
        sys.exit(f"missing: {missing.name} ({missing.get})")
    todo = workload(some_repositories(REPOSITORIES))
    print(
        f"{len(todo.names)} tags, {len(todo.paths)} requests at the fewest;"
        f" Python {sys.version.split()[0]}\n"
    )
    print("| audit | the start, million | requests | each request, thousand |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        todo.store(Path(folder, "root"))
        for auth in (False, True):
            place = Path(folder, "tokens" if auth else "open")
            place.mkdir()
            with running(registry, Path(folder, "root"), place, auth=auth) as server:
                server.configure(place / "auditor.toml", SLOTS)
                names = [f"{server.host}/{name}\n" for name in todo.names]
                (place / "one").write_text(names[0])
                (place / "all").write_text("".join(names))
                kind = "with tokens" if auth else "open"
                for night, store in (
                    ("no store", "--no-cache"),
                    ("cold store", "--cache"),
                    ("warm store", "--cache"),
                ):
                    _print(valgrind, place, f"{kind}, {night}", store)


def _print(valgrind: str, place: Path, name: str, store: str) -> None:
    """Print a row: the instructions of one reference, and of each further one."""
    used = [] if store == "--no-cache" else [str(place / "store" / "digests")]
    apart = [] if store == "--no-cache" else [str(place / "apart" / "digests")]
    _audit([], place, "one", [store, *apart])  # compiles
    start, few = _audit([valgrind], place, "one", [store, *apart])
    whole, many = _audit([valgrind], place, "all", [store, *used])
    each = (whole - start) / (many - few)
    print(f"| {name} | {start / 1e6:.0f} | {many} | {each / 1e3:.1f} |", flush=True)


def _audit(
    valgrind: list[str], place: Path, names: str, more: list[str]
) -> tuple[int, int]:
    """Instructions (0 without valgrind) and requests of one audit."""
    for folder in ("store", "apart"):
        (place / folder).mkdir(exist_ok=True)
    summary = place / "summary"
    done = subprocess.run(
        [
            *valgrind,
            *(("--tool=callgrind", "--callgrind-out-file=/dev/null") * bool(valgrind)),
            *(sys.executable, "-m", "auditor", "audit", "-f", str(place / names)),
            *("--config", str(place / "auditor.toml"), "--summary", str(summary)),
            *("--output", str(place / "report.jsonl"), *more),
        ],
        check=True,
        capture_output=True,
        env={
            **os.environ,
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(place / "compiled"),
            "BENCH_PASSWORD": USER.password,
        },
    )
    requests = sum(json.loads(summary.read_bytes())["requests"].values())
    found = _COLLECTED.search(done.stderr)
    return int(found[1]) if found else 0, requests


if __name__ == "__main__":
    main()
