"""`auditor cleanup plan|protect`: rehearse a clean-up; deletes nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.command_support import (
    format_option,
    limit_option,
    output_option,
    reports_argument,
)
from auditor.cli.help_text import help_group
from auditor.cli.output import print_message, print_pieces
from auditor.errors import ExitCode, ProtocolError, UsageError
from auditor.util.text import safe_text

if TYPE_CHECKING:
    from auditor.oci.reference import Selector

_QUERY = re.compile(r"\s*(select|from|with)\s", re.IGNORECASE)
_PLAN_EPILOG = """
Exit codes: 0 if nothing breaks and at least the printed bytes are freed; 1 if an index
would lose a child, a tag would go that was not to be deleted, a running image would go,
what is to be deleted is not in the report, or the bytes are only an upper bound or what
runs is unknown, because a part of it was not audited.
"""
_PROTECT_EPILOG = """
Exit codes: 0; 1 if something that must stay may be missing, because references could
not be audited, or images were not searched for attachments.
"""


@help_group("cleanup")
def command() -> None:
    """Rehearse a clean-up: what deletions would free and break. Deletes nothing."""


_running_option: Callable[[Any], Any] = click.option(
    "--running",
    multiple=True,
    metavar="REPORT",
    help="A report of what runs, such as that of a cluster; can be repeated.",
)


@command.command("plan", epilog=_PLAN_EPILOG)
@reports_argument
@click.option(
    "--delete",
    "deletions",
    multiple=True,
    metavar="PATTERN|FILE|SELECT",
    help="What would be deleted: a reference or pattern, a list (@FILE), or a query"
    " with a column reference; can be repeated.",
)
@click.option(
    "--keep-rules",
    metavar="FILE",
    help="Instead: rules in TOML that say which tags are kept.",
)
@click.option(
    "--with-attachments",
    is_flag=True,
    help="Also delete the tags of signatures and SBOMs of what goes.",
)
@_running_option
@click.option(
    "--delete-by",
    type=click.Choice(("tag", "last-tag", "digest")),
    default="tag",
    show_default=True,
    help="What deleting a tag removes: the tag alone; the tag, and with the last tag"
    " the manifest (ECR); or the manifest with all its tags.",
)
@click.option(
    "--collects",
    type=click.Choice(("untagged", "deleted")),
    default="untagged",
    show_default=True,
    help="What garbage collection removes: all manifests without a name, or only those"
    " deleted by digest.",
)
@click.option(
    "--storage",
    type=click.Choice(("registry", "repository")),
    default="registry",
    show_default=True,
    help="Where a blob is stored once.",
)
@format_option(
    *("table", "jsonl", "csv", "markdown"),
    help_text="The format of the output; jsonl: all rows, then the totals; csv: the"
    " deletions.",
)
@limit_option(20, "table and markdown")
@output_option("output file")
def plan_command(
    *,
    reports: tuple[str, ...],
    deletions: tuple[str, ...],
    keep_rules: str | None,
    with_attachments: bool,
    running: tuple[str, ...],
    delete_by: str,
    collects: str,
    storage: str,
    output_format: str,
    limit: int,
    output: str,
) -> int:
    """Show what deletions would free, what stays and why, and what would break.

    REPORT is a report, also compressed (.gz, .zst), or a quoted glob of reports. Audit
    every tag of the registry with --attachments all: a blob is freed only if nothing in
    the report needs it.
    """
    if bool(deletions) == (keep_rules is not None):
        raise UsageError(
            "name what would be deleted with --delete, or what is kept with"
            " --keep-rules" + (", not both" if deletions else "")
        )
    from auditor.analysis.cleanup.inventory import StorageScope
    from auditor.analysis.cleanup.keep_rules import load_keep_rules
    from auditor.analysis.cleanup.plan import open_plan
    from auditor.analysis.cleanup.plan_text import plan_lines, plan_summary
    from auditor.analysis.cleanup.rehearsal import Collects, DeleteBy, Semantics
    from auditor.analysis.cleanup.selection import DeletionChoice
    from auditor.analysis.report_views import check_output
    from auditor.util.terminal import PIPE, screen_of

    queries = [text for text in deletions if _QUERY.match(text)]
    others = [text for text in deletions if not _QUERY.match(text)]
    lists = [name for text in others if (name := _list_name(text)) is not None]
    check_output(output, (*reports, *running, *lists, *filter(None, [keep_rules])))
    rules = load_keep_rules(keep_rules) if keep_rules is not None else ()
    selection = None
    if deletions:
        named = [_selector(text) for text in others if _list_name(text) is None]
        selection = DeletionChoice(
            selectors=chain(named, _listed(lists)), queries=queries
        )
    semantics = Semantics(
        delete_by=DeleteBy(delete_by),
        collects=Collects(collects),
        storage=StorageScope(storage),
    )
    with open_plan(
        reports,
        selection=selection,
        rules=rules,
        running=running,
        with_attachments=with_attachments,
        semantics=semantics,
    ) as plan:
        screen = screen_of(sys.stdout) if output == "-" else PIPE
        form = "text" if output_format == "table" else output_format
        lines = plan_lines(plan, form, limit, screen)
        print_pieces((f"{line}\n" for line in lines), output)
        if form == "csv":
            for line in plan_summary(plan):
                print_message(line)
        elif form == "jsonl":
            for line in plan.notices:
                print_message(line)
        return ExitCode.OK if plan.totals.is_safe else ExitCode.FAILED


def _list_name(text: str) -> str | None:
    """The list that `@FILE`, or the name of an existing file, means."""
    if text.startswith("@"):
        return text[1:]
    try:
        return text if Path(text).is_file() else None
    except (OSError, ValueError):  # too long for a name
        return None


def _listed(lists: Sequence[str]) -> Iterator[Selector]:
    """The references and patterns in lists; raises `UsageError` for what is neither."""
    from auditor.input.input_items import InputSelector
    from auditor.input.lists import read_list_file

    for name in lists:
        is_empty = True
        for item in read_list_file(name):
            is_empty = False
            if not isinstance(item, InputSelector):
                raise UsageError(item.failure.detail)
            yield item.selector
        if is_empty:
            raise UsageError(
                f"{safe_text(name)}: the list names no reference, so nothing would be"
                " deleted; check the program that writes it"
            )


def _selector(text: str) -> Selector:
    """The reference or pattern; raises `UsageError` for what is neither."""
    from auditor.oci.reference import Reference, parse_selector

    try:
        selector = parse_selector(text)
    except ProtocolError as error:
        raise UsageError(f"--delete: {error.detail}") from None
    if isinstance(selector, Reference) and not selector.digest:
        # `team/app` means `team/app:latest` elsewhere; here, a user may mean all.
        tag = f":{selector.tag}"
        if selector.tag == "latest" and not text.endswith(tag):
            raise UsageError(
                f"--delete {safe_text(text)}: name the tags, such as"
                f" {safe_text(text)}:* for all of them, or :latest"
            )
    return selector


@command.command("protect", epilog=_PROTECT_EPILOG)
@reports_argument
@_running_option
@click.option(
    "--blobs",
    is_flag=True,
    help="With configs and layers, for tools that delete blobs.",
)
@format_option(
    *("table", "digests", "jsonl", "csv"),
    help_text="The format of the output; digests: a line REPOSITORY@DIGEST for each.",
)
@limit_option(20, "table")
@output_option("output file")
def protect_command(
    *,
    reports: tuple[str, ...],
    running: tuple[str, ...],
    blobs: bool,
    output_format: str,
    limit: int,
    output: str,
) -> int:
    """List every digest that a prune tool must not delete.

    Those that tags name, what their indexes list, what is attached to them, and what
    runs. REPORT is a report, also compressed (.gz, .zst), or a quoted glob of reports.
    """
    from auditor.analysis.cleanup.plan_text import protection_lines, protection_summary
    from auditor.analysis.cleanup.protection import open_protection
    from auditor.analysis.report_views import check_output
    from auditor.util.terminal import PIPE, screen_of

    check_output(output, (*reports, *running))
    with open_protection(reports, running=running, blobs=blobs) as protection:
        screen = screen_of(sys.stdout) if output == "-" else PIPE
        lines = protection_lines(protection, output_format, limit, screen)
        print_pieces((f"{line}\n" for line in lines), output)
        if output_format in {"digests", "csv"}:
            for line in protection_summary(protection.totals):
                print_message(line)
        return ExitCode.OK if protection.totals.is_complete else ExitCode.FAILED
