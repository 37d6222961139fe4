"""`auditor token` for several repositories: one line each, then the totals."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import field
from typing import TYPE_CHECKING, Any

from auditor.cli.output import json_text, print_line, print_message
from auditor.config import Settings
from auditor.diagnose.token_check import PULL, PullAccess
from auditor.errors import ExitCode, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.util.text import format_count, safe_text

if TYPE_CHECKING:
    from auditor.util.terminal import Screen

_ACTIONS_CHARS = 300
# More than any registry has; a hostile token service may invent as many as it likes.
_MAX_ACTIONS = 100


async def list_pull_access(
    settings: Settings,
    actions: tuple[str, ...],
    allowed: tuple[str, ...] | None,
    as_json: bool,
) -> int:
    """Request `actions` for each repository, print lines, return the exit code.

    A grant of an action that is not in `allowed` is a failure; None allows all.
    """
    from auditor.diagnose.token_check import PullAccessCheck
    from auditor.input.cluster import read_cluster
    from auditor.input.lists import check_lists, input_items
    from auditor.input.tag_filter import Selection
    from auditor.registry.registries import open_registries
    from auditor.report.summary_text import suspicious_lines
    from auditor.util.clock import SystemClock
    from auditor.util.terminal import screen_of, styled

    screen = screen_of(sys.stdout)
    check_lists(settings)
    actions = tuple(sorted({*actions, *PULL}))
    clock = SystemClock()
    totals = PullAccessTotals(allowed=PULL if allowed is None else allowed)
    is_read = True

    async def write(granted: PullAccess) -> None:
        nonlocal is_read
        totals.add(granted)
        line = _json_line(granted) if as_json else _text_line(granted, screen)
        is_read = is_read and print_line(line)
        if not is_read:
            run.stop()

    cluster = await read_cluster(settings)
    async with open_registries(
        settings, clock=clock, pull_secrets=cluster.pull_secrets
    ) as registries:
        run = PullAccessCheck(
            input_items(settings, cluster=cluster.items),
            registries=registries,
            selection=Selection.of(settings, clock.epoch()),
            actions=actions,
            workers=settings.workers_of,
            window=settings.window,
            write=write,
        )
        if not as_json:
            is_read = print_line(styled(_HEADER, "bold", screen))
        await run.run()
    if not is_read:
        return ExitCode.OK  # the reader (`head`) has enough
    has_excess = allowed is not None and totals.beyond > 0
    passed = totals.all_may_pull and not has_excess
    total, *more = totals.lines()
    print_message(total, "green" if passed else "red")
    for line in (*more, *map(str.strip, suspicious_lines(run.listings.shown))):
        print_message(line)
    return ExitCode.OK if passed else ExitCode.FAILED


@dataclass(slots=True, kw_only=True)
class PullAccessTotals:
    """The totals of all lines. `failed_inputs` are lines and patterns that failed."""

    allowed: tuple[str, ...]
    repositories: int = 0
    failed_inputs: int = 0
    pulls: Counter[bool | None] = field(default_factory=Counter)
    failed: Counter[FailureKind] = field(default_factory=Counter)
    beyond: int = 0
    # At most the configured logins, and `_MAX_ACTIONS` actions.
    accounts: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    more_refused: int = 0
    unverified: int = 0

    def add(self, granted: PullAccess) -> None:
        """Add one line."""
        if granted.repository is None:
            self.failed_inputs += 1
        else:
            self.repositories += 1
        self.more_refused += granted.more_refused
        self.unverified += granted.unproven
        if granted.failure is not None:
            self.failed[granted.failure.kind] += 1
            return
        self.pulls[granted.pull] += 1
        beyond = granted.beyond(self.allowed)
        if beyond and granted.check is not None:
            self.beyond += 1
            self.accounts[granted.check.account or "anonymous"] += 1
            for action in beyond:
                if action in self.actions or len(self.actions) < _MAX_ACTIONS:
                    self.actions[action] += 1

    @property
    def all_may_pull(self) -> bool:
        """Whether the account is known to have pull access to all repositories."""
        return (
            self.pulls[True] == self.repositories
            and not self.failed_inputs
            and not self.unverified
        )

    def lines(self) -> Iterator[str]:
        """The totals as lines of text."""
        states = [
            ("granted", self.pulls[True]),
            ("not granted", self.pulls[False]),
            ("unknown", self.pulls[None]),
            ("failed", self.failed.total() - self.failed_inputs),
        ]
        pull = ", ".join(f"{state} {count}" for state, count in states if count)
        repositories = format_count(self.repositories, "repository", "repositories")
        yield repositories + (f": pull {pull}" if pull else "")
        if self.failed_inputs:
            yield f"{format_count(self.failed_inputs, 'line')} of the input failed"
        if self.failed:
            yield "failed: " + _counts_text(self.failed)
            yield f"what to do: auditor explain {' '.join(self.failed)}"
        if self.beyond:
            yield (
                f"more than {', '.join(self.allowed)} granted:"
                f" {_counts_text(self.actions)};"
                f" accounts: {_counts_text(self.accounts)}"
            )
        if self.more_refused:
            yield (
                "more than pull refused by the token service:"
                f" {format_count(self.more_refused, 'repository', 'repositories')}"
            )
        if self.unverified:
            tokens = format_count(self.unverified, "token")
            yield f"{tokens} not verified by any key of --token-keys"


def _counts_text(counts: Counter[Any]) -> str:
    return ", ".join(
        f"{safe_text(str(name), 80)} ({count})" for name, count in counts.most_common()
    )


_HEADER = f"{'PULL':<8}  {'BEYOND':<16}  REPOSITORY"
_REPOSITORY_COLUMN = _HEADER.index("REPOSITORY")
_COLOURS = {"yes": "green", "no": "red", "unknown": "yellow", "failed": "red"}


def _text_line(granted: PullAccess, screen: Screen) -> str:
    """One line; several on a terminal that is too narrow for the reason."""
    from auditor.util.terminal import styled, wrapped

    if granted.failure is not None:
        state, beyond = "failed", "-"
        reason = f"{granted.failure.kind}: {granted.failure.detail}"
        what = f"{safe_text(granted.text, 400)}: {reason}"
    else:
        state = {True: "yes", False: "no", None: "unknown"}[granted.pull]
        actions = ", ".join(_safe_actions(granted.beyond())) or "-"
        beyond = safe_text(actions, _ACTIONS_CHARS)
        what = granted.text + _unknown_reason(granted)
    line = f"{state:<8}  {beyond:<16}  {what}"
    text = "\n".join(wrapped(line, screen, indent=_REPOSITORY_COLUMN))
    return styled(state, _COLOURS[state], screen) + text[len(state) :]


def _unknown_reason(granted: PullAccess) -> str:
    check = granted.check
    if check is None or granted.pull is not None:
        return ""
    return "  (the token is opaque)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullAccessDocument:
    """One line of `auditor token` for several repositories.

    - `text`: the repository, or the text that names none
    - `pull`: whether the account can pull; None if it is unknown
    - `actions`: what the token grants
    - `beyond_pull`: granted actions other than pull
    - `asked`: the actions that were requested
    - `more_refused`: the service refused all requested actions together, and only pull
      was requested then
    - `failure`, `status`, `detail`: why there is no token; None for a success
    """

    registry: str | None
    repository: str | None
    text: str
    pull: bool | None
    state: str
    actions: tuple[str, ...]
    beyond_pull: tuple[str, ...]
    asked: tuple[str, ...]
    more_refused: bool
    authentication: str | None
    account: str | None
    credential: str | None
    verified: bool | None
    failure: str | None
    status: int | None
    detail: str | None


def _json_line(granted: PullAccess) -> str:
    check, failure, repository = granted.check, granted.failure, granted.repository
    document = PullAccessDocument(
        registry=None if repository is None else repository.registry,
        repository=None if repository is None else repository.repository,
        text=safe_text(granted.text, 400),
        pull=granted.pull,
        state="failed" if check is None else check.access.state,
        actions=() if check is None else _safe_actions(check.access.actions),
        beyond_pull=_safe_actions(granted.beyond()),
        asked=granted.requested,
        more_refused=granted.more_refused,
        authentication=None if check is None else check.scheme,
        account=None if check is None else _safe_or_none(check.account),
        credential=None if check is None else _safe_or_none(check.credential),
        verified=None if check is None else check.access.verified,
        failure=None if failure is None else failure.kind,
        status=None if failure is None else failure.status,
        detail=None if failure is None else failure.detail,
    )
    return json_text(document)


def _safe_actions(actions: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(safe_text(action, 40) for action in actions)


def _safe_or_none(text: str | None) -> str | None:
    return None if text is None else safe_text(text, 300)
