"""python -m bench.adaptive.real [--registry NAME] [--refs N] [--fixed N ...]

Audits real registries with the defaults and with fixed settings of --requests-at-once:
distribution 3 and docker-registry, on the same machine and, behind toxiproxy, at a
distance. The references are tags of Docker Official Images. Another client asks for
manifests meanwhile: its latency is what others notice.
"""

from __future__ import annotations

import argparse
import http.client
import os
import platform
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.adaptive.audits import FIXED, Run, audit_all, best_fixed
from bench.throughput import programs
from bench.throughput.servers import running
from bench.throughput.workload import some_repositories, workload
from tests.real.go_programs import TOXIPROXY
from tests.real.toxiproxy import behind_toxiproxy

PROBE_S = 0.05
_IDLE_PROBES = 60
SEED = 21


REGISTRIES = {
    "distribution 3": programs.DISTRIBUTION_3,
    "docker-registry 2.8": programs.DISTRIBUTION_2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Todo:
    """The references, all requests for them, and a folder with the store `root`."""

    names: Sequence[str]
    paths: Sequence[str]
    place: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Audited:
    """`others_wait`: the median latency of others, as a multiple of that when idle."""

    setting: str
    run: Run
    others_wait: float

    @property
    def rate(self) -> float:
        """References per second."""
        return self.run.found / self.run.seconds


def main() -> None:
    """Audit and print."""
    options = _options()
    images = workload(some_repositories(options.repositories))
    names = list(images.names)
    random.Random(SEED).shuffle(names)
    names = names[: options.refs]
    print(
        f"{len(names)} tags of {options.repositories} official repositories; Python"
        f" {platform.python_version()}; load {os.getloadavg()[0]:.1f} before\n"
    )
    print(
        "| registry | setting | references/s | share of the best fixed (1 to 64)"
        " | greatest limit | others wait, times idle |"
    )
    print("|---|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        todo = _Todo(names=names, paths=images.paths, place=Path(folder))
        images.store(todo.place / "root")
        for name, program in REGISTRIES.items():
            if options.registry not in name:
                continue
            path = program.path()
            if path is None:
                print(f"missing: {program.name} ({program.get})")
                continue
            for distance_ms in options.distance_ms:
                where = f", {distance_ms} ms away" if distance_ms else ""
                rounds = list(_audits(path, distance_ms, todo, options))
                _print(f"{name}{where}", rounds, len(names))
    print(f"\nload {os.getloadavg()[0]:.1f} after")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.adaptive.real")
    parser.add_argument("--registry", default="", help="a part of its name")
    parser.add_argument("--refs", type=int, default=4000)
    parser.add_argument("--repositories", type=int, default=72)
    parser.add_argument("--fixed", nargs="*", type=int, default=FIXED)
    parser.add_argument(
        "--deadline", type=int, default=30, help="of fixed settings, in seconds"
    )
    parser.add_argument(
        "--distance-ms", nargs="*", type=int, default=(0, 50), help="of a round trip"
    )
    parser.add_argument("--rounds", type=int, default=3, help="in turn")
    return parser.parse_args()


def _audits(
    path: str, distance_ms: int, todo: _Todo, options: argparse.Namespace
) -> Iterator[list[_Audited]]:
    """The settings in turn, so many rounds."""
    settings = [["--requests-at-once", str(number)] for number in options.fixed]
    settings.append([])
    with (
        tempfile.TemporaryDirectory(dir=todo.place) as own,
        running(path, todo.place / "root", Path(own), auth=False) as server,
        _at_distance(server.host, distance_ms) as host,
    ):
        idle_s = statistics.median(_Others(host, todo.paths).some(_IDLE_PROBES))
        for number in range(options.rounds):
            audits = []
            for flags in settings:
                others = _Others(host, todo.paths)
                others.start()
                folder = Path(own, f"{number}{''.join(flags)}")
                run = audit_all(
                    host, todo.names, folder, flags, deadline_s=options.deadline
                )
                waited = statistics.median(others.end()) / idle_s
                audits.append(
                    _Audited(setting=" ".join(flags), run=run, others_wait=waited)
                )
            yield audits


def _print(registry: str, rounds: Sequence[Sequence[_Audited]], refs: int) -> None:
    """A row for each setting: medians of all rounds, and the shares of each round."""
    best = [best_fixed((one.setting, one.rate) for one in every) for every in rounds]
    for audits in zip(*rounds, strict=True):
        shares = [
            one.rate / most for one, most in zip(audits, best, strict=True) if most
        ]
        is_complete = all(one.run.found == refs for one in audits)
        cells = (
            registry,
            audits[0].setting.removeprefix("--requests-at-once ") or "**the defaults**",
            f"{statistics.median(one.rate for one in audits):.0f}"
            + ("" if is_complete else " (not finished)"),
            f"{statistics.median(shares):.2f} ({min(shares):.2f}-{max(shares):.2f})"
            if shares
            else "-",
            str(max(one.run.limit for one in audits)),
            f"{statistics.median(one.others_wait for one in audits):.1f}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)


@contextmanager
def _at_distance(host: str, milliseconds: int) -> Iterator[str]:
    """The name of a host whose round trips take so much longer."""
    if not milliseconds:
        yield host
        return
    program = TOXIPROXY.path()
    if program is None:
        raise SystemExit(f"missing: {TOXIPROXY.name} ({TOXIPROXY.how})")
    latency = {"type": "latency", "attributes": {"latency": milliseconds}}
    with behind_toxiproxy(program, host, [latency]) as distant:
        yield distant


class _Others(threading.Thread):
    """Another client: asks for a manifest every `PROBE_S`, and measures."""

    def __init__(self, host: str, paths: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self._connection = http.client.HTTPConnection(host)
        self._paths = paths
        self._ended = threading.Event()
        self._took_s: list[float] = []

    def run(self) -> None:
        """Ask until `end`."""
        chance = random.Random(SEED)
        while not self._ended.wait(PROBE_S * chance.uniform(0.5, 1.5)):
            self._took_s.append(self._ask(chance))

    def some(self, count: int) -> list[float]:
        """The seconds that so many answers take."""
        chance = random.Random(SEED)
        found = []
        for _ in range(count):
            time.sleep(PROBE_S)
            found.append(self._ask(chance))
        return found

    def end(self) -> list[float]:
        """Stop; the seconds that each answer took."""
        self._ended.set()
        self.join()
        return self._took_s

    def _ask(self, chance: random.Random) -> float:
        path = chance.choice(self._paths)
        since = time.perf_counter()
        self._connection.request("GET", path, headers={"Accept": "*/*"})
        self._connection.getresponse().read()
        return time.perf_counter() - since


if __name__ == "__main__":
    main()
