"""`auditor token` of many repositories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import field
from typing import Any

import orjson

from auditor.cli.main import say
from auditor.cli.output import print_line
from auditor.config import Settings
from auditor.diagnose.token_check import PULL, Granted
from auditor.errors import ExitCode, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.model import AccessState
from auditor.util.text import safe_text

_ACTIONS_CHARS = 300


async def list_tokens(
    settings: Settings,
    actions: tuple[str, ...],
    allowed: tuple[str, ...] | None,
    as_json: bool,
) -> int:
    """Print a line for each repository, then what they come to.

    `allowed`: what a grant may hold without being told by the exit code; null: all.
    """
    from datetime import UTC, datetime

    from auditor.audit.pool import PoolSize
    from auditor.diagnose.token_check import TokenList
    from auditor.input.lists import check_lists, items_of
    from auditor.input.tag_filter import Selection
    from auditor.registry.registries import open_registries
    from auditor.report.listing_stats import suspicious_lines
    from auditor.util.clock import SystemClock

    check_lists(settings)
    actions = tuple(sorted({*actions, *PULL}))
    clock, totals = SystemClock(), Totals(allowed=PULL if allowed is None else allowed)
    is_read = True

    async def write(granted: Granted) -> None:
        nonlocal is_read
        totals.count(granted)
        line = _json(granted) if as_json else _line(granted)
        is_read = is_read and print_line(line)
        if not is_read:
            run.stop()

    async with open_registries(settings, clock=clock) as registries:
        run = TokenList(
            items_of(settings),
            registries=registries,
            selection=Selection.of(
                settings, datetime.fromtimestamp(clock.epoch(), UTC)
            ),
            actions=actions,
            size=PoolSize(workers=settings.workers_of, window=settings.window),
            write=write,
        )
        if not as_json:
            is_read = print_line(f"{'PULL':<8}  {'BEYOND':<16}  REPOSITORY")
        await run.run()
    if not is_read:
        return ExitCode.OK  # `head` has what it wanted
    for told in (*totals.lines(), *map(str.strip, suspicious_lines(run.listings))):
        say(told)
    return (
        ExitCode.OK
        if totals.good and (allowed is None or not totals.beyond)
        else (ExitCode.FAILED)
    )


@dataclass(slots=True, kw_only=True)
class Totals:
    """What the answers come to. `allowed` is what no grant is counted for.

    `others` are lines and patterns of the input that failed.
    """

    allowed: tuple[str, ...]
    repositories: int = 0
    others: int = 0
    pulls: Counter[bool | None] = field(default_factory=Counter)
    failed: Counter[FailureKind] = field(default_factory=Counter)
    beyond: int = 0
    # As many accounts as logins are configured, and as actions exist.
    accounts: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    unasked: int = 0
    unproven: int = 0

    def count(self, granted: Granted) -> None:
        """One more."""
        if granted.repository is None:
            self.others += 1
        else:
            self.repositories += 1
        self.unasked += granted.more_refused
        self.unproven += granted.unproven
        if granted.failure is not None:
            self.failed[granted.failure.kind] += 1
            return
        self.pulls[granted.pull] += 1
        beyond = granted.beyond(self.allowed)
        if beyond and granted.check is not None:
            self.beyond += 1
            self.accounts[granted.check.account or "anonymous"] += 1
            for action in beyond:
                if action in self.actions or len(self.actions) < _MOST_ACTIONS:
                    self.actions[action] += 1

    @property
    def good(self) -> bool:
        """Whether it is known of all of them that the account may pull."""
        return (
            self.pulls[True] == self.repositories
            and not self.others
            and not self.unproven
        )

    def lines(self) -> Iterator[str]:
        """The sentences."""
        what = "repository" if self.repositories == 1 else "repositories"
        states = [
            (self.pulls[True], "may be pulled from"),
            (self.pulls[False], "may not"),
            (self.pulls[None], "cannot be seen"),
            (self.failed.total() - self.others, "failed"),
        ]
        said = ", ".join(f"{count} {words}" for count, words in states if count)
        yield f"{self.repositories} {what}" + (f": {said}" if said else "")
        if self.others:
            many = "line" if self.others == 1 else "lines"
            yield f"{self.others} {many} of the input failed"
        if self.failed:
            yield "failed: " + _counted(self.failed)
        if self.beyond:
            many = "grant goes" if self.beyond == 1 else "grants go"
            yield (
                f"{self.beyond} {many} beyond {', '.join(self.allowed)}:"
                f" {_counted(self.actions)}; as {_counted(self.accounts)}"
            )
        if self.unasked:
            yield f"of {self.unasked} the service refuses to tell more than pull"
        if self.unproven:
            many = "token is" if self.unproven == 1 else "tokens are"
            yield f"{self.unproven} {many} verified by none of the keys"


# Nobody has so many; a hostile service can make them up.
_MOST_ACTIONS = 100


def _counted(counts: Counter[Any]) -> str:
    return ", ".join(
        f"{safe_text(str(name), 80)} ({count})" for name, count in counts.most_common()
    )


def _line(granted: Granted) -> str:
    if granted.failure is not None:
        why = f"{granted.failure.kind}: {granted.failure.detail}"
        return f"{'failed':<8}  {'-':<16}  {safe_text(granted.text, 400)}: {why}"
    pull = {True: "yes", False: "no", None: "unseen"}[granted.pull]
    beyond = ", ".join(safe_text(one, 40) for one in granted.beyond()) or "-"
    why = _why_unseen(granted)
    return f"{pull:<8}  {safe_text(beyond, _ACTIONS_CHARS):<16}  {granted.text}{why}"


def _why_unseen(granted: Granted) -> str:
    check = granted.check
    if check is None or granted.pull is not None:
        return ""
    if check.access.state is AccessState.ANONYMOUS:
        return "  (it does not say how it wants to be asked)"
    return "  (the token is opaque)" if check.token else "  (Basic has no token)"


def _json(granted: Granted) -> str:
    check, failure, repository = granted.check, granted.failure, granted.repository
    return orjson.dumps(
        {
            "registry": None if repository is None else repository.registry,
            "repository": None if repository is None else repository.name,
            "text": safe_text(granted.text, 400),
            "pull": granted.pull,
            "state": "failed" if check is None else check.access.state,
            "actions": [] if check is None else _safe(check.access.actions),
            "beyond_pull": _safe(granted.beyond()),
            "asked": granted.asked,
            "more_refused": granted.more_refused,
            "authentication": None if check is None else check.scheme,
            "account": None if check is None else _safe_or_null(check.account),
            "credential": None if check is None else _safe_or_null(check.credential),
            "verified": None if check is None else check.access.verified,
            "failure": None if failure is None else failure.kind,
            "status": None if failure is None else failure.status,
            "detail": None if failure is None else failure.detail,
        }
    ).decode()


def _safe(actions: tuple[str, ...]) -> list[str]:
    return [safe_text(action, 40) for action in actions]


def _safe_or_null(text: str | None) -> str | None:
    return None if text is None else safe_text(text, 300)
