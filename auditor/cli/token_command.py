"""`auditor token` for one repository; `pull_access.py` handles several."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.command_support import (
    invalid_argument,
    json_option,
    run_async,
    settings_from,
    settings_options,
)
from auditor.cli.help_text import help_command
from auditor.cli.output import json_text, print_failure, print_message
from auditor.config import OptionGroup, Settings
from auditor.errors import ExitCode, Failure, ProtocolError, UsageError
from auditor.model import AccessState
from auditor.oci.reference import Reference, parse_reference, parse_selector
from auditor.util.text import safe_text, safe_url
from auditor.wire.challenge import parse_actions

if TYPE_CHECKING:
    from auditor.diagnose.token_check import TokenCheck
    from auditor.diagnose.token_explain import TokenDocument, TokenExplanation

# Where the values of the output begin.
_VALUE_COLUMN = 12
# Far longer than any token; standard input may be anything.
MAX_TOKEN_BYTES = 256 * 1024
_PULL = "pull"
# The actions of the registry API (distribution, "Docker Registry Token Scope").
_ALL_ACTIONS = "pull,push,delete"


@help_command("token")
@click.option(
    "--decode",
    metavar="TOKEN",
    help="Explain this token instead, offline; - reads it from standard input.",
)
@json_option
@click.option("--raw", is_flag=True, help="Print the token itself and nothing else.")
@click.option(
    "--actions",
    metavar="ACTION[,ACTION]...",
    help="Actions to request: pull,push,delete shows what else is granted. Nothing is"
    " done with the grant. [default: pull]",
)
@click.option(
    "--fail-beyond",
    metavar="ACTION[,ACTION]...",
    help="Exit with 1 if a grant has more than these actions, such as pull; requests"
    " pull,push,delete unless --actions is given.",
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

    Exits with 0 if pull is granted and with 1 if not. With --token-keys FILE (a PEM
    bundle or a JWKS) the signature of the token is verified, too.

    For several references, a list (-f) or a pattern such as 'host/*:*', each repository
    gets one line: whether this account may pull from it, and what else is granted. The
    exit code is 0 if it may pull from all of them.
    """
    references = flags["reference"]
    if decode is not None and references:
        raise UsageError("give either a REFERENCE or --decode TOKEN")
    if as_json and raw:
        raise UsageError("--format json and --raw exclude each other")
    settings = settings_from(flags)
    if decode is not None:
        if raw:
            raise UsageError("--raw needs a REFERENCE, not --decode")
        return _decode(settings, decode, as_json=as_json)
    one_grant = actions is None and fail_beyond is None
    if len(references) == 1 and not flags["list"] and one_grant:
        if not _is_pattern(references[0]):
            return run_async(_token, settings, references[0], as_json, raw)
    elif not settings.has_input:
        raise UsageError("give either a REFERENCE or --decode TOKEN")
    if raw:
        raise UsageError("--raw prints the token of one REFERENCE")
    from auditor.cli.pull_access import list_pull_access

    return run_async(
        list_pull_access,
        settings,
        _actions("--actions", actions or (_ALL_ACTIONS if fail_beyond else _PULL)),
        None if fail_beyond is None else _actions("--fail-beyond", fail_beyond),
        as_json,
    )


def _is_pattern(text: str) -> bool:
    try:
        return not isinstance(parse_selector(text), Reference)
    except ProtocolError:
        return False  # parsed as a reference, for the error message


def _actions(flag: str, text: str) -> tuple[str, ...]:
    with invalid_argument(f"{flag}: "):
        return parse_actions(text)


def _decode(settings: Settings, text: str, *, as_json: bool) -> int:
    import time

    from auditor.diagnose.token_explain import explain_token, explanation_lines
    from auditor.registry.registries import load_keys

    if text == "-":
        text = _read_stdin()
    key_file = settings.default_registry.token_keys
    keys = load_keys(key_file) if key_file else None
    explanation = explain_token(text, now=time.time(), keys=keys)
    if as_json:
        click.echo(json_text(explanation, indent=True))
    else:
        _print_wrapped(explanation_lines(explanation))
    verified = explanation.verification is None or explanation.verification.verified
    return ExitCode.OK if explanation.intact and verified else ExitCode.FAILED


