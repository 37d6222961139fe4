"""Patterns of a policy that match nothing in the report: they may be misspelt.

A rule whose patterns match nothing is never broken, which looks like a good report.
"""

# ruff: noqa: S608  (the SQL is made of constants and numbers)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import duckdb

from auditor.analysis.check.policy import Policy, PolicySection, Rule, Subject
from auditor.util.text import format_count, safe_text

# Of a key, named one by one.
_MAX_PATTERNS = 10

# What the patterns of a repository can match, in the table `checked`.
_REPOSITORY = ("name", "repository")


def unmatched_patterns(
    connection: duckdb.DuckDBPyConnection, policy: Policy
) -> Iterator[str]:
    """A sentence for each pattern of a section, and of `immutable_tags`.

    Those of a section that applies to no line are left out: that is said of the
    section. So are those of `except`: if one is misspelt, the rule is broken, which is
    seen. The connection has the tables of `evaluate`.
    """
    for number, section in enumerate(policy.sections):
        if _is_there(connection, f"applies_{number}"):
            yield from _of_section(connection, section)
    for rule in policy.rules:
        if rule.definition.subject is Subject.EARLIER:
            yield from _of_immutable_tags(connection, policy, rule)


def _of_section(
    connection: duckdb.DuckDBPyConnection, section: PolicySection
) -> Iterator[str]:
    keys = (
        ("repositories", section.repositories, _REPOSITORY),
        ("tags", section.tags, ("tag",)),
    )
    for key, patterns, columns in keys:
        unmatched = [
            pattern
            for pattern in patterns
            if not _is_there(connection, _matches(columns), pattern)
        ]
        yield from _sentences(f"rules.{section.name}.{key}", unmatched)


def _of_immutable_tags(
    connection: duckdb.DuckDBPyConnection, policy: Policy, rule: Rule
) -> Iterator[str]:
    applies = f"kind = 'image' AND applies_{policy.sections.index(rule.section)}"
    patterns = cast("Sequence[str]", rule.value)
    unmatched = [
        pattern
        for pattern in patterns
        if not _is_there(connection, f"{applies} AND {_matches(('tag',))}", pattern)
    ]
    yield from _sentences(rule.id, unmatched)
    if len(unmatched) == len(patterns):
        return
    matches = "len([p FOR p IN $patterns IF tag GLOB p]) > 0"
    row = connection.execute(
        "SELECT count(*), count(earlier.reference)"
        " FROM checked LEFT JOIN earlier USING (reference)"
        f" WHERE {applies} AND {matches}",
        {"patterns": list(patterns)},
    ).fetchone()
    assert row is not None
    tags, compared = row
    if tags and not compared:
        yield (
            f"{rule.id}: of {format_count(tags, 'tag')} none is in the earlier report,"
            " so nothing was compared; check --previous"
        )


def _sentences(key: str, unmatched: Sequence[str]) -> Iterator[str]:
    for pattern in unmatched[:_MAX_PATTERNS]:
        yield f"{key}: {safe_text(pattern)} matches nothing in the report"
    if len(unmatched) > _MAX_PATTERNS:
        count = len(unmatched) - _MAX_PATTERNS
        yield f"{key}: {format_count(count, 'more pattern')} without a match"


def _matches(columns: Sequence[str]) -> str:
    return f"({' OR '.join(f'coalesce({one} GLOB $1, false)' for one in columns)})"


def _is_there(
    connection: duckdb.DuckDBPyConnection, condition: str, *parameters: str
) -> bool:
    query = f"SELECT 1 FROM checked WHERE {condition} LIMIT 1"
    return connection.execute(query, parameters).fetchone() is not None
