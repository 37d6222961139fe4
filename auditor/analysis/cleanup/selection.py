"""What would be deleted: by patterns, references, a query, or rules that keep the rest.

`doomed` has a row for each reference that would be deleted: its `reference`, `tag` and
node `id` (null if the report has no image for it), and `rule`, whose keep-rules do not
keep it. `wanted_missing` has what was named and is not in the report.
"""

# ruff: noqa: S608  (the SQL is made of constants and checked SQL)

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from auditor.analysis.manifest_graph import digest_of_tag
from auditor.analysis.query import checked_select, query_errors
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import (
    ANY_DEPTH,
    Reference,
    RepositoryPattern,
    Selector,
    TagPattern,
)

if TYPE_CHECKING:
    import duckdb

# Each pattern reads all references of the report once.
MAX_PATTERNS = 1000
_BATCH = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionChoice:
    """What to delete. `selectors` are read once; `queries` are SELECTs of references.

    `select` needs queries as `reference_query` makes them.
    """

    selectors: Iterable[Selector] = ()
    queries: Sequence[str] = ()


def create_selection(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the empty tables."""
    connection.execute("CREATE TABLE wanted (reference VARCHAR)")
    connection.execute(
        "CREATE TABLE doomed (reference VARCHAR, tag VARCHAR, id BIGINT, rule VARCHAR)"
    )


def select(connection: duckdb.DuckDBPyConnection, selection: DeletionChoice) -> None:
    """Fill `doomed` and `wanted_missing` with what the selection names.

    Raises `UsageError` for too many patterns, for a pattern that selects nothing, and
    for a query that fails.
    """
    references: list[str] = []
    patterns = 0
    for selector in selection.selectors:
        if isinstance(selector, Reference):
            references.append(str(selector))
            if len(references) >= _BATCH:
                _want(connection, references)
        else:
            patterns += 1
            if patterns > MAX_PATTERNS:
                raise UsageError(
                    f"more than {MAX_PATTERNS} patterns to delete; write wider ones, or"
                    " a list of references"
                )
            _want_matches(connection, selector)
    _want(connection, references)
    for query in selection.queries:
        _want_rows(connection, query)
    for statement in _RESOLVE:
        connection.execute(statement)


def add_attachment_tags(connection: duckdb.DuckDBPyConnection) -> bool:
    """Add the tags of attachments of what goes to `doomed`; whether there are any."""
    (added,) = connection.execute(_ATTACHMENT_TAGS).fetchone() or (0,)
    return bool(added)


def _want(connection: duckdb.DuckDBPyConnection, references: list[str]) -> None:
    if references:
        connection.execute(
            "INSERT INTO wanted SELECT unnest(?::VARCHAR[])", [references]
        )
        references.clear()


def _want_matches(
    connection: duckdb.DuckDBPyConnection, selector: TagPattern | RepositoryPattern
) -> None:
    if isinstance(selector, TagPattern):
        repository = re.escape(selector.repository)
    else:
        repository = path_expression(selector.repository)
    (found,) = connection.execute(
        """INSERT INTO wanted SELECT reference FROM line
           WHERE kind = 'image' AND registry = ? AND regexp_full_match(repository, ?)
                 AND tag IS NOT NULL AND regexp_full_match(tag, ?)""",
        [selector.registry, repository, glob_expression(selector.pattern)],
    ).fetchone() or (0,)
    if not found:
        raise UsageError(
            f"--delete {selector}: the report has no such tag; nothing would be deleted"
        )


def _want_rows(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    connection.execute("USE report")
    with query_errors(query):
        connection.execute(f"INSERT INTO main.wanted {query}")
    connection.execute("USE main")


def reference_query(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """A query for the references of another: its column `reference`, or its only one.

    The connection uses the schema of the reports. Raises `UsageError` for a query that
    is not valid or has no references.
    """
    with query_errors(query):
        query, _ = checked_select(connection, query)
        described = connection.execute(f"DESCRIBE SELECT * FROM ({query})").fetchall()
    names = {row[0].lower(): row[0].replace('"', '""') for row in described}
    name = names.get("reference") or next(iter(names.values()))
    if "reference" not in names and len(names) > 1:
        raise UsageError(
            "--delete: the query must have a column reference, such as"
            " SELECT reference FROM images"
        )
    return (
        f'SELECT "{name}"::VARCHAR FROM ({query}) AS found WHERE "{name}" IS NOT NULL'
    )


# -- patterns as regular expressions of RE2 --

_GLOB_PART = re.compile(r"\[(?P<negation>!?)(?P<members>[^][]+)\]|.")


def glob_expression(pattern: str, any_char: str = ".") -> str:
    """A pattern of a tag or of one component (`*`, `?`, `[a-z]`, `[!a]`).

    It is as the grammar of references has it: classes are closed, and `!` and brackets
    are no members.
    """
    excluded = "/" if any_char == "[^/]" else ""
    result = ""
    for part in _GLOB_PART.finditer(pattern):
        if part["members"]:
            is_negated = bool(part["negation"])
            result += _character_class(part["members"], is_negated, excluded)
        else:
            char = part[0]
            result += {"*": f"{any_char}*", "?": any_char}.get(char, re.escape(char))
    return result


def _character_class(members: str, is_negated: bool, excluded: str) -> str:
    """A class of characters and ranges; as in fnmatch, reversed ranges are empty."""
    found, at = "", 0
    while at < len(members):
        first, last = members[at], members[at : at + 3][-1]
        if members[at + 1 : at + 2] == "-" and at + 2 < len(members):
            if first <= last:
                found += f"{re.escape(first)}-{re.escape(last)}"
            at += 3
        else:
            found += re.escape(first)
            at += 1
    if is_negated:
        return f"[^{found}{excluded}]" if found or excluded else "."
    return f"[{found}]" if found else r"[^\s\S]"


def path_expression(pattern: str) -> str:
    """A pattern of a repository path, in which `**` is any number of components."""
    parts = pattern.split("/")
    if parts[-1] == ANY_DEPTH:
        parts.append("*")
    result = ""
    for number, part in enumerate(parts):
        if part == ANY_DEPTH:
            result += "(?:[^/]+/)*"
        else:
            result += glob_expression(part, "[^/]")
            result += "/" if number < len(parts) - 1 else ""
    return result


# -- SQL --

# A reference by digest names a manifest even if the report has only its tags.
_RESOLVE = (
    """CREATE TABLE wanted_once AS
       SELECT DISTINCT wanted.reference, line.reference IS NOT NULL AS known,
              regexp_extract(wanted.reference, '@(.*)$', 1) AS digest,
              regexp_replace(regexp_extract(wanted.reference, '^[^@]*'),
                             ':[^/:]*$', '') AS name
       FROM wanted LEFT JOIN line ON line.reference = wanted.reference
            AND line.kind = 'image'""",
    """INSERT INTO doomed
       SELECT reference, CASE WHEN wanted_once.digest = '' THEN line.tag END, node.id,
              NULL
       FROM wanted_once
            JOIN (SELECT reference, registry, repository, tag, digest AS line_digest
                  FROM line WHERE kind = 'image') AS line USING (reference)
            JOIN node ON node.registry = line.registry
                 AND node.repository = line.repository AND node.digest = line_digest
       WHERE known""",
    """INSERT INTO doomed
       SELECT reference, NULL, node.id, NULL
       FROM wanted_once JOIN node ON node.digest = wanted_once.digest
            AND node.registry || '/' || node.repository = wanted_once.name
       WHERE NOT known AND wanted_once.digest <> ''""",
    """CREATE TABLE wanted_missing AS
       SELECT reference FROM wanted_once ANTI JOIN doomed USING (reference)""",
)

# Tags that are named after a digest that goes: cosign's, and the fallback tag of the
# referrers API.
_ATTACHMENT_TAGS = f"""
    INSERT INTO doomed
    WITH named AS (
        SELECT tag.id, reference, tag, registry, repository,
               {digest_of_tag("tag")} AS subject
        FROM tag JOIN node USING (id))
    SELECT DISTINCT named.reference, named.tag, named.id, NULL
    FROM named JOIN node ON node.registry = named.registry
         AND node.repository = named.repository AND node.digest = named.subject
         SEMI JOIN gone ON gone.id = node.id
         ANTI JOIN doomed ON doomed.reference = named.reference"""
