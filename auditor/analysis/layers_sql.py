"""The statements behind `layers`.

Many references share few manifests, so what a report repeats for each of them is kept
once: `line` (what a reference names), `holds` (which image of which repository holds
which manifest of a platform) and `manifests` (its layers). The report is read twice for
that: all its layer lists together would take more room than the report itself.
"""

from __future__ import annotations

from enum import StrEnum

from auditor.analysis.expressions import keep_last_lines, platform_name
from auditor.fast_dataclass import dataclass

# Docker stacks at most 127 layers ("max depth exceeded"), so no base image has more;
# and a hostile manifest of 28,000 layers costs no more than this.
MAX_BASE_LAYERS = 127

# The descriptors of hostile manifests may add up to more than 64 bits hold.
MAX_BYTES = 2**63 - 1


class Group(StrEnum):
    """By what bytes are summed. A namespace is a repository's first component."""

    REPOSITORY = "repository"
    NAMESPACE = "namespace"
    ARCHITECTURE = "architecture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A table that is made when it is first asked for, and its order."""

    table: str
    body: str
    order: str

    @property
    def make(self) -> str:
        """The statement that makes the table unless it is there."""
        return f"CREATE TABLE IF NOT EXISTS {self.table} AS {self.body}"

    @property
    def count(self) -> str:
        """Its number of rows."""
        return f"SELECT count(*) FROM {self.table}"  # noqa: S608

    def rows(self, limit: int) -> str:
        """Its first rows; a limit of 0 means all."""
        query = f"SELECT * FROM {self.table} ORDER BY {self.order}"  # noqa: S608
        return f"{query} LIMIT {limit}" if limit else query


REFERENCES = f"""
    CREATE TABLE line AS
    SELECT reference, registry, repository, kind, digest AS image, audited_at,
           [{{platform: {platform_name("p")},
              manifest: p.digest, there: p.layers IS NOT NULL, base: p.base}}
            FOR p IN platforms] AS platforms
    FROM report.lines"""  # noqa: S608

TABLES = (
    f"CREATE MACRO bytes(n) AS least(coalesce(n, 0), {MAX_BYTES})::BIGINT",
    """CREATE TABLE holds AS
       SELECT DISTINCT registry, repository, image, p.platform, p.manifest, p.there
       FROM (SELECT *, unnest(platforms) AS p FROM line)""",
    # The line from which a manifest's layers are taken.
    """CREATE TABLE chosen AS
       SELECT manifest, reference
       FROM (SELECT p.manifest, min(line.rowid) AS id
             FROM (SELECT rowid, unnest(platforms) AS p FROM line) AS line
             WHERE p.there GROUP BY p.manifest)
            JOIN line ON line.rowid = id""",
    """CREATE TABLE manifests AS
       SELECT p.digest AS manifest, audited_at,
              [l.digest FOR l IN p.layers] AS layers,
              [l.size FOR l IN p.layers] AS sizes
       FROM (SELECT reference, audited_at, unnest(platforms) AS p
             FROM report.images) AS image
            SEMI JOIN chosen ON chosen.manifest = p.digest
                                AND chosen.reference = image.reference
       WHERE p.layers IS NOT NULL""",
    keep_last_lines("manifests", "manifest"),
    # A row for each layer of each manifest; where these disagree on a layer's size,
    # the largest counts.
    """CREATE TABLE held_layers AS
       SELECT DISTINCT manifest, unnest(layers) AS digest FROM manifests""",
    """CREATE TABLE sizes AS
       SELECT digest, max(size) AS size
       FROM (SELECT unnest(layers) AS digest, unnest(sizes) AS size FROM manifests)
       GROUP BY digest""",
)

TOTALS = """
    SELECT (SELECT count(*) FROM line WHERE kind = 'image') AS images,
           (SELECT count(*) FROM manifests) AS manifests,
           count(*) AS layers, bytes(sum(size)) AS size,
           count(*) FILTER (size IS NULL) AS unsized,
           (SELECT count(*) FROM line WHERE kind = 'failure') AS failures,
           (SELECT count(*) FROM (SELECT DISTINCT registry, manifest
                                  FROM holds WHERE NOT there)) AS missing
    FROM (SELECT DISTINCT registry, digest
          FROM holds JOIN held_layers USING (manifest) WHERE there)
         JOIN sizes USING (digest)"""

_NAMESPACE = "CASE WHEN contains(repository, '/') THEN split_part(repository, '/', 1)"
_NAMES = {
    Group.REPOSITORY: "repository",
    Group.NAMESPACE: f"{_NAMESPACE} ELSE '' END",
    Group.ARCHITECTURE: "platform",
}


