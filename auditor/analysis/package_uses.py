"""The packages of images, as tables: `auditor packages`, and rules of `auditor check`.

`create_package_uses` joins the attachments of reports with the lines of SBOM files, and
looks for packages under several conditions in one pass over these. Versions are
compared in Python, each once.
"""

# ruff: noqa: S608  (the SQL is made of constants and names of views)

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb

from auditor.analysis.package_versions import VersionRange
from auditor.analysis.platform_sql import platform_name
from auditor.analysis.report_views import keep_last_lines
from auditor.analysis.sbom_views import about_list, add_sbom_views
from auditor.fast_dataclass import dataclass
from auditor.oci.attachments import sbom_condition
from auditor.oci.sbom_packages import DISTRIBUTION_TYPES, SCHEME


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageCondition:
    """Which packages to find.

    `name` is a name or pattern of a package or of its source package, or a package URL;
    None finds every package. `types` are those of package URLs, or `unknown`; none
    finds all types. `versions` is None for every version.
    """

    name: str | None = None
    types: tuple[str, ...] = ()
    versions: VersionRange | None = None


# Brackets that are not closed would match nothing.
_NAME = re.compile(r"(?:[^][\\\s]|\[!?[^][\\!\s]+\])+")


def is_package_name(text: str) -> bool:
    """Whether a text is a name or pattern of packages, or a package URL."""
    return text.isprintable() and _NAME.fullmatch(text) is not None


def create_package_uses(
    connection: duckdb.DuckDBPyConnection,
    conditions: Sequence[PackageCondition],
    *,
    lines: str,
    sbom_files: Sequence[str],
) -> None:
    """Create the tables `uses`, `package_state` and `documents`.

    `uses` has a row for each package of an image that meets a condition: `condition` is
    its index, the others are those of `packages.PackageUse`. `package_state` has the
    `state` of each reference to an image (`STATES`) and of each failure. `documents`
    has a row for each SBOM of an image: whether it was read (`is_read`, NULL if the
    files do not have it), the number of packages that it has besides those that are
    kept (`left_out`), and the digests of the image that it is `about`.

    `lines` is the view of the report. If it has several lines of a reference, the last
    one counts. Raises `UsageError` for a file that is not one of `audit --sbom`.
    """
    connection.execute(_SEARCHED.replace("$lines", lines))
    connection.execute(keep_last_lines("searched", "reference"))
    add_sbom_views(connection, sbom_files)
    connection.execute(_ATTACHED)
    connection.execute(_DOCUMENTS)
    connection.execute(_STATE)
    _create_conditions(connection, conditions)
    connection.execute(_MATCHING)
    _compare(connection, conditions)
    connection.execute(_USES)


# Of an image, in `package_state`; see `packages.PackageTotals`.
STATES = (
    *("searched", "partly", "unreadable", "only_of_others", "not_in_file"),
    *("without_sbom", "unknown"),
)


def _create_conditions(
    connection: duckdb.DuckDBPyConnection, conditions: Sequence[PackageCondition]
) -> None:
    connection.execute("""
        CREATE TABLE package_condition (
            condition INTEGER, name VARCHAR, pypi_name VARCHAR, url VARCHAR,
            types VARCHAR[])""")
    for number, condition in enumerate(conditions):
        name = pypi_name = url = None
        if condition.name is not None and condition.name.lower().startswith(SCHEME):
            url = condition.name.lower()
        elif condition.name is not None:
            name = condition.name.lower()
            pypi_name = re.sub("[-_.]+", "-", name)
        types = [one.lower() for one in condition.types] or None
        connection.execute(
            "INSERT INTO package_condition VALUES (?, ?, ?, ?, ?)",
            [number, name, pypi_name, url, types],
        )


def _compare(
    connection: duckdb.DuckDBPyConnection, conditions: Sequence[PackageCondition]
) -> None:
    """Make the table `compared`: for each type and version, whether it is in range."""
    connection.execute("""
        CREATE TABLE compared (
            condition INTEGER, type VARCHAR, version VARCHAR, in_range BOOLEAN)""")
    for number, condition in enumerate(conditions):
        if condition.versions is None:
            continue
        cursor = connection.cursor().execute(
            "SELECT DISTINCT type, compared_version FROM matching WHERE condition = ?",
            [number],
        )
        while batch := cursor.fetchmany(_BATCH):
            # Lists as parameters: `executemany` takes a millisecond for each row.
            connection.execute(
                "INSERT INTO compared SELECT ?, unnest(?), unnest(?), unnest(?)",
                [
                    number,
                    [kind for kind, _ in batch],
                    [text for _, text in batch],
                    [condition.versions.contains(kind, text) for kind, text in batch],
                ],
            )


_BATCH = 2000

# -- SQL --

_SEARCHED = f"""
    CREATE TABLE searched AS
    SELECT reference, audited_at, kind, content, registry, repository, tag,
           digest AS image_digest, has_sbom,
           [{{digest: p.digest, name: nullif({platform_name("p")}, '')}}
            FOR p IN platforms] AS platforms,
           [{{digest: a.digest, subject: a.subject,
              is_sbom: a.kind = 'sbom' OR coalesce(len(a.predicates), 0) > 0}}
            FOR a IN attachments IF {sbom_condition("a")}] AS attachments
    FROM $lines"""

