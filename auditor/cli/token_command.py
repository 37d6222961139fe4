"""`auditor token`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.main import say
from auditor.cli.options import settings_from, settings_options
from auditor.config import Group, Settings
from auditor.errors import ExitCode, Failure, ProtocolError, UsageError
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
@settings_options(Group.INPUT, Group.CREDENTIALS, Group.NETWORK)
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

    Exits with 0 if pull is granted and with 1 if not. With --keys FILE (a PEM bundle
    or a JWKS) the token's signature is verified, too.

    Of several references, a list (-f) or a pattern such as 'host/*:*' each repository
    gets a line: whether this account may pull from it, and what it is granted beyond.
    Then 0 means that it may pull from all of them.
    """
    references = flags["references"]
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
    if len(references) == 1 and not (flags["lists"] or asks_more):
        if not _is_pattern(references[0]):
            return run_async(_token, settings, references[0], as_json, raw)
    elif not (settings.references or settings.lists):
        raise UsageError("give either a REFERENCE or --decode TOKEN")
    if raw:
        raise UsageError("--raw prints the token of one REFERENCE")
    from auditor.cli.token_list import list_tokens

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

    from auditor.diagnose.token_explain import read_token
    from auditor.diagnose.token_text import to_json, to_lines
    from auditor.registry.registries import load_keys

    if text == "-":
        text = _pasted()
    key_file = settings.default_registry.token_keys
    keys = load_keys(key_file) if key_file else None
    reading = read_token(text, now=time.time(), keys=keys)
    if as_json:
        _print_json(to_json(reading))
    else:
        click.echo("\n".join(to_lines(reading)))
    verified = reading.verification is None or reading.verification.verified
    return ExitCode.OK if reading.intact and verified else ExitCode.FAILED


def _pasted() -> str:
    try:
        data = sys.stdin.buffer.read(MAX_PASTED_BYTES)
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror}") from None
    return data.decode("utf-8", "replace")


async def _token(settings: Settings, text: str, as_json: bool, raw: bool) -> int:
    from auditor.cli.reference import reference_argument
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
    from auditor.diagnose.token_explain import read_token
    from auditor.diagnose.token_text import to_json

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
        "token": to_json(
            read_token(check.token.reveal(), now=now, keys=keys, audience=check.service)
        )
        if check.token
        else None,
    }


def _check_lines(check: TokenCheck, now: float, keys: Any) -> list[str]:
    from auditor.diagnose.token_explain import read_token
    from auditor.diagnose.token_text import to_lines

    lines = [f"registry    {check.registry}"]
    if check.realm:
        lines.append(f"asked at    {safe_url(check.realm)}")
        lines.append(f"service     {safe_text(check.service or '-')}")
        lines.append(f"scope       {check.scope}")
    lines.append(f"account     {safe_text(_account(check))}")
    if check.credential is not None:
        lines.append(f"credential  {safe_text(check.credential, 300)}")
    if check.token is not None:
        reading = read_token(
            check.token.reveal(), now=now, keys=keys, audience=check.service
        )
        lines += to_lines(reading)
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