def usage(group: Group) -> Query:
    """Bytes by group: its layers, those of no other group, and those of others too."""
    name = _NAMES[group]
    images = "SELECT * FROM line WHERE kind = 'image'"
    if group is Group.ARCHITECTURE:
        images = """SELECT DISTINCT registry, reference, p.platform
                    FROM (SELECT *, unnest(platforms) AS p FROM line) WHERE p.there"""
    body = f"""
        WITH groups AS (
            SELECT registry, {name} AS name, count(*) AS images
            FROM ({images}) GROUP BY ALL),
        members AS (
            SELECT DISTINCT registry, {name} AS name, manifest FROM holds WHERE there),
        layers AS (
            SELECT DISTINCT registry, name, digest
            FROM members JOIN held_layers USING (manifest)),
        users AS (
            SELECT registry, digest, count(*) AS users FROM layers GROUP BY ALL),
        sums AS (
            SELECT registry, name, count(*) AS layers,
                   sum(size) AS size, sum(size) FILTER (users = 1) AS alone,
                   count(*) FILTER (size IS NULL) AS unsized
            FROM layers JOIN users USING (registry, digest) JOIN sizes USING (digest)
            GROUP BY ALL)
        SELECT '{group}' AS kind, registry, nullif(name, '') AS name, images,
               coalesce(manifests, 0) AS manifests, coalesce(layers, 0) AS layers,
               bytes(size) AS size,
               bytes(alone) AS "unique",
               bytes(size - coalesce(alone, 0)) AS shared,
               coalesce(unsized, 0) AS unsized
        FROM groups LEFT JOIN sums USING (registry, name)
             LEFT JOIN (SELECT registry, name, count(*) AS manifests
                        FROM members GROUP BY ALL) USING (registry, name)
        """  # noqa: S608
    order = "\"unique\" DESC, size DESC, registry, coalesce(name, '')"
    return Query(table=f"usage_{group}", body=body, order=order)


_HOLDERS = "SELECT DISTINCT registry, repository, manifest FROM holds WHERE there"

SHARED_LAYERS = Query(
    table="shared_layers",
    body=f"""
        WITH by_manifest AS (
            SELECT digest, count(*) AS manifests FROM held_layers GROUP BY digest),
        by_repository AS (
            SELECT digest, count(*) AS repositories
            FROM (SELECT DISTINCT digest, registry, repository
                  FROM ({_HOLDERS}) JOIN held_layers USING (manifest))
            GROUP BY digest)
        SELECT digest, size, manifests, repositories
        FROM by_manifest JOIN by_repository USING (digest) JOIN sizes USING (digest)
        WHERE manifests > 1 OR repositories > 1""",  # noqa: S608
    order="repositories DESC, manifests DESC, coalesce(size, 0) DESC, digest",
)

# A prefix is a base where manifests part ways: some end there or go on differently,
# which is to say that no longer prefix has as many manifests.
BASES = Query(
    table="bases",
    body=f"""
        WITH prefixes AS MATERIALIZED (
            SELECT manifest, n, len(layers) > n AS goes_on,
                   md5_number(array_to_string(layers[1:n], ' ')) AS prefix,
                   md5_number(array_to_string(layers[1:n - 1], ' ')) AS parent
            FROM (SELECT *, unnest(range(1, least(len(layers), {MAX_BASE_LAYERS}) + 1))
                            AS n FROM manifests)),
        counted AS (
            SELECT prefix, n, parent, count(*) AS sharers,
                   count(*) FILTER (goes_on) AS manifests
            FROM prefixes GROUP BY ALL),
        longer AS (
            SELECT parent AS prefix, max(sharers) AS most FROM counted GROUP BY parent),
        found AS MATERIALIZED (
            SELECT counted.* FROM counted LEFT JOIN longer USING (prefix)
            WHERE sharers > 1 AND manifests > 0 AND sharers > coalesce(most, 0)),
        examples AS (
            SELECT prefix, min(manifest) AS example
            FROM prefixes SEMI JOIN found USING (prefix) GROUP BY prefix),
        builders AS (
            SELECT prefix, count(*) AS repositories
            FROM (SELECT DISTINCT prefix, registry, repository
                  FROM prefixes SEMI JOIN found USING (prefix)
                       JOIN ({_HOLDERS}) USING (manifest)
                  WHERE goes_on)
            GROUP BY prefix),
        itself AS (
            SELECT prefix, min_by(reference, row(length(reference), reference)) AS image
            FROM prefixes SEMI JOIN found USING (prefix)
                 JOIN holds USING (manifest)
                 JOIN line USING (registry, repository, image)
            WHERE NOT goes_on AND there
                  -- of two lines with one digest, one may lack the manifest
                  AND list_contains(
                      [p.manifest FOR p IN platforms IF p.there], manifest)
            GROUP BY prefix),
        weights AS (
            SELECT prefix, bytes(sum(size)) AS size,
                   count(*) FILTER (size IS NULL) AS unsized
            FROM (SELECT DISTINCT prefix, unnest(layers[1:n]) AS digest
                  FROM found JOIN examples USING (prefix)
                       JOIN manifests ON manifest = example)
                 JOIN sizes USING (digest)
            GROUP BY prefix),
        platforms AS (
            SELECT manifest AS example, min(platform) AS platform
            FROM holds WHERE there AND manifest IN (SELECT example FROM examples)
            GROUP BY manifest)
        SELECT itself.image, nullif(platform, '') AS platform, n::INTEGER AS layers,
               weights.size, weights.unsized, manifests.layers[n] AS top,
               found.manifests, repositories
        FROM found JOIN builders USING (prefix) JOIN weights USING (prefix)
             JOIN examples USING (prefix) JOIN platforms USING (example)
             JOIN manifests ON manifests.manifest = example
             LEFT JOIN itself USING (prefix)""",  # noqa: S608
    order="repositories DESC, manifests DESC, layers DESC, top",
)