# `is_sbom` is false for an attestation that may be about something else.
_ATTACHED = """
    CREATE TABLE attached AS
    SELECT reference, registry, repository, tag, image_digest, platforms,
           a.digest AS attachment, a.subject, a.is_sbom
    FROM (SELECT *, unnest(attachments) AS a FROM searched WHERE kind = 'image')"""

# `about` has the digests of the image that the document is about. An attachment without
# a document in the file has a row as well, in which `is_read` is NULL.
_ABOUT = about_list(
    "s.subjects", "subject", "image_digest", "[p.digest FOR p IN platforms]"
)
_DOCUMENTS = f"""
    CREATE TABLE documents AS
    SELECT attached.*, s.digest,
           CASE WHEN s.kind IS NOT NULL THEN s.failure IS NULL END AS is_read,
           s.packages_left_out AS left_out, {_ABOUT} AS about
    FROM attached LEFT JOIN (SELECT * FROM sbom_lines WHERE kind = 'sbom') AS s
        USING (attachment)"""

_DISTRIBUTIONS = ", ".join(f"'{one}'" for one in sorted(DISTRIBUTION_TYPES))
# What is compared with conditions, once for each package. The last part of a name with
# an owner, as of `@angular/core`, is enough.
_NAMED = f"""
    SELECT attachment, digest, p, lower(p.name) AS lower_name,
           lower(p.source) AS lower_source, lower(p.purl) AS lower_url,
           CASE WHEN coalesce(p.type NOT IN ({_DISTRIBUTIONS}), true)
                THEN regexp_extract(lower(p.name), '[^/:]*$') END AS last_name,
           CASE WHEN p.type = 'pypi'
                THEN regexp_replace(lower(p.name), '[-_.]+', '-', 'g') END AS pypi_name
    FROM (SELECT attachment, digest, unnest(packages) AS p
          FROM sbom_lines WHERE kind = 'sbom')"""
_HAS_NAME = """coalesce(
    lower_name GLOB c.name OR last_name GLOB c.name
    OR named.pypi_name GLOB c.pypi_name, false)"""
_HAS_URL = """coalesce(
    starts_with(lower_url, c.url)
    AND (ends_with(c.url, '/') OR length(lower_url) = length(c.url)
         OR substr(lower_url, length(c.url) + 1, 1) IN ('@', '?', '#')), false)"""

# A package that only the name of its source package found is compared by the version
# of that.
_MATCHING = f"""
    CREATE TABLE matching AS
    SELECT c.condition, attachment, digest, p.*,
           CASE WHEN c.name IS NULL OR {_HAS_NAME} THEN p.version
                ELSE coalesce(p.source_version, p.version) END AS compared_version
    FROM ({_NAMED}) AS named
         JOIN package_condition AS c
              ON (c.types IS NULL
                  OR list_contains(c.types, coalesce(p.type, 'unknown')))
                 AND (c.url IS NULL OR {_HAS_URL})
                 AND (c.name IS NULL OR {_HAS_NAME}
                      OR coalesce(lower_source GLOB c.name, false))"""

# A platform can have the same package in several SBOMs, as of cosign's tags.
_USES = """
    CREATE TABLE uses AS
    SELECT condition, reference, any_value(registry) AS registry,
           any_value(repository) AS repository, any_value(tag) AS tag,
           any_value(image_digest) AS image_digest, platform, name, version, type,
           min(purl) AS purl, min(license) AS license, source, source_version, in_range,
           min(digest) AS sbom_digest
    FROM (SELECT d.* EXCLUDE (platforms),
                 list_extract([p.name FOR p IN platforms IF p.digest = d.about], 1)
                     AS platform,
                 m.* EXCLUDE (attachment, digest), c.in_range
          FROM (SELECT * REPLACE (unnest(about) AS about) FROM documents) AS d
          JOIN matching AS m USING (attachment, digest)
          LEFT JOIN compared AS c
              ON c.condition = m.condition
                 AND c.type IS NOT DISTINCT FROM m.type
                 AND c.version IS NOT DISTINCT FROM m.compared_version)
    WHERE in_range IS NOT false
    GROUP BY condition, reference, platform, name, version, type, source,
             source_version, in_range"""

_STATE = """
    CREATE TABLE package_state AS
    WITH each_one AS (
        SELECT reference, coalesce(flatten(list(about) FILTER (is_read)), []) AS good,
               bool_or(NOT is_read) AS has_unread,
               bool_or(is_sbom AND is_read IS NULL) AS has_missing,
               bool_or(is_read AND len(about) = 0) AS has_others,
               bool_or(is_sbom OR is_read IS NOT NULL) AS has_some
        FROM documents GROUP BY reference)
    SELECT reference, CASE
            WHEN kind <> 'image' THEN 'failures'
            WHEN len(good) > 0 AND NOT coalesce(has_unread, false)
                 AND NOT coalesce(has_missing, false) AND (
                list_contains(good, image_digest)
                OR list_has_all(good, [p.digest FOR p IN platforms])) THEN 'searched'
            WHEN len(good) > 0 THEN 'partly'
            WHEN has_unread THEN 'unreadable'
            WHEN has_others THEN 'only_of_others'
            WHEN has_some THEN 'not_in_file'
            WHEN has_sbom IS NULL THEN 'unknown'
            ELSE 'without_sbom' END AS state
    FROM searched LEFT JOIN each_one USING (reference)
    WHERE kind <> 'image' OR content = 'image'"""
