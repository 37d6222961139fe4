"""`auditor store`"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.options import settings_from
from auditor.errors import ExitCode, UsageError
from auditor.util.text import counted

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from auditor.cache.maintenance import Info

_DAY_S = 24 * 3600


@click.group("store")
def command() -> None:
    """Look after the digest store: what audits remember for the next ones."""


_store_option: Callable[[Any], Any] = click.option(
    "--store",
    metavar="FILE",
    help="The store's file, instead of the one in the cache directory.",
)


@command.command("info")
@_store_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info_command(*, store: str | None, as_json: bool) -> int:
    """Say where the store is and what it holds."""
    from auditor.cache.maintenance import info

    with _opened(store) as (connection, path):
        found = info(connection, path)
    if as_json:
        import orjson

        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo("\n".join(_info_lines(found)))
    return ExitCode.OK


@command.command("prune")
@_store_option
@click.option(
    "--store-max-size",
    metavar="SIZE",
    help="How large it may stay, in bytes or as in 500M or 2G.",
)
@click.option(
    "--unused-days",
    type=click.IntRange(0, 36_500),
    help="Also remove what was not used for so many days.",
)
def prune_command(
    *, store: str | None, store_max_size: str | None, unused_days: int | None
) -> int:
    """Make the store smaller: what was not used for the longest time goes first."""
    import time

    from auditor.cache.tables import prune, used_bytes
    from auditor.util.text import format_size

    settings = settings_from({"store_max_size": store_max_size})
    since = 0 if unused_days is None else int(time.time()) - unused_days * _DAY_S
    with _opened(store) as (connection, path):
        gone = prune(connection, settings.store_max_size, unused_since=since)
        left = used_bytes(connection)
    click.echo(f"{path}: {counted(gone, 'content')} removed, {format_size(left)} left")
    return ExitCode.OK


@command.command("verify")
@_store_option
def verify_command(*, store: str | None) -> int:
    """Check all that the store holds; remove what is damaged, and exit 1 then."""
    from auditor.cache.maintenance import verify

    with _opened(store) as (connection, path):
        found = verify(connection)
    click.echo(
        f"{path}: {counted(found.contents, 'content')},"
        f" {found.damaged_contents} damaged;"
        f" {counted(found.tags, 'tag')}, {found.damaged_tags} damaged;"
        f" {counted(found.images, 'image')}, {found.damaged_images} damaged"
        + ("; what was damaged is removed" if found.damaged else "")
    )
    return ExitCode.FAILED if found.damaged else ExitCode.OK


@contextmanager
def _opened(store: str | None) -> Iterator[tuple[sqlite3.Connection, Path]]:
    """The store that is meant; what is wrong with it is said as a usage error."""
    import sqlite3

    from auditor.cache.database import StoreError, open_existing
    from auditor.cache.store import store_path

    settings = settings_from({"store": store})
    path = store_path(settings)
    if path is None:
        raise UsageError(
            "there is no store to look at: no_store is set, or no cache directory known"
        )
    try:
        connection = open_existing(path)
        try:
            yield connection, path
        finally:
            connection.close()
    except StoreError as error:
        text = str(error)
        raise UsageError(text if str(path) in text else f"{path}: {text}") from None
    except sqlite3.Error as error:
        raise UsageError(f"{path}: {error}") from None


def _info_lines(found: Info) -> Iterator[str]:
    from datetime import UTC, datetime

    from auditor.util.text import format_size, safe_text

    yield found.path
    yield f"  {format_size(found.bytes_used)} in use"
    yield f"  {counted(found.contents, 'content')}, {counted(found.tags, 'tag')}"
    yield f"  {counted(found.images, 'image')}, put together"
    if found.oldest_use is not None and found.newest_use is not None:
        oldest, newest = (
            datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
            for at in (found.oldest_use, found.newest_use)
        )
        yield f"  last used between {oldest} and {newest}"
    for name, (contents, tags) in found.registries.items():
        held = f"{counted(contents, 'content')}, {counted(tags, 'tag')}"
        yield f"  {safe_text(name)}: {held}"
