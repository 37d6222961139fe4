"""Where a digest is: every reference that leads to it, and as what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb

from auditor.analysis.reports import keep_last_lines, open_reports, platform_name
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA
from auditor.oci.digest import is_digest
from auditor.util.text import safe_text

# Rows that Python holds at once: some megabytes.
BATCH_ROWS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestUse:
    """A reference that leads to a digest.

    `role` says as what: `image` (the tag points at it), `platform` (a manifest of the
    tag's index), `config`, `layer` or `attachment`. `position` counts a platform's
    layers from 0 at the base.
    """

    schema: int = SCHEMA
    kind: str = "place"
    digest: str
    role: str
    reference: str
    registry: str
    repository: str
    tag: str | None
    image_digest: str
    platform: str | None
    position: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestSearchTotals:
    """Numbers of references that could not be searched.

    `failures` were not audited; of `missing` ones the registry lacks a platform.
    """

    schema: int = SCHEMA
    kind: str = "totals"
    failures: int
    missing: int


class DigestSearch:
    """The answer for some digests.

    `failures` counts references that were not audited and `missing` ones of which a
    platform is not in the registry: they may hold the digests, too.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        counts = connection.execute(_COUNTS).fetchone()
        assert counts is not None
        self.failures, self.missing = counts

    def count(self, digest: str, role: str) -> int:
        """Places where the digest has this role."""
        found = self._connection.execute(
            "SELECT count(*) FROM places WHERE digest = ? AND role = ?", [digest, role]
        ).fetchone()
        return int(found[0]) if found else 0

    def places(
        self, digest: str, role: str | None = None, *, limit: int = 0
    ) -> Iterator[DigestUse]:
        """The places of a digest, by role and reference; a limit of 0 means all."""
        query = f"""SELECT * FROM places
                    WHERE digest = $digest AND role = coalesce($role, role)
                    ORDER BY list_position({list(ROLES)}, role), reference,
                             coalesce(platform, ''), coalesce(position, -1)
                    {f"LIMIT {limit}" if limit else ""}"""  # noqa: S608
        rows = self._connection.cursor().execute(
            query, {"digest": digest, "role": role}
        )
        names = [column[0] for column in rows.description or ()]
        while batch := rows.fetchmany(BATCH_ROWS):
            for row in batch:
                yield DigestUse(**dict(zip(names, row, strict=True)))

    def totals(self) -> DigestSearchTotals:
        """The last line of `--format jsonl`."""
        return DigestSearchTotals(failures=self.failures, missing=self.missing)


@contextmanager
def search_digests(
    paths: Sequence[str], digests: Sequence[str]
) -> Iterator[DigestSearch]:
    """Look for digests in a report: a file, several or globs.

    Where it has several lines of a reference, its last one counts. `UsageError` for
    what is no digest.
    """
    for digest in digests:
        if not is_digest(digest):
            raise UsageError(
                f"--digest {safe_text(digest)}: not a digest; give the whole of it,"
                " as in sha256: and 64 hexadecimal digits"
            )
    with open_reports(paths, schema="report") as connection:
        connection.execute("USE main")
        connection.execute("CREATE TABLE wanted (digest VARCHAR)")
        connection.executemany(
            "INSERT INTO wanted VALUES (?)", [[one] for one in dict.fromkeys(digests)]
        )
        connection.execute(_HITS)
        connection.execute(keep_last_lines("hits", "reference"))
        connection.execute(_PLACES)
        yield DigestSearch(connection)


# Every line stays as long as it may be the last one of its reference; what it holds
# is kept only where a digest is among it.
_HITS = """
    CREATE TABLE hits AS
    WITH wanted_list AS MATERIALIZED (SELECT list(digest) AS digests FROM wanted)
    SELECT reference, audited_at, kind,
           len([p FOR p IN platforms IF p.layers IS NULL]) > 0 AS missing,
           CASE WHEN kind = 'image' AND list_has_any(digests, flatten([
                  [digest], [p.digest FOR p IN platforms],
                  [p.config_digest FOR p IN platforms],
                  flatten([[l.digest FOR l IN p.layers] FOR p IN platforms]),
                  [a.digest FOR a IN attachments]]))
                THEN {registry: registry, repository: repository, tag: tag,
                      digest: digest, platforms: platforms, attachments: attachments}
           END AS hit
    FROM report.lines, wanted_list"""

_COUNTS = """
    SELECT count(*) FILTER (kind = 'failure'), count(*) FILTER (missing) FROM hits"""

# role: what it is looked up in, platform, position
_LOOK_UPS = {
    "image": ("image_digest", "NULL", "NULL", "hit"),
    # the manifest that a tag itself names is said once, as the image
    "platform": ("nullif(p.digest, image_digest)", "p.platform", "NULL", "platform"),
    "config": ("p.config_digest", "p.platform", "NULL", "platform"),
    "layer": ("p.layers[i].digest", "p.platform", "i - 1", "layer"),
    "attachment": ("a.digest", "NULL", "NULL", "attachment"),
}
ROLES = tuple(_LOOK_UPS)

_SOURCES = f"""
    WITH hit AS (
        SELECT reference, hit.registry, hit.repository, hit.tag,
               hit.digest AS image_digest, hit.platforms, hit.attachments
        FROM hits WHERE hit IS NOT NULL),
    platform AS (
        SELECT * REPLACE ({{digest: p.digest, config_digest: p.config_digest,
                  layers: p.layers, platform: nullif({platform_name("p")}, '')}} AS p)
        FROM (SELECT *, unnest(platforms) AS p FROM hit)),
    layer AS (SELECT *, unnest(range(1, len(p.layers) + 1)) AS i FROM platform),
    attachment AS (SELECT *, unnest(attachments) AS a FROM hit)
    """  # noqa: S608

_UNION = " UNION ALL ".join(
    f"""SELECT {found} AS digest, '{role}' AS role, reference, registry, repository,
               tag, image_digest, {platform}::VARCHAR AS platform,
               ({position})::INTEGER AS position
        FROM {source} WHERE {found} IN (SELECT digest FROM wanted)"""  # noqa: S608
    for role, (found, platform, position, source) in _LOOK_UPS.items()
)
_PLACES = f"CREATE TABLE places AS {_SOURCES} {_UNION}"
