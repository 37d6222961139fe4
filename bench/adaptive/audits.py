"""Audits for the benchmark: each a process, with nothing known from earlier ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.config.requests_at_once import DEFAULT_MOST

FIXED = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """References that have an image record, seconds without the start of Python, and
    the greatest limit on concurrent requests that each process had, in all."""

    found: int
    seconds: float
    limit: int


def audit_all(
    host: str,
    names: Sequence[str],
    place: Path,
    flags: Sequence[str],
    *,
    deadline_s: int,
    processes: int = 1,
) -> Run:
    """Audit `repository:tag` of a host, shared between so many processes.

    Audits with a fixed setting end at the deadline: slow settings are not the best
    ones, so they need not come to their end. Files are written to `place`.
    """
    audits = [
        _start(host, names[number::processes], place / str(number), flags, deadline_s)
        for number in range(processes)
    ]
    summaries = []
    for number, process in enumerate(audits):
        _, messages = process.communicate()
        summary = place / str(number) / "summary"
        if not summary.exists():
            sys.exit(f"the audit failed: {messages[-2000:]}")
        summaries.append(json.loads(summary.read_bytes()))
    return Run(
        found=sum(told["references"]["audited"] for told in summaries),
        seconds=max(told["duration_s"] for told in summaries),
        limit=sum(
            max(of["highest"] for of in told["hosts"]) if told["hosts"] else 0
            for told in summaries
        ),
    )


def best_fixed(rates: Iterable[tuple[str, float]]) -> float | None:
    """The best rate of `--requests-at-once N`, up to the default ceiling."""
    return max((rate for name, rate in rates if is_up_to_default(name)), default=None)


def is_up_to_default(setting: str) -> bool:
    """Whether a setting is `--requests-at-once N` within the default ceiling."""
    name, _, number = setting.partition(" ")
    return name == "--requests-at-once" and int(number) <= DEFAULT_MOST


def _start(
    host: str, names: Sequence[str], place: Path, flags: Sequence[str], deadline_s: int
) -> subprocess.Popen[str]:
    place.mkdir(parents=True)
    (place / "names").write_text("".join(f"{host}/{one}\n" for one in names))
    is_fixed = "--requests-at-once" in flags
    deadline = ("--deadline", f"{deadline_s}s") if is_fixed else ()
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "auditor", "audit", "-f", str(place / "names")),
            *("--output", str(place / "report.jsonl")),
            *("--summary", str(place / "summary")),
            *flags,
            *deadline,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(place), "HOME": str(place)},
    )
