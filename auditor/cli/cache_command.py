"""`auditor cache info|prune|verify`: manage the digest cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import click

from auditor.cli.command_support import json_option, settings_from
from auditor.cli.help_text import help_group
from auditor.cli.output import json_text
from auditor.config.value_types import duration
from auditor.errors import ExitCode, UsageError
from auditor.util.text import format_count

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from auditor.cache.maintenance import CacheInfo

# A hundred years: never.
_UNUSED = duration(0, 100 * 365 * 86_400)


@help_group("cache")
def command() -> None:
    """Manage the digest cache: manifests and configs kept for later audits."""


_cache_option: Callable[[Any], Any] = click.option(
    "--cache",
    metavar="PATH",
    help="File of the digest cache (default: in the user's cache directory).",
)


@command.command("info")
@_cache_option
@json_option
def info_command(*, cache: str | None, as_json: bool) -> int:
    """Show where the cache is and what it contains."""
    from auditor.cache.maintenance import info

    with _open_existing(cache) as (connection, path):
        cache_info = info(connection, path)
    if as_json:
        click.echo(json_text(cache_info, indent=True))
    else:
        click.echo("\n".join(_info_lines(cache_info)))
    return ExitCode.OK


@command.command("prune")
@_cache_option
@click.option(
    "--cache-max-size",
    metavar="SIZE",
    help="Maximum size after pruning: bytes, 500M or 2G.",
)
@click.option(
    "--unused",
    metavar="DURATION",
    help="Also remove what was not used for this long: 30d, 12h.",
)
def prune_command(
    *, cache: str | None, cache_max_size: str | None, unused: str | None
) -> int:
    """Remove the least recently used contents until the cache fits its maximum size."""
    import time

    from auditor.cache.maintenance import prune, used_bytes
    from auditor.util.text import format_size

    settings = settings_from({"cache_max_size": cache_max_size})
    since = 0 if unused is None else int(time.time() - _unused_s(unused))
    with _open_existing(cache) as (connection, path):
        removed = prune(connection, settings.cache_max_size, unused_since=since)
        left = used_bytes(connection)
    click.echo(
        f"{path}: removed {format_count(removed, 'content')},"
        f" {format_size(left)} remaining"
    )
    return ExitCode.OK


def _unused_s(text: str) -> float:
    try:
        return cast("float", _UNUSED.read(text, as_text=True))
    except ValueError as error:
        raise UsageError(f"--unused: {error}") from None


@command.command("verify")
@_cache_option
def verify_command(*, cache: str | None) -> int:
    """Check every entry and remove damaged ones; exit 1 if there were any."""
    from auditor.cache.maintenance import verify

    with _open_existing(cache) as (connection, path):
        verified = verify(connection)
    click.echo(
        f"{path}: {format_count(verified.contents, 'content')},"
        f" {verified.damaged_contents:,} damaged;"
        f" {format_count(verified.tags, 'tag')}, {verified.damaged_tags:,} damaged"
        + ("; the damaged entries were removed" if verified.damaged else "")
    )
    return ExitCode.FAILED if verified.damaged else ExitCode.OK


@contextmanager
def _open_existing(cache: str | None) -> Iterator[tuple[sqlite3.Connection, Path]]:
    """The cache file of the settings; raises `UsageError` if it cannot be used."""
    import sqlite3

    from auditor.cache.database import CacheError, open_existing_database
    from auditor.cache.digest_cache import cache_path

    path = cache_path(settings_from({"cache": cache}))
    if path is None:
        raise UsageError(
            "no cache file: no_cache is set or there is no cache directory; name a"
            " file with --cache"
        )
    if not path.exists():
        raise UsageError(f"{path}: there is no cache yet; auditor audit makes it")
    try:
        connection = open_existing_database(path)
        try:
            yield connection, path
        finally:
            connection.close()
    except CacheError as error:
        text = str(error)
        raise UsageError(text if str(path) in text else f"{path}: {text}") from None
    except sqlite3.Error as error:
        raise UsageError(f"{path}: {error}") from None


def _info_lines(cache_info: CacheInfo) -> Iterator[str]:
    from datetime import UTC, datetime

    from auditor.util.text import format_size, safe_text

    def counts(contents: int, tags: int) -> str:
        return f"{format_count(contents, 'content')}, {format_count(tags, 'tag')}"

    yield cache_info.path
    yield f"  {format_size(cache_info.bytes_used)} in use"
    yield f"  {counts(cache_info.contents, cache_info.tags)}"
    if cache_info.oldest_use is not None and cache_info.newest_use is not None:
        oldest, newest = (
            datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
            for at in (cache_info.oldest_use, cache_info.newest_use)
        )
        yield f"  last used between {oldest} and {newest}"
    for registry, (contents, tags) in cache_info.registries.items():
        yield f"  {safe_text(registry)}: {counts(contents, tags)}"
