"""Finds the images of reports whose SBOMs have a package, and says what is unknown.

The packages that match are a table; their versions are compared in Python, each once.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb

from auditor.analysis.duckdb_connection import limit_clause, stream_rows
from auditor.analysis.package_versions import VersionRange
from auditor.analysis.platform_sql import platform_name
from auditor.analysis.reports import keep_last_lines, open_reports, report_paths
from auditor.analysis.sbom_views import about_list, add_sbom_views
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA
from auditor.oci.attachments import sbom_condition
from auditor.oci.sbom_packages import DISTRIBUTION_TYPES, SCHEME


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageUse:
    """A package in an image; a line of `--format jsonl`.

    `platform` is None if the SBOM is about all platforms of the image. `source` is the
    source package that a binary one was built from. `in_range` is None if the order of
    the version is not known, or no range was given.
    """

    schema: int = SCHEMA
    kind: str = "package_use"
    reference: str
    registry: str
    repository: str
    tag: str | None
    image_digest: str
    platform: str | None
    name: str
    version: str | None
    type: str | None
    purl: str | None
    license: str | None
    source: str | None
    source_version: str | None
    in_range: bool | None
    sbom_digest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageTotals:
    """The last line of `--format jsonl`: what was found, and what is not known.

    `packages` counts uses, `images` the images that have them. Each image of the report
    counts once in `searched` (all its platforms have an SBOM that was read), `partly`
    (some platforms), `unreadable` (its SBOMs could not be read), `only_of_others` (they
    are about other images), `not_in_file` (they are not in the SBOM file),
    `without_sbom`, or `unknown` (the audit did not look for attachments, or not
    everywhere). `failures` are references that were not audited.
    `cut_short` is the number of SBOMs with more packages than are kept, `of_others`
    that of SBOMs that are attached to an image but about another one: their packages
    are left out. `not_compared` are the uses whose version has no known order.
    """

    schema: int = SCHEMA
    kind: str = "totals"
    packages: int
    images: int
    searched: int
    partly: int
    unreadable: int
    only_of_others: int
    not_in_file: int
    without_sbom: int
    unknown: int
    failures: int
    cut_short: int
    of_others: int
    not_compared: int


class PackageSearch:
    """The result of a search; usable while its connection is open."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, *, has_range: bool
    ) -> None:
        self._connection = connection
        self._has_range = has_range
        self.totals = self._count()

    def _count(self) -> PackageTotals:
        (found,) = stream_rows(
            self._connection,
            "SELECT count(*) AS packages, count(DISTINCT reference) AS images,"
            " count(*) FILTER (in_range IS NULL) AS not_compared FROM uses",
        )
        if not self._has_range:
            found["not_compared"] = 0
        (states,) = stream_rows(self._connection, _STATES)
        (sboms,) = stream_rows(self._connection, _COUNTS)
        return PackageTotals(**found, **states, **sboms)

    def uses(self, *, limit: int = 0) -> Iterator[PackageUse]:
        """The uses by reference, platform and package; a limit of 0 means no limit."""
        query = f"""
            SELECT * FROM uses
            ORDER BY reference, coalesce(platform, ''), name, coalesce(version, ''),
                     coalesce(type, '')
            {limit_clause(limit)}"""
        rows = stream_rows(self._connection, query)
        return (PackageUse(**row) for row in rows)


@contextmanager
def search_packages(
    reports: Sequence[str],
    sboms: Sequence[str],
    *,
    name: str | None = None,
    types: Sequence[str] = (),
    versions: VersionRange | None = None,
) -> Iterator[PackageSearch]:
    """Search the SBOMs of reports, all given as files or globs.

    `name` is a name or pattern, or a package URL; None finds every package. If the
    reports have several lines of a reference, the last one counts. Raises `UsageError`
    for a file that is missing or is none of these.
    """
    files = report_paths(sboms)
    with open_reports(reports, schema="report", views=()) as connection:
        connection.execute("USE main")
        connection.execute(_SEARCHED)
        connection.execute(keep_last_lines("searched", "reference"))
        add_sbom_views(connection, files)
        connection.execute(_ATTACHED)
        connection.execute(_DOCUMENTS)
        connection.execute(*_matching(name, types))
        _compare(connection, versions)
        connection.execute(_USES)
        yield PackageSearch(connection, has_range=versions is not None)


