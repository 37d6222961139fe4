"""How the audit of one share ended, and who audits shares."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from auditor.engines.plan import Plan
from auditor.errors import ExitCode
from auditor.fast_dataclass import dataclass
from auditor.util.shard import Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One share whose audit has ended. `code` is the exit code of `auditor audit`;
    `last_words` are the sentences that explain a bad one, and `summary` is what it came
    to, if it said so without a whole report."""

    shard: Shard
    code: int
    last_words: Sequence[str] = ()
    summary: Mapping[str, Any] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether there is a whole report of it."""
        return self.code in {ExitCode.OK, ExitCode.FAILED}


class Engine(Protocol):
    """Audits shares, each into its part."""

    async def run(self, plan: Plan, ended: Callable[[Share], None]) -> None:
        """Audit the shares of a plan; `ended` is told of each as it ends."""

    def stop(self, number: signal.Signals) -> None:
        """End early: a signal has come. `run` returns soon after."""
