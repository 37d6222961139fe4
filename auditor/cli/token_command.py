"""`auditor token`"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import field
from typing import TYPE_CHECKING, Any

import click
import orjson

from auditor.cli.click_options import settings_from, settings_options
from auditor.cli.main import say
from auditor.cli.output import print_line
from auditor.config import OptionGroup, Settings
from auditor.diagnose.token_check import PULL, Granted
from auditor.errors import ExitCode, Failure, FailureKind, ProtocolError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import AccessState
from auditor.util.text import safe_text, safe_url

if TYPE_CHECKING:
    from auditor.diagnose.token_check import TokenCheck

# Far more than any token; standard input may be anything.
MAX_PASTED_BYTES = 256 * 1024
_PULL = "pull"
# The actions of the registry API (distribution, "Docker Registry Token Scope").
_ALL = "pull,push,delete"


@click.command("token")
@click.option(
    "--decode",
    metavar="TOKEN",
    help="Explain this token instead, offline; - reads it from standard input.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print everything as JSON: an object, or of several repositories one a line.",
)
@click.option("--raw", is_flag=True, help="Print the token itself and nothing else.")
@click.option(
    "--actions",
    metavar="ACTION[,ACTION]...",
    help="What to ask for: pull,push,delete shows what else is granted. Asking is not"
    " using. [default: pull]",
)
@click.option(
    "--fail-beyond",
    metavar="ACTION[,ACTION]...",
    help="Exit with 1 if a grant holds more than these, such as pull; asks for"
    " pull,push,delete where --actions says nothing else.",
)
@settings_options(OptionGroup.INPUT, OptionGroup.CREDENTIALS, OptionGroup.NETWORK)
def command(
    *,
    decode: str | None,
    as_json: bool,
    raw: bool,
    actions: str | None,
    fail_beyond: str | None,
    **flags: Any,
) -> int:
    """Show what the token for pulling from a repository grants.

    Exits with 0 if pull is granted and with 1 if not. With --token-keys FILE (a PEM bundle
    or a JWKS) the token's signature is verified, too.

    Of several references, a list (-f) or a pattern such as 'host/*:*' each repository
    gets a line: whether this account may pull from it, and what it is granted beyond.
    Then 0 means that it may pull from all of them.
    """
    references = flags["reference"]
    if decode is not None and references:
        raise UsageError("give either a REFERENCE or --decode TOKEN")
    if as_json and raw:
        raise UsageError("--json and --raw exclude each other")
    settings = settings_from(flags)
    if decode is not None:
        if raw:
            raise UsageError("--raw goes with a REFERENCE, not with --decode")
        return _decode(settings, decode, as_json=as_json)
    from auditor.cli.run_async import run_async

    asks_more = actions is not None or fail_beyond is not None
    if len(references) == 1 and not (flags["list"] or asks_more):
        if not _is_pattern(references[0]):
            return run_async(_token, settings, references[0], as_json, raw)
    elif not (settings.references or settings.lists):
        raise UsageError("give either a REFERENCE or --decode TOKEN")
    if raw:
        raise UsageError("--raw prints the token of one REFERENCE")

    return run_async(
        list_tokens,
        settings,
        _actions("--actions", actions or (_ALL if fail_beyond else _PULL)),
        None if fail_beyond is None else _actions("--fail-beyond", fail_beyond),
        as_json,
    )


def _is_pattern(text: str) -> bool:
    from auditor.oci.reference import Reference, parse_selector

    try:
        return not isinstance(parse_selector(text), Reference)
    except ProtocolError:
        return False  # it is explained as a reference


def _actions(flag: str, text: str) -> tuple[str, ...]:
    from auditor.wire.challenge import parse_actions

    try:
        return parse_actions(text)
    except ProtocolError as error:
        raise UsageError(f"{flag}: {error.detail}") from None


def _decode(settings: Settings, text: str, *, as_json: bool) -> int:
    import time

    from auditor.diagnose.token_explain import explain_token
    from auditor.diagnose.token_text import explanation_lines, explanation_to_json
    from auditor.registry.registries import load_keys

    if text == "-":
        text = _pasted()
    key_file = settings.default_registry.token_keys
    keys = load_keys(key_file) if key_file else None
    reading = explain_token(text, now=time.time(), keys=keys)
    if as_json:
        _print_json(explanation_to_json(reading))
    else:
        click.echo("\n".join(explanation_lines(reading)))
    verified = reading.verification is None or reading.verification.verified
    return ExitCode.OK if reading.intact and verified else ExitCode.FAILED


def _pasted() -> str:
    try:
        data = sys.stdin.buffer.read(MAX_PASTED_BYTES)
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror}") from None
    return data.decode("utf-8", "replace")


async def _token(settings: Settings, text: str, as_json: bool, raw: bool) -> int:
    from auditor.cli.click_options import reference_argument
    from auditor.diagnose.token_check import check_token
    from auditor.registry.registries import open_registries
    from auditor.util.clock import SystemClock

    reference = reference_argument(text)
    clock = SystemClock()
    async with open_registries(settings, clock=clock) as registries:
        registry = await registries.get(reference.registry)
        check = await check_token(registry, reference.repository)
        keys = registries.keys(reference.registry)
    if isinstance(check, Failure):
        if as_json:
            _print_json({"pull": False, "failure": check.kind, "detail": check.detail})
        say(f"{safe_text(str(reference))}: {check.kind}: {check.detail}")
        return ExitCode.FAILED
    if raw:
        if check.token is None:
            say(f"{check.registry} asks for no token (authentication: {check.scheme})")
            return ExitCode.FAILED
        click.echo(check.token.reveal())
    elif as_json:
        _print_json(_check_json(check, clock.epoch(), keys))
    else:
        click.echo("\n".join(_check_lines(check, clock.epoch(), keys)))
    return ExitCode.OK if check.pull and _verified(check, keys) else ExitCode.FAILED


def _verified(check: TokenCheck, keys: object) -> bool:
    return keys is None or check.token is None or check.access.verified


def _check_json(check: TokenCheck, now: float, keys: Any) -> dict[str, Any]:
    from auditor.diagnose.token_explain import explain_token
    from auditor.diagnose.token_text import explanation_to_json

    return {
        "registry": check.registry,
        "repository": check.repository,
        "authentication": check.scheme,
        "realm": check.realm,
        "service": check.service,
        "scope": check.scope,
        "account": check.account,
        "credential": check.credential,
        "pull": check.pull,
        "access": check.access,
        "token": explanation_to_json(
            explain_token(
                check.token.reveal(), now=now, keys=keys, audience=check.service
            )
        )
        if check.token
        else None,
    }


def _check_lines(check: TokenCheck, now: float, keys: Any) -> list[str]:
    from auditor.diagnose.token_explain import explain_token
    from auditor.diagnose.token_text import explanation_lines

    lines = [f"registry    {check.registry}"]
    if check.realm:
        lines.append(f"asked at    {safe_url(check.realm)}")
        lines.append(f"service     {safe_text(check.service or '-')}")
        lines.append(f"scope       {check.scope}")
    lines.append(f"account     {safe_text(_account(check))}")
    if check.credential is not None:
        lines.append(f"credential  {safe_text(check.credential, 300)}")
    if check.token is not None:
        reading = explain_token(
            check.token.reveal(), now=now, keys=keys, audience=check.service
        )
        lines += explanation_lines(reading)
    lines += ["", _verdict(check)]
    return lines


def _account(check: TokenCheck) -> str:
    if check.account is not None:
        return check.account
    return "anonymous" if check.credential is None else "not known: a bare token"


def _verdict(check: TokenCheck) -> str:
    from auditor.model import AccessState

    match check.access.state:
        case AccessState.GRANTED:
            return f"pull on {check.repository}: granted"
        case AccessState.DENIED:
            return f"pull on {check.repository}: NOT granted"
        case AccessState.ANONYMOUS:
            return f"{check.registry} asks for no token: anyone may pull"
        case AccessState.UNVERIFIABLE:
            why = "the token is opaque" if check.token else "Basic has no token"
            return (
                f"pull on {check.repository}: cannot be seen, {why};"
                f" auditor inspect {check.registry}/{check.repository} tries it"
            )


def _print_json(value: object) -> None:
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


# -- token_list --
# `auditor token` of many repositories.

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
    from auditor.report.summary_text import suspicious_lines
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
