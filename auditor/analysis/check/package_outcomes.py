"""What rules about packages find (`forbidden_packages`), by SBOM files."""

# ruff: noqa: S608  (the SQL is made of constants and numbers)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import duckdb

from auditor.analysis.package_types import AbsentType, absent_types
from auditor.analysis.package_uses import PackageCondition, create_package_uses

# Packages that one violation names; more are counted. A pattern can find every package.
MAX_FOUND = 200


def create_package_outcomes(
    connection: duckdb.DuckDBPyConnection,
    rules: Mapping[int, Sequence[PackageCondition]],
    sbom_files: Sequence[str],
) -> list[AbsentType]:
    """Create the table `package_outcomes`, rows for a rule and an image.

    `forbidden` are the packages that a rule forbids, `unclear` is what the SBOMs do not
    tell: both lists of texts, NULL or empty if there are none. `rules` are the
    conditions by the number of the rule. Without files, every SBOM is unknown.
    Returns the types that no package has, with the number of the rule as `condition`.
    """
    conditions = [one for several in rules.values() for one in several]
    numbers = [rule for rule, several in rules.items() for _ in several]
    create_package_uses(connection, conditions, lines="lines", sbom_files=sbom_files)
    connection.execute("""
        CREATE TABLE rule_condition (
            condition INTEGER, rule INTEGER, versions VARCHAR)""")
    for number, (rule, condition) in enumerate(zip(numbers, conditions, strict=True)):
        versions = None if condition.versions is None else str(condition.versions)
        connection.execute(
            "INSERT INTO rule_condition VALUES (?, ?, ?)", [number, rule, versions]
        )
    connection.execute(_FOUND)
    connection.execute(_OUTCOMES, {"rules": list(rules)})
    if not sbom_files:
        return []
    return [
        replace(absent, condition=numbers[absent.condition])
        for absent in absent_types(connection, conditions)
    ]


# -- SQL --

# A row for each package and version, with the platforms that have it. Without an order
# of its versions, it is not known whether a package is forbidden.
_FOUND = """
    CREATE TABLE package_found AS
    SELECT rule, reference, is_known,
           CASE WHEN is_known THEN concat(package, places)
                ELSE concat('whether ', package, places, ' is ', versions) END AS text
    FROM (
        SELECT rule, reference, is_known, versions, package,
               ' (' || nullif(concat_ws('; ', 'of ' || source, platforms), '') || ')'
                   AS places
        FROM (
            SELECT rule, reference, is_known, versions, package, source,
                   string_agg(DISTINCT platform, ', ' ORDER BY platform) AS platforms
            FROM (
                SELECT rule, reference, platform,
                       versions IS NULL OR in_range IS NOT NULL AS is_known,
                       CASE WHEN in_range IS NULL THEN versions END AS versions,
                       concat(name, ' ' || version) AS package,
                       CASE WHEN source <> name THEN source END AS source
                FROM uses JOIN rule_condition USING (condition))
            GROUP BY ALL))"""

_WHY_UNKNOWN = """
    CASE state
         WHEN 'partly' THEN 'the packages of some of its platforms'
         WHEN 'unreadable' THEN 'its packages, because its SBOMs could not be read'
         WHEN 'only_of_others' THEN 'its packages, because its SBOMs are about others'
         WHEN 'not_in_file' THEN 'its packages, because its SBOMs are not in the file'
         WHEN 'without_sbom' THEN 'its packages, because it has no SBOM'
         WHEN 'unknown' THEN 'its packages, because it was not searched for SBOMs'
         END"""

_LIMITED = f"""
    CASE WHEN len(forbidden) > {MAX_FOUND}
         THEN list_append(forbidden[1:{MAX_FOUND}],
                          concat(format('{{:,}}', len(forbidden) - {MAX_FOUND}),
                                 ' more packages'))
         ELSE forbidden END"""

_OUTCOMES = f"""
    CREATE TABLE package_outcomes AS
    WITH found AS (
        SELECT rule, reference,
               list(text ORDER BY text) FILTER (is_known) AS forbidden,
               list(text ORDER BY text) FILTER (NOT is_known) AS not_compared
        FROM (SELECT DISTINCT rule, reference, is_known, text FROM package_found)
        GROUP BY rule, reference),
    cut_short AS (
        SELECT reference, concat(format('{{:,}}', sum(left_out)::BIGINT),
                                 ' more packages of its SBOMs') AS text
        FROM documents WHERE is_read AND left_out > 0 AND len(about) > 0
        GROUP BY reference),
    unread AS (
        SELECT unnest($rules) AS rule, reference,
               [text FOR text IN [{_WHY_UNKNOWN}, text] IF text IS NOT NULL] AS unread
        FROM package_state LEFT JOIN cut_short USING (reference)
        WHERE state NOT IN ('failures', 'searched') OR text IS NOT NULL)
    SELECT rule, reference, {_LIMITED} AS forbidden,
           list_concat(not_compared, unread) AS unclear
    FROM found FULL JOIN unread USING (rule, reference)"""
