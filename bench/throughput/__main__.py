"""make bench, or python -m bench.throughput [--rounds N] [--repositories N]

One table for each installed registry, public and with a token service. The limit is
wrk, which replays the minimum of requests; auditor and comparable programs run in turn
with it. Then, how close auditor comes to the maximum at a slow registry.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from bench.throughput import latency, programs
from bench.throughput.clients import Client, Setting, clients
from bench.throughput.measured import Measured
from bench.throughput.servers import running
from bench.throughput.workload import Workload, some_repositories, workload

MEMORY = Path("/dev/shm")  # noqa: S108 - a directory with a random name is made in it


def main() -> None:
    """Measure and print."""
    options = _options()
    with ExitStack() as stack:
        memory = MEMORY if MEMORY.is_dir() else None
        place = Path(
            stack.enter_context(tempfile.TemporaryDirectory("-bench", dir=memory))
        )
        repositories = options.repositories and some_repositories(options.repositories)
        todo = workload(repositories or None)
        todo.store(place / "root")
        print(
            f"{len(todo.names)} tags, {len(todo.paths)} requests at the fewest;"
            f" {options.rounds} rounds, in turn; Python {platform.python_version()}"
        )
        for program in (programs.DISTRIBUTION_3, programs.DISTRIBUTION_2):
            path = program.path()
            if path is None:
                print(f"missing: {program.name} ({program.get})")
                continue
            for auth in (False, True):
                _table(path, todo, place, auth=auth, rounds=options.rounds)
            if not options.all:
                break
    if options.latency:
        latency.main()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.throughput")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--repositories",
        type=int,
        default=0,
        help="number of repositories (default: all 144)",
    )
    parser.add_argument(
        "--all", action="store_true", help="docker-registry 2.8 and distribution 3"
    )
    parser.add_argument(
        "--no-latency", dest="latency", action="store_false", help="no slow registry"
    )
    return parser.parse_args()


def _table(path: str, todo: Workload, place: Path, *, auth: bool, rounds: int) -> None:
    kind = "with token authentication" if auth else "without authentication"
    print(f"\n{Path(path).name}, {kind}\n")
    with tempfile.TemporaryDirectory(dir=place) as own:
        folder = Path(own)
        with running(path, place / "root", folder, auth=auth) as server:
            setting = Setting(server=server, workload=todo, place=folder)
            rows = clients(setting)
            for row in rows:  # the registry's caches and ours are warm for all
                if not row.sample:
                    row.run()
                    break
            taken: dict[str, list[Measured]] = defaultdict(list)
            for number in range(rounds):
                for row in rows:
                    if row.sample and number:
                        continue  # slow, and far away: once is enough
                    taken[row.name].append(row.run())
    _print(rows, taken)


def _print(rows: Iterable[Client], taken: dict[str, list[Measured]]) -> None:
    print(
        "| client | wall s | requests | 401 | requests/s | CPU us/request"
        " | registry's CPU us/request | resident MB | rate / limit |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    limits = taken.get("limit: wrk, the same URLs")
    for row in rows:
        runs = taken[row.name]
        ratios = (
            [run.rate / limit.rate for run, limit in zip(runs, limits, strict=False)]
            if limits
            else []
        )
        cells = (
            row.name + (" (a sample)" if row.sample else ""),
            _spread([run.wall_s for run in runs], "{:.2f}"),
            f"{statistics.median(run.requests for run in runs):.0f}",
            f"{max(run.refused for run in runs)}",
            f"{statistics.median(run.rate for run in runs):.0f}",
            _spread([1e6 * run.cpu_s / run.requests for run in runs], "{:.0f}"),
            f"{statistics.median(1e6 * r.registry_s / r.requests for r in runs):.0f}",
            f"{max(run.resident for run in runs) / 1e6:.0f}",
            _spread(ratios, "{:.2f}") if ratios else "-",
        )
        print("| " + " | ".join(cells) + " |")


def _spread(values: list[float], form: str) -> str:
    """The median, and the smallest and largest value."""
    middle = form.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))}-{form.format(max(values))})"


if __name__ == "__main__":
    main()