def _matching(name: str | None, types: Sequence[str]) -> tuple[str, dict[str, object]]:
    """The statement that makes the table `matching`, and its parameters.

    A package that only the name of its source package found is compared by the version
    of that.
    """
    parameters: dict[str, object] = {}
    conditions, compared = [], "p.version"
    if types:
        conditions.append("list_contains($types, coalesce(p.type, 'unknown'))")
        parameters["types"] = [one.lower() for one in types]
    if name is not None and name.lower().startswith(SCHEME):
        conditions.append(_HAS_URL)
        parameters["url"] = name.lower()
    elif name is not None:
        conditions.append(f"({_HAS_NAME} OR {_HAS_SOURCE})")
        compared = f"""CASE WHEN {_HAS_NAME} THEN p.version
                       ELSE coalesce(p.source_version, p.version) END"""
        parameters["name"] = name.lower()
        parameters["pypi"] = re.sub("[-_.]+", "-", name.lower())
    statement = f"""
        CREATE TABLE matching AS
        SELECT attachment, digest, p.*, {compared} AS compared_version
        FROM (SELECT attachment, digest, unnest(packages) AS p
              FROM sbom_lines WHERE kind = 'sbom')
        WHERE {" AND ".join(conditions) or "true"}"""
    return statement, parameters


def _compare(
    connection: duckdb.DuckDBPyConnection, versions: VersionRange | None
) -> None:
    """Make the table `compared`: for each type and version, whether it is in range."""
    connection.execute(
        "CREATE TABLE compared (type VARCHAR, version VARCHAR, in_range BOOLEAN)"
    )
    if versions is None:
        return
    cursor = connection.cursor().execute(
        "SELECT DISTINCT type, compared_version FROM matching"
    )
    while batch := cursor.fetchmany(_BATCH):
        # Lists as parameters: `executemany` takes a millisecond for each row.
        connection.execute(
            "INSERT INTO compared SELECT unnest(?), unnest(?), unnest(?)",
            [
                [kind for kind, _ in batch],
                [text for _, text in batch],
                [versions.contains(kind, text) for kind, text in batch],
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
    FROM report.lines"""

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
# The last part of a name with an owner, as of `@angular/core`, is enough.
_HAS_NAME = f"""(
    lower(p.name) GLOB $name
    OR p.type = 'pypi' AND regexp_replace(lower(p.name), '[-_.]+', '-', 'g') GLOB $pypi
    OR coalesce(p.type NOT IN ({_DISTRIBUTIONS}), true)
       AND regexp_extract(lower(p.name), '[^/:]*$') GLOB $name)"""
_HAS_SOURCE = "coalesce(lower(p.source) GLOB $name, false)"
_HAS_URL = """(
    coalesce(starts_with(lower(p.purl), $url)
             AND (ends_with($url, '/') OR length(p.purl) = length($url)
                  OR substr(p.purl, length($url) + 1, 1) IN ('@', '?', '#')), false))"""

# A platform can have the same package in several SBOMs, as of cosign's tags.
_USES = """
    CREATE TABLE uses AS
    SELECT reference, any_value(registry) AS registry,
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
              ON c.type IS NOT DISTINCT FROM m.type
                 AND c.version IS NOT DISTINCT FROM m.compared_version)
    WHERE in_range IS NOT false
    GROUP BY reference, platform, name, version, type, source, source_version,
             in_range"""

_COUNTS = """
    SELECT count(DISTINCT attachment) FILTER (left_out > 0 AND len(about) > 0)
               AS cut_short,
           count(DISTINCT attachment) FILTER (is_read AND len(about) = 0) AS of_others
    FROM documents"""

_STATES = """
    WITH each_one AS (
        SELECT reference, coalesce(flatten(list(about) FILTER (is_read)), []) AS good,
               bool_or(NOT is_read) AS has_unread,
               bool_or(is_read AND len(about) = 0) AS has_others,
               bool_or(is_sbom OR is_read IS NOT NULL) AS has_some
        FROM documents GROUP BY reference),
    state AS (
        SELECT CASE
            WHEN kind <> 'image' THEN 'failures'
            WHEN len(good) > 0 AND NOT coalesce(has_unread, false) AND (
                list_contains(good, image_digest)
                OR list_has_all(good, [p.digest FOR p IN platforms])) THEN 'searched'
            WHEN len(good) > 0 THEN 'partly'
            WHEN has_unread THEN 'unreadable'
            WHEN has_others THEN 'only_of_others'
            WHEN has_some THEN 'not_in_file'
            WHEN has_sbom IS NULL THEN 'unknown'
            ELSE 'without_sbom' END AS name
        FROM searched LEFT JOIN each_one USING (reference)
        WHERE kind <> 'image' OR content = 'image')
    SELECT """ + ", ".join(
    f"count(*) FILTER (name = '{name}') AS {name}"
    for name in (
        "searched", "partly", "unreadable", "only_of_others", "not_in_file",
        "without_sbom", "unknown", "failures",
    )
) + " FROM state"  # fmt: skip
