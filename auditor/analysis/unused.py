"""What is in a registry and runs nowhere, and what runs and is not in the registry.

The two sides are reports: of a registry, and of what ran (a cluster, a list), over as
many nights as there are. A manifest is used if its digest runs, in whatever repository,
registry or mirror; if what runs has its name, even with another digest; if it is an
index of which a platform runs; and if a used manifest has it as a child or an
attachment. Everything else is unused, or unknown where a part of its repository is not
in the reports. What could not be audited on the running side counts as running.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.analysis import unused_sql as sql
from auditor.analysis.completeness import check_not_empty, several_days
from auditor.analysis.duckdb_connection import limit_clause, stream_rows
from auditor.analysis.report_views import (
    add_reports,
    duckdb_pattern,
    open_reports,
    reading_reports,
    report_paths,
)
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA, ContentKind, Source
from auditor.util.text import safe_text

if TYPE_CHECKING:
    import duckdb

# The reference of a line that names none, in a message.
_TEXT_CHARS = 200
# Hosts in a message.
_MAX_HOSTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedImage:
    """A reference that runs nowhere; a line of `--format jsonl`.

    - `part_of`: a reference that has it as a child or an attachment, and is not used
      either
    - `size`: compressed bytes, as in the report
    - `freed_size`: those of its layers that only unused manifests have; several of them
      can share these
    """

    schema: int = SCHEMA
    kind: str = "unused"
    reference: str
    registry: str
    repository: str
    tag: str | None
    digest: str
    content: ContentKind
    untagged: bool
    part_of: str | None
    size: int | None
    freed_size: int
    pushed_at: str | None
    pulled_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GoneImage:
    """A running reference that the registry does not have; its next pull would fail.

    - `digest`: what it was when it was last audited; None if it never was
    - `last_seen`: RFC 3339
    - `certain`: the last audit of it got "not found"; otherwise the reports of the
      registry have other tags of the repository, and not this one
    - `sources`: what used it then, as in its record; empty if that has none
    """

    schema: int = SCHEMA
    kind: str = "gone"
    reference: str
    registry: str
    repository: str
    tag: str | None
    digest: str | None
    last_seen: str
    certain: bool
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedTotals:
    """The last line of `--format jsonl`.

    - `images`: `used` + `unused` + `unknown`
    - `freed_size`: bytes of the layers that only unused manifests have, each once
    - `unsized`: layers without a known size
    - `failures`: references of the registry's reports that were not audited
    - `unaudited`: those of them that may be there and have layers, so that fewer bytes
      are freed
    - `running`: running references
    - `running_failures`: those that could not be audited
    - `running_listings`: those that are listings that failed: what they match counts as
      running
    - `gone`, `missing`: references that are gone for certain, and others
    - `gone_unknown`: those of which the reports do not say whether the registry has
      them
    - `elsewhere`: those of other registries
    - `same_names`: unused references with the repository and tag of one of these
    - `maybe_same_registry`: the first `RUNNING=REGISTRY` that would make them used, if
      the one is a mirror of the other
    - `incomplete`: lines that name no image
    - `running_from`, `running_to`: the first and the last time of the running reports
    """

    schema: int = SCHEMA
    kind: str = "totals"
    images: int
    used: int
    unused: int
    unknown: int
    freed_size: int
    unsized: int
    failures: int
    unaudited: int
    running: int
    running_failures: int
    running_listings: int
    gone: int
    missing: int
    gone_unknown: int
    elsewhere: int
    same_names: int
    maybe_same_registry: str | None
    incomplete: int
    running_from: str | None
    running_to: str | None


class UsageComparison:
    """The result; usable while its connection is open. A `limit` of 0 means none.

    `notices` are sentences about the question, safe to print.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        incomplete: int,
        notices: Sequence[str] = (),
    ) -> None:
        self._connection = connection
        self.notices = notices
        (row,) = stream_rows(connection, sql.COUNT)
        self.totals = UnusedTotals(**row, incomplete=incomplete)

    def unused(self, *, limit: int = 0) -> Iterator[UnusedImage]:
        """What runs nowhere; those that free the most bytes first."""
        return (UnusedImage(**row) for row in self._rows(sql.SELECT_UNUSED, limit))

    def gone(self, *, limit: int = 0) -> Iterator[GoneImage]:
        """What runs and is not in the registry; certain ones first, then the latest."""
        for row in self._rows(sql.SELECT_GONE, limit):
            sources = tuple(Source(**one) for one in row.pop("sources") or ())
            yield GoneImage(**row, sources=sources)

    def _rows(self, query: str, limit: int) -> Iterator[dict[str, Any]]:
        return stream_rows(self._connection, query + limit_clause(limit))


