"""`auditor ls`"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.click_options import settings_from, settings_options
from auditor.cli.main import say
from auditor.cli.output import print_line
from auditor.config import OptionGroup, Settings
from auditor.errors import ExitCode, ProtocolError, UsageError
from auditor.util.text import format_count

if TYPE_CHECKING:
    from auditor.diagnose.ls import ListTarget, Repository
    from auditor.input.steps import Asked
    from auditor.report.listing_stats import Listings


@click.command("ls")
@click.argument("target", metavar="HOST|[HOST/]REPOSITORY|PATTERN")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="A JSON object a line, with digest, size and times where the list has them.",
)
@click.option("--full-ref", is_flag=True, help="Print whole references: HOST/REPO:TAG.")
@settings_options(OptionGroup.SELECTION, OptionGroup.CREDENTIALS, OptionGroup.NETWORK)
def command(*, target: str, as_json: bool, full_ref: bool, **flags: Any) -> int:
    """List the repositories of a registry, or the tags of a repository.

    A line each, as they are read. Patterns choose: 'host/team/*' are repositories,
    'host/team/app:1.*' and 'host/team/**:v1.*' are tags. Whether the lists are whole
    is said on standard error; exits with 1 if one was denied or is incomplete.
    """
    settings = settings_from(flags)
    from auditor.diagnose.ls import parse_list_target

    try:
        meant = parse_list_target(target)
    except ProtocolError as error:
        raise UsageError(error.detail) from None
    from auditor.cli.run_async import run_async

    if as_json:
        return run_async(_ls, settings, meant, _json)
    return run_async(_ls, settings, meant, _name(meant, full=full_ref))


async def _ls(
    settings: Settings, target: ListTarget, text: Callable[[Asked | Repository], str]
) -> int:
    from datetime import UTC, datetime

    from auditor.diagnose.ls import list_target
    from auditor.input.steps import Asked, Refused
    from auditor.input.tag_filter import Selection
    from auditor.registry.registries import open_registries
    from auditor.report.listing_stats import ListState
    from auditor.util.clock import SystemClock

    clock = SystemClock()
    selection = Selection.of(settings, datetime.fromtimestamp(clock.epoch(), UTC))
    listed = refused = ageless = 0
    is_read = True

    def put(line: Asked | Repository | Refused) -> bool:
        nonlocal listed, refused, ageless, is_read
        if isinstance(line, Refused):
            refused += 1
            say(f"{line.text}: {line.failure.kind}: {line.failure.detail}")
            return True
        listed += 1
        ageless += isinstance(line, Asked) and line.age_unknown
        is_read = print_line(text(line))
        return is_read

    async with open_registries(settings, clock=clock) as registries:
        seen = await list_target(
            target, registries=registries, selection=selection, put=put
        )
    if not is_read:
        return ExitCode.OK  # `head` has what it wanted
    for told in _told(listed, seen.listings, target):
        say(told)
    if ageless:
        say(
            f"of {format_count(ageless, 'tag')} the list does not tell the age;"
            f" {'it is' if ageless == 1 else 'they are'} here, too"
        )
    gaps = {ListState.DENIED, ListState.INCOMPLETE} & set(seen.listings.states())
    return ExitCode.FAILED if refused or gaps else ExitCode.OK


def _told(listed: int, listings: Listings, target: ListTarget) -> Iterator[str]:
    """How much was listed, and whether that is all."""
    from auditor.report.listing_stats import ListKind, ListState
    from auditor.report.summary_text import ENTRY_NOUNS, suspicious_lines

    what = ListKind.REPOSITORIES if target.repositories_only else ListKind.TAGS
    lists = []
    for kind in ListKind:
        count, pages, _ = listings.totals(kind)
        states = listings.states(kind)
        ended = ", ".join(
            f"{states[state]} {state}" if count > 1 else state
            for state in ListState
            if states[state]
        )
        if count:
            number = f"{count} lists" if count > 1 else "list"
            lists.append(f"{number} of {kind}, {format_count(pages, 'page')}: {ended}")
    yield "; ".join([format_count(listed, *ENTRY_NOUNS[what]), *lists])
    yield from map(str.strip, suspicious_lines(listings))


def _name(target: ListTarget, *, full: bool) -> Callable[[Asked | Repository], str]:
    """How a line names something: as short as the target allows, unless `full`."""
    from auditor.diagnose.ls import Repository
    from auditor.oci.reference import RepositoryPattern

    of_many = isinstance(target.pattern, RepositoryPattern)

    def name(line: Asked | Repository) -> str:
        if isinstance(line, Repository):
            return f"{line.registry}/{line.name}" if full else line.name
        found = line.reference
        if full:
            return str(found)
        return f"{found.repository}:{found.tag}" if of_many else str(found.tag)

    return name


def _json(line: Asked | Repository) -> str:
    import orjson

    from auditor.diagnose.ls import Repository

    if isinstance(line, Repository):
        found = {"registry": line.registry, "repository": line.name}
        return orjson.dumps(found).decode()
    told = line.told
    assert told is not None, "what is listed was told of"
    return orjson.dumps(
        {
            "registry": line.reference.registry,
            "repository": line.reference.repository,
            "tag": line.reference.tag,
            "reference": str(line.reference),
            "digest": line.digest,
            "media_type": told.media_type,
            "size": told.size,
            "created": told.created,
            "pushed": told.pushed,
        },
        option=orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS,
    ).decode()
