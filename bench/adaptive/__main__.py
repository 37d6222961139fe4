"""python -m bench.adaptive [--refs N] [--host NAME ...] [--fixed N ...]

Audits simulated registries (hosts.py), each with the defaults and with fixed settings
of --requests-at-once, and prints a table: how close the defaults come to the best fixed
setting, and what they cost the registry and its other users.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.adaptive.hosts import KINDS, Kind
from bench.adaptive.server import (
    Seen,
    SimulatedHost,
    idle_latencies,
    references,
    requests_for,
    simulated_host,
)

FIXED = (1, 2, 4, 8, 16, 32, 64, 128)
DEFAULT_CEILING = 64
# Slow settings are not the best ones, so they need not come to their end.
FIXED_DEADLINE_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """One audit: its setting (empty: the defaults), its references that have an image
    record, its seconds without the start of Python, and what the host saw."""

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
        f" (1 to {DEFAULT_CEILING}) | refused | most at once | saturated by"
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
    parser.add_argument("--rounds", type=int, default=1, help="of the defaults")
    return parser.parse_args()


def _audits(
    kind: Kind, host: SimulatedHost, folder: Path, options: argparse.Namespace
) -> list[Audited]:
    settings: list[list[str]] = [["--requests-at-once", str(n)] for n in options.fixed]
    settings += [[]] * options.rounds
    return [audit(kind, host, folder, flags, options.refs) for flags in settings]


def audit(
    kind: Kind, host: SimulatedHost, folder: Path, flags: Sequence[str], refs: int
) -> Audited:
    """Audit a new host of a kind, without anything known from earlier audits."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        names, summary = place / "names", place / "summary"
        names.write_text("".join(f"{host.name}/{one}\n" for one in references(refs)))
        host.begin(kind, requests_for(refs))
        deadline = ("--deadline", f"{FIXED_DEADLINE_S}s") if flags else ()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "auditor", "audit", "-f", str(names)),
                *("--output", str(place / "report.jsonl"), "--summary", str(summary)),
                *flags,
                *deadline,
            ],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": name, "HOME": name},
        )
        if not summary.exists():
            sys.exit(f"the audit failed: {done.stderr[-2000:]}")
        told = json.loads(summary.read_bytes())
    return Audited(
        setting=flags[-1] if flags else "",
        found=told["references"]["audited"],
        failed=refs - told["references"]["audited"],
        seconds=told["duration_s"],
        seen=host.end(),
    )


def _print(kind: Kind, audits: Sequence[Audited]) -> None:
    fixed = [
        one.rate
        for one in audits
        if one.setting and int(one.setting) <= DEFAULT_CEILING
    ]
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
            one.setting or "**the defaults**",
            f"{one.rate:.0f}" + ("" if one.is_complete else " (not finished)"),
            f"{one.rate / max(fixed):.2f}" if fixed else "-",
            f"{one.seen.refused:.1%}" if kind.may_refuse else "-",
            str(one.seen.most_at_once),
            str(kind.saturated_by or "-"),
            f"{others:.1f}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