def _print_wrapped(lines: Iterable[str], *, passed: bool | None = None) -> None:
    """Print lines of `NAME  VALUE`, and in colour the last one if it is a verdict."""
    from auditor.util.terminal import screen_of, styled, wrapped

    screen = screen_of(sys.stdout)
    shown = [
        wrapped(line, screen, indent=2 if line[:1] == "-" else _VALUE_COLUMN)
        for line in lines
    ]
    if passed is not None:
        colour = "green" if passed else "red"
        shown[-1] = [styled(line, colour, screen) for line in shown[-1]]
    click.echo("\n".join(chain.from_iterable(shown)), color=True)


def _read_stdin() -> str:
    try:
        data = sys.stdin.buffer.read(MAX_TOKEN_BYTES)
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror}") from None
    return data.decode("utf-8", "replace")


async def _token(settings: Settings, text: str, as_json: bool, raw: bool) -> int:
    from auditor.cli.silent_hosts import open_watched_registries
    from auditor.diagnose.token_check import check_token
    from auditor.diagnose.token_explain import TokenFailureDocument, explain_token
    from auditor.util.clock import SystemClock

    with invalid_argument():
        reference = parse_reference(text)
    clock = SystemClock()
    async with open_watched_registries(settings, clock=clock) as registries:
        place = registries.location(reference.registry, reference.repository)
        check: TokenCheck | Failure
        if isinstance(place, Failure):
            check, keys = place, None
        else:
            registry = await registries.get(place.registry)
            check = await check_token(registry, place.repository)
            keys = registries.keys(place.registry)
    if isinstance(check, Failure):
        if as_json:
            failed = TokenFailureDocument(failure=check.kind, detail=check.detail)
            click.echo(json_text(failed, indent=True))
        print_failure(safe_text(str(reference)), check)
        return ExitCode.FAILED
    token = None if check.token is None else check.token.reveal()
    explanation = None
    if token is not None:
        explanation = explain_token(
            token, now=clock.epoch(), keys=keys, audience=check.service
        )
    if as_json:
        click.echo(json_text(_token_document(check, explanation), indent=True))
    elif not raw:
        _print_wrapped(_token_lines(check, explanation), passed=check.pull)
    elif token is not None:
        click.echo(token)
    else:
        print_message(
            f"{check.registry} does not use tokens (authentication: {check.scheme})"
        )
        return ExitCode.FAILED
    verified = keys is None or token is None or check.access.verified
    return ExitCode.OK if check.pull and verified else ExitCode.FAILED


def _token_document(
    check: TokenCheck, explanation: TokenExplanation | None
) -> TokenDocument:
    from auditor.diagnose.token_explain import TokenDocument

    return TokenDocument(
        registry=check.registry,
        repository=check.repository,
        authentication=check.scheme,
        realm=check.realm,
        service=check.service,
        scope=check.scope,
        account=check.account,
        credential=check.credential,
        pull=check.pull,
        access=check.access,
        token=explanation,
    )


def _token_lines(check: TokenCheck, explanation: TokenExplanation | None) -> list[str]:
    from auditor.diagnose.token_explain import explanation_lines

    lines = [f"registry    {check.registry}"]
    if check.realm:
        lines.append(f"realm       {safe_url(check.realm)}")
        lines.append(f"service     {safe_text(check.service or '-')}")
        lines.append(f"scope       {check.scope}")
    lines.append(f"account     {safe_text(_account(check))}")
    if check.credential is not None:
        lines.append(f"credential  {safe_text(check.credential, 300)}")
    if check.unused_login is not None:
        lines.append(f"not used    {safe_text(check.unused_login, 300)}")
    if explanation is not None:
        lines += explanation_lines(explanation)
    return [*lines, "", _verdict(check)]


def _account(check: TokenCheck) -> str:
    if check.account is not None:
        return check.account
    return "anonymous" if check.credential is None else "unknown: a registry token"


def _verdict(check: TokenCheck) -> str:
    match check.access.state:
        case AccessState.GRANTED:
            return f"pull on {check.repository}: granted"
        case AccessState.DENIED:
            return f"pull on {check.repository}: NOT granted"
        case AccessState.ANONYMOUS:
            verdict = f"{check.registry} needs no token: anyone may pull"
            if check.unused_login is None:
                return verdict
            return f"{verdict}; it did not ask for the configured login"
        case AccessState.UNVERIFIABLE:
            if check.pull:
                return (
                    f"pull on {check.repository}: granted; {check.registry} accepted"
                    " this login and listed the tags (Basic authentication has no"
                    " token)"
                )
            return (
                f"pull on {check.repository}: unknown, because the token is opaque; try"
                " it with:"
                f" auditor inspect {check.registry}/{check.repository}"
            )
