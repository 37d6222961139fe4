"""`auditor ls`"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.command_support import (
    invalid_argument,
    json_option,
    run_async,
    settings_from,
    settings_options,
)
from auditor.cli.help_text import complete_references, help_command
from auditor.cli.output import (
    json_text,
    print_error,
    print_line,
    print_message,
)
from auditor.config import OptionGroup, Settings
from auditor.errors import ExitCode, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.util.text import format_count

if TYPE_CHECKING:
    from datetime import datetime

    from auditor.diagnose.ls import ListTarget, RepositoryName
    from auditor.input.input_items import ReferenceEntry
    from auditor.oci.reference import TagPattern
    from auditor.report.listing_stats import Listings


@help_command("ls")
@click.argument(
    "target",
    metavar="HOST|[HOST/]REPOSITORY|PATTERN",
    shell_complete=complete_references,
)
@json_option
@click.option("--full-ref", is_flag=True, help="Print full references: HOST/REPO:TAG.")
@settings_options(OptionGroup.SELECTION, OptionGroup.CREDENTIALS, OptionGroup.NETWORK)
def command(*, target: str, as_json: bool, full_ref: bool, **flags: Any) -> int:
    """List the repositories of a registry, or the tags of a repository.

    One line each, as they are read; json is an object per line, with digest, size and
    times if the listing has them. Patterns select: 'host/team/*' repositories,
    'host/team/app:1.*' and 'host/team/**:v1.*' tags. Standard error reports whether the
    listings are complete; the exit code is 1 if one was denied or is incomplete.
    """
    settings = settings_from(flags)
    from auditor.diagnose.ls import parse_list_target

    with invalid_argument():
        parsed = parse_list_target(target)
    text = _json_line if as_json else _coloured(_text_line(parsed, full=full_ref))
    return run_async(_ls, settings, parsed, text)


async def _ls(
    settings: Settings,
    target: ListTarget,
    text: Callable[[ReferenceEntry | RepositoryName], str],
) -> int:
    from auditor.cli.silent_hosts import open_watched_registries
    from auditor.diagnose.ls import list_target, repositories_below
    from auditor.input.input_items import ReferenceEntry, RejectedEntry
    from auditor.input.tag_filter import Selection
    from auditor.oci.reference import TagPattern
    from auditor.report.listing_stats import ListState
    from auditor.report.summary_text import unused_login_lines
    from auditor.util.clock import SystemClock

    clock = SystemClock()
    selection = Selection.of(settings, clock.epoch())
    listed = rejected = without_age = 0
    is_read, is_missing = True, False
    codes: dict[str, None] = {}  # in the order of their failures

    def put(line: ReferenceEntry | RepositoryName | RejectedEntry) -> bool:
        nonlocal listed, rejected, without_age, is_read, is_missing
        if isinstance(line, RejectedEntry):
            rejected += 1
            is_missing = line.failure.kind is FailureKind.NOT_FOUND
            name = line.text.removesuffix(":*").removesuffix("/**")
            print_error(f"{name}: {line.failure.kind}: {line.failure.detail}")
            codes[line.failure.code] = None
            return True
        listed += 1
        without_age += isinstance(line, ReferenceEntry) and line.age_unknown
        is_read = print_line(text(line))
        return is_read

    async with open_watched_registries(settings, clock=clock) as registries:
        counts = await list_target(
            target, registries=registries, selection=selection, put=put
        )
        pattern = target.pattern
        if is_missing and isinstance(pattern, TagPattern) and not pattern.is_store:
            names = await repositories_below(pattern, registries=registries)
            if names:
                print_message(_below(pattern, names))
    if not is_read:
        return ExitCode.OK  # the reader (`head`) has enough
    if codes:
        print_message(f"what to do: auditor explain {' '.join(codes)}")
    gaps = {ListState.DENIED, ListState.INCOMPLETE} & counts.listings.states()
    total, *suspicious = _summary_lines(listed, counts.listings, target)
    print_message(total, "red" if rejected or gaps else "green")
    for warning in suspicious:
        print_message(warning, "yellow")
    for unused in unused_login_lines(registries.unused_logins()):
        print_message(unused.strip())
    if without_age:
        print_message(
            f"--since: {format_count(without_age, 'tag')} printed without a filter: the"
            " listing has no time for them"
        )
    return ExitCode.FAILED if rejected or gaps else ExitCode.OK


def _below(missing: TagPattern, names: Sequence[str]) -> str:
    """What to list in place of a namespace, which is no repository."""
    from auditor.diagnose.ls import MAX_NAMES_BELOW
    from auditor.util.text import safe_text

    path = f"{missing.registry}/{missing.repository}"
    shown = ", ".join(safe_text(name, 100) for name in names[:MAX_NAMES_BELOW])
    more = ", ..." if len(names) > MAX_NAMES_BELOW else ""
    return (
        f"{path} is no repository, but a namespace with {shown}{more}; list it with:"
        f" auditor ls '{path}/**'"
    )


def _summary_lines(
    listed: int, listings: Listings, target: ListTarget
) -> Iterator[str]:
    """The numbers of listed entries, and whether the listings are complete."""
    from auditor.report.listing_stats import ListKind, ListState
    from auditor.report.summary_text import ENTRY_NOUNS, suspicious_lines

    kind_of_lines = ListKind.REPOSITORIES if target.repositories_only else ListKind.TAGS
    listings_text = []
    for kind in ListKind:
        totals = listings.totals(kind)
        count = totals["lists"]
        ended = ", ".join(
            f"{totals[state]} {state}" if count > 1 else state
            for state in ListState
            if totals[state]
        )
        if count:
            number = f"{count:,} listings" if count > 1 else "listing"
            listings_text.append(
                f"{number} of {kind}, {format_count(totals['pages'], 'page')}: {ended}"
            )
    untagged = listings.totals(ListKind.TAGS)["untagged"]
    names = format_count(listed - untagged, *ENTRY_NOUNS[kind_of_lines])
    if untagged:
        names += f", {format_count(untagged, 'manifest')} without a tag"
    yield "; ".join([names, *listings_text])
    yield from map(str.strip, suspicious_lines(listings.shown))


def _text_line(
    target: ListTarget, *, full: bool
) -> Callable[[ReferenceEntry | RepositoryName], str]:
    """A function that returns the shortest name within `target`, or the full one."""
    from auditor.diagnose.ls import RepositoryName
    from auditor.oci.reference import RepositoryPattern

    several_repositories = isinstance(target.pattern, RepositoryPattern)

    def text_line(line: ReferenceEntry | RepositoryName) -> str:
        if isinstance(line, RepositoryName):
            return f"{line.registry}/{line.repository}" if full else line.repository
        reference = line.reference
        if full:
            return str(reference)
        return (
            f"{reference.repository}:{reference.tag}"
            if several_repositories
            else reference.manifest_reference
        )

    return text_line


def _coloured(
    text: Callable[[ReferenceEntry | RepositoryName], str],
) -> Callable[[ReferenceEntry | RepositoryName], str]:
    """The names in the colour that they have in tables, on a terminal."""
    from auditor.util.terminal import screen_of, styled

    screen = screen_of(sys.stdout)
    if not screen.colours:
        return text
    return lambda line: styled(text(line), "cyan", screen)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagDocument:
    """A listed tag. Fields from `digest` on are None if the listing lacks them."""

    registry: str
    repository: str
    tag: str | None
    reference: str
    digest: str | None
    media_type: str | None
    size: int | None
    created: str | None
    pushed: str | None
    pulled: str | None


def _json_line(line: ReferenceEntry | RepositoryName) -> str:
    from auditor.diagnose.ls import RepositoryName

    if isinstance(line, RepositoryName):
        return json_text(line)
    listed = line.listed_tag
    assert listed is not None
    tag = TagDocument(
        registry=line.reference.registry,
        repository=line.reference.repository,
        tag=line.reference.tag,
        reference=str(line.reference),
        digest=line.digest,
        media_type=listed.media_type,
        size=listed.size,
        created=_rfc3339(listed.created),
        pushed=_rfc3339(listed.pushed),
        pulled=_rfc3339(listed.pulled),
    )
    return json_text(tag)


def _rfc3339(time: datetime | None) -> str | None:
    if time is None:
        return None
    return time.replace(microsecond=0).isoformat().replace("+00:00", "Z")
