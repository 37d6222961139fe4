"""python -m bench.adaptive.scenarios [--seeds N] [--only TEXT] [--trace]

What the controller does with each simulated host (simulation.py), beside fixed limits:
one audit, several that do not know of each other, and one whose process is busy. Shares
and waits are medians over the seeds, with the worst one in brackets.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from auditor.registry.concurrency_control import ConcurrencyControl
from bench.adaptive.hosts import KINDS, SLOW_KINDS
from bench.adaptive.simulation import IDLE_CLIENT, Client, Run, others_wait, simulate

CEILING = 64
BUSY_CLIENT = Client(work_s=0.002, stall_s=0.01)
KINDS_BY_NAME = {kind.name: kind for kind in (*KINDS, *SLOW_KINDS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`audits` of a host, `requests` in all, each audit `apart_s` after the other."""

    host: str
    audits: int = 1
    apart_s: float = 0.0
    requests: int = 4000
    skew_s: float = 0.05
    client: Client = IDLE_CLIENT

    @property
    def name(self) -> str:
        """What a row is called."""
        parts = [self.host]
        if self.audits > 1:
            parts.append(f"{self.audits} audits")
        if self.apart_s:
            parts.append(f"{self.apart_s:g} s apart")
        if self.client is not IDLE_CLIENT:
            parts.append("busy client")
        return "; ".join(parts)

    def adaptive(self, seed: int) -> Run:
        """The defaults."""
        # When slots begin, to tenths of a second, as clocks do not agree.
        chance = random.Random(seed)
        slots_from = chance.uniform(0, 60)
        return self._run(
            [
                ConcurrencyControl(
                    most=CEILING,
                    now=number * self.apart_s,
                    slots_from=slots_from + chance.uniform(0, self.skew_s),
                )
                for number in range(self.audits)
            ],
            seed,
        )

    def best_fixed(self, seed: int) -> float:
        """The rate of the best fixed limit of the usual ones, in answers per second.

        That which the host accepts, where one at a time is too many.
        """
        per_s = KINDS_BY_NAME[self.host].per_s
        if per_s is not None:
            return per_s
        return max(
            self._run(
                [
                    ConcurrencyControl(most=limit, follows_latency=False)
                    for _ in range(self.audits)
                ],
                seed,
            ).rate
            for limit in self._limits()
        )

    def _limits(self) -> Sequence[int]:
        if self.audits == 1:
            return 8, 16, 32, CEILING
        return max(1, 16 // self.audits), CEILING // self.audits, CEILING

    def _run(self, controls: Sequence[ConcurrencyControl], seed: int) -> Run:
        kind = KINDS_BY_NAME[self.host]
        return simulate(
            kind, controls, self.requests, seed, self.client, apart_s=self.apart_s
        )

    def row(self, seeds: Sequence[int]) -> tuple[str, list[Run]]:
        """A row of the table, and its runs."""
        runs = [self.adaptive(seed) for seed in seeds]
        shares = [
            run.rate / self.best_fixed(seed)
            for run, seed in zip(runs, seeds, strict=True)
        ]
        kind = KINDS_BY_NAME[self.host]
        cells = (
            self.name,
            _both(shares, min, ".2f"),
            f"{max(run.refused_share for run in runs):.1%}",
            _both([run.most_at_once for run in runs], max, ".0f"),
            _both([run.most_at_once_later for run in runs], max, ".0f"),
            _both([others_wait(kind, run, self.requests) for run in runs], max, ".1f"),
            _both([run.least_part for run in runs], min, ".2f"),
        )
        return f"| {' | '.join(cells)} |", runs


HEADER = """\
| host | share of the best fixed | refused | most at once | in the second half\
 | others wait | least part of an audit |
|---|---:|---:|---:|---:|---:|---:|"""


def _scenarios() -> Iterator[Scenario]:
    for kind in KINDS:
        yield Scenario(host=kind.name)
    for host in ("narrow", "distant, 50 ms"):
        yield Scenario(host=host, client=BUSY_CLIENT)
    for kind in KINDS:
        yield Scenario(host=kind.name, audits=4, requests=16_000)
    for host in ("narrow", "proxy, two back ends"):
        yield Scenario(host=host, audits=4, apart_s=7.0, requests=16_000)
    for host in ("narrow", "proxy, two back ends"):
        yield Scenario(host=host, audits=8, requests=40_000)
    for kind in SLOW_KINDS:
        yield Scenario(host=kind.name, requests=2000)


def _both(values: Sequence[float], worst: object, form: str) -> str:
    assert callable(worst)
    return f"{statistics.median(values):{form}} ({worst(values):{form}})"


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.adaptive.scenarios")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="a part of a row's name")
    parser.add_argument("--trace", action="store_true", help="print each limit")
    options = parser.parse_args()
    print(HEADER)
    for scenario in _scenarios():
        if options.only not in scenario.name:
            continue
        row, runs = scenario.row(range(options.seeds))
        print(row, flush=True)
        if options.trace:
            for at, limit in runs[0].limits:
                print(f"  {at:8.2f} s  {limit}")


if __name__ == "__main__":
    main()