@contextmanager
def find_unused(
    registry: Sequence[str],
    running: Sequence[str],
    *,
    same_registries: Mapping[str, str] | None = None,
    allow_incomplete: bool = False,
) -> Iterator[UsageComparison]:
    """Compare the reports of a registry with those of what runs.

    Both are files or globs; `running` also folders of `auditor nightly` and data sets
    of `auditor history`. `same_registries` maps a registry of the running side to its
    name in the registry's reports. Raises `UsageError` for reports that are no base
    for an answer: unfinished or empty ones, and lines that name no image, unless
    `allow_incomplete` is set; and for a registry of `same_registries` that the reports
    do not have.
    """
    reports, histories = _running_sources(running)
    with open_reports(registry, schema="registry_report", views=()) as connection:
        check_not_empty(connection, "--registry has no references")
        connection.execute("USE main")
        connection.execute(sql.CREATE_RUNNING)
        if reports:
            add_reports(connection, reports, schema="running_report", views=())
            connection.execute("USE main")
            connection.execute(sql.ADD_RUNNING_REPORTS)
        for history in histories:
            pattern = f"{duckdb_pattern(str(history / 'images'))}/*/*.parquet"
            with reading_reports():
                connection.execute(sql.add_history(pattern))
        incomplete = _incomplete_lines(connection, allow_incomplete=allow_incomplete)
        for statement in sql.LOAD_REGISTRY:
            connection.execute(statement)
        incomplete += _nameless_lines(connection, allow_incomplete=allow_incomplete)
        notices = _check_same_registries(connection, same_registries or {})
        notices += several_days(connection)
        for statement in (
            *sql.load_running(same_registries or {}, has_reports=bool(reports)),
            *sql.FIND_USED,
            *sql.JUDGE,
            *sql.FIND_GONE,
        ):
            connection.execute(statement)
        yield UsageComparison(connection, incomplete, notices)


def parse_same_registries(texts: Sequence[str]) -> dict[str, str]:
    """`MIRROR=REGISTRY` by mirror; raises `UsageError`."""
    same = {}
    for text in texts:
        name, separator, other = text.partition("=")
        if not (name and separator and other) or "/" in text or name in same:
            raise UsageError(
                f'--same-registry: expected RUNNING=REGISTRY, two hosts, got "{text}"'
            )
        same[name] = other
    return same


def _running_sources(paths: Sequence[str]) -> tuple[list[str], list[Path]]:
    """The report files and the data sets of `auditor history` that paths name."""
    files: list[str] = []
    histories: list[Path] = []
    for path in paths:
        folder = Path(path)
        if not folder.is_dir():
            files += report_paths([path])
            continue
        nights = sorted(map(str, (folder / "reports").glob("*.jsonl*")))
        found = [one for one in (folder, folder / "history") if _is_history(one)]
        if not nights and not found:
            raise UsageError(
                f"{safe_text(path)}: is neither a folder of auditor nightly nor a data"
                " set of auditor history; name its reports"
            )
        files += report_paths(nights) if nights else []
        histories += found
    return list(dict.fromkeys(files)), histories


def _is_history(folder: Path) -> bool:
    return any((folder / "images").glob("date=*/*.parquet"))


def _incomplete_lines(
    connection: duckdb.DuckDBPyConnection, *, allow_incomplete: bool
) -> int:
    """The number of running lines that name no image; raises `UsageError`."""
    rows = connection.execute("""
        SELECT count(*), count(*) FILTER (registry IS NULL),
               any_value(detail) FILTER (registry IS NULL)
        FROM running_line""").fetchone()
    assert rows is not None
    lines, incomplete, detail = rows
    if not lines:
        raise UsageError("--running has no references: everything would be unused")
    if incomplete and not allow_incomplete:
        raise _incomplete("--running", incomplete, detail)
    return int(incomplete)


def _nameless_lines(
    connection: duckdb.DuckDBPyConnection, *, allow_incomplete: bool
) -> int:
    """The number of lines of the registry without an image; raises `UsageError`."""
    rows = connection.execute(
        "SELECT count(*), min(reference) FROM line WHERE registry IS NULL"
    ).fetchone()
    assert rows is not None
    nameless, example = rows
    if nameless and not allow_incomplete:
        raise _incomplete("--registry", nameless, example)
    return int(nameless)


def _check_same_registries(
    connection: duckdb.DuckDBPyConnection, same: Mapping[str, str]
) -> list[str]:
    """A sentence for each mirror from which nothing runs.

    Raises `UsageError` for a registry that the reports do not have: what runs from its
    mirror would be called unused.
    """
    there = _hosts(connection, "place")
    running = _hosts(connection, "running_line")
    for name, other in same.items():
        if other not in there:
            raise UsageError(
                f"--same-registry {safe_text(f'{name}={other}')}: the reports of the"
                f" registry have nothing of {safe_text(other)}; they have"
                f" {_named(there)}"
            )
    return [
        f"--same-registry {safe_text(f'{name}={other}')}: nothing ran from"
        f" {safe_text(name)}; what ran is from {_named(running)}"
        for name, other in same.items()
        if name not in running
    ]


def _hosts(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    rows = connection.execute(
        f"SELECT DISTINCT registry FROM {table} WHERE registry IS NOT NULL"  # noqa: S608
        " ORDER BY registry"
    ).fetchall()
    return [host for (host,) in rows]


def _named(hosts: Sequence[str]) -> str:
    more = len(hosts) - _MAX_HOSTS
    names = ", ".join(map(safe_text, hosts[:_MAX_HOSTS]))
    return names + (f" and {more:,} more" if more > 0 else "")


def _incomplete(option: str, lines: int, example: str | None) -> UsageError:
    shown = safe_text(example or "a line without a reference", _TEXT_CHARS)
    return UsageError(
        f"{option} is incomplete, so that nothing can be called unused:"
        f" {lines:,} of its lines name no image, for example: {shown}; repair the list"
        " and audit it again, or add --allow-incomplete"
    )
