"""python -m bench.adaptive [--refs N] [--host NAME ...] [--fixed N ...] [--processes N]

Audits simulated registries (hosts.py), each with the defaults and with fixed settings
of --requests-at-once, and prints a table: how close the defaults come to the best fixed
setting, and what they cost the registry and its other users. With --processes, so many
audits at the same time share the references, and do not know of each other.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.config.requests_at_once import DEFAULT_MOST
from bench.adaptive.audits import FIXED, audit_all, best_fixed, is_up_to_default
from bench.adaptive.hosts import KINDS, Kind
from bench.adaptive.server import (
    Seen,
    SimulatedHost,
    idle_latencies,
    references,
    requests_for,
    simulated_host,
)

NO_DEADLINE_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """An audit, or several at a time: the setting (empty: the defaults), references
    that have an image record, seconds without the start of Python, and what the host
    saw."""

    setting: str
    found: int
    failed: int
    seconds: float
    seen: Seen

    @property
    def rate(self) -> float:
        """References per second."""
        return self.found / self.seconds

    @property
    def is_comparable(self) -> bool:
        """Whether the setting is a fixed one that the defaults could have chosen."""
        return is_up_to_default(self.setting)

    @property
    def is_complete(self) -> bool:
        """Whether every reference has its record."""
        return self.failed == 0


def main() -> None:
    """Audit and print."""
    options = _options()
    print(
        f"{options.refs} references; Python {platform.python_version()}; load"
        f" {os.getloadavg()[0]:.1f} before\n"
    )
    print(
        "| host | setting | references/s | share of the best fixed"
        f" (1 to {DEFAULT_MOST}) | refused | most at once | saturated by"
        " | others wait, times idle |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    with simulated_host() as host, tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            if not options.host or any(part in kind.name for part in options.host):
                _print(kind, _audits(kind, host, Path(folder), options))
    print(f"\nload {os.getloadavg()[0]:.1f} after")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.adaptive")
    parser.add_argument("--refs", type=int, default=4000)
    parser.add_argument("--host", nargs="*", help="parts of the names of hosts")
    parser.add_argument("--fixed", nargs="*", type=int, default=FIXED)
    parser.add_argument(
        "--deadline", type=int, default=30, help="of fixed settings, in seconds"
    )
    parser.add_argument("--processes", type=int, default=1, help="at the same time")
    parser.add_argument("--rounds", type=int, default=1, help="of the defaults")
    return parser.parse_args()


def _audits(
    kind: Kind, host: SimulatedHost, folder: Path, options: argparse.Namespace
) -> list[Audited]:
    processes = options.processes
    settings: list[list[str]] = [["--requests-at-once", str(n)] for n in options.fixed]
    if processes > 1:
        settings.append(["--runs-at-once", str(processes)])
    settings += [[]] * options.rounds
    found = [audit(kind, host, folder, flags, options) for flags in settings]
    best = max(found, key=lambda one: one.rate if one.is_comparable else 0.0)
    if best.is_comparable and not best.is_complete:
        # What the defaults are compared with is not cut short, as they are not.
        flags = best.setting.split()
        options = argparse.Namespace(**{**vars(options), "deadline": NO_DEADLINE_S})
        found[found.index(best)] = audit(kind, host, folder, flags, options)
    return found


def audit(
    kind: Kind,
    host: SimulatedHost,
    folder: Path,
    flags: Sequence[str],
    options: argparse.Namespace,
) -> Audited:
    """Audit a new host of a kind, without anything known from earlier audits."""
    refs = options.refs
    with tempfile.TemporaryDirectory(dir=folder) as name:
        host.begin(kind, requests_for(refs))
        run = audit_all(
            host.name,
            references(refs),
            Path(name),
            flags,
            deadline_s=options.deadline,
            processes=options.processes,
        )
        seen = host.end()
    return Audited(
        setting=" ".join(flags),
        found=run.found,
        failed=refs - run.found,
        seconds=run.seconds,
        seen=seen,
    )


def _print(kind: Kind, audits: Sequence[Audited]) -> None:
    best = best_fixed((one.setting, one.rate) for one in audits)
    refs = audits[0].found + audits[0].failed
    idle = idle_latencies(kind, requests_for(refs))
    for one in audits:
        others = max(
            (
                statistics.median(times) / idle[part]
                for part, times in one.seen.others.items()
                if len(times) > 2
            ),
            default=1.0,
        )
        cells = (
            kind.name,
            one.setting.removeprefix("--requests-at-once ") or "**the defaults**",
            f"{one.rate:.0f}" + ("" if one.is_complete else " (not finished)"),
            "-" if best is None else f"{one.rate / best:.2f}",
            f"{one.seen.refused:.1%}" if kind.may_refuse else "-",
            str(one.seen.most_at_once),
            str(kind.saturated_by or "-"),
            f"{others:.1f}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
