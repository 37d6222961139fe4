"""The tables of a plan, made from those of the inventory and the rehearsal."""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from auditor.analysis.completeness import NOT_THERE, incomplete_places, not_audited
from auditor.analysis.manifest_graph import digest_of_tag

# The sizes in hostile descriptors can add up to more than 64 bits.
MAX_BYTES = 2**63 - 1

# Digests that run: of images and of their platforms. A failure may run any image, and
# has no registry if the list could not be read.
RUNNING_IMAGES = f"""
    CREATE TABLE running_image AS
    SELECT DISTINCT reference, registry, repository, digest AS image,
           unnest(CASE WHEN kind = 'failure' THEN [digest] ELSE
                  list_concat([digest], [p.digest FOR p IN platforms],
                    flatten([[x.digest FOR x IN p.alternatives] FOR p IN platforms]))
                  END) AS digest,
           kind = 'failure' AS failed,
           kind = 'failure' AND failure IN ({NOT_THERE}) AS is_absent, audited_at,
           nullif(concat_ws(' ', sources[1].namespace, sources[1].workload,
                            sources[1].container), '') AS named,
           coalesce(named, sources[1].place) AS used_by,
           coalesce(len(sources), 0) + coalesce(sources_left_out, 0) AS used_by_count
    FROM running.lines"""
NONE_RUNNING = """
    CREATE TABLE running_image (reference VARCHAR, registry VARCHAR,
        repository VARCHAR, image VARCHAR, digest VARCHAR, failed BOOLEAN,
        is_absent BOOLEAN, audited_at VARCHAR, used_by VARCHAR, used_by_count BIGINT)"""

# The nodes that run. Another registry than those of the report may be a mirror.
RUNNING_NODES = """
    CREATE TABLE running_node AS
    SELECT node.id, running_image.*, node.registry <> running_image.registry AS is_copy
    FROM running_image JOIN node USING (digest)
    WHERE node.registry = running_image.registry
          AND node.repository = running_image.repository
          OR running_image.registry NOT IN (SELECT DISTINCT registry FROM node)"""

# Running references that were not audited: what may run anything of the report, and
# the others, which are of other registries, or not found.
_MAY_RUN = """
    (NOT is_absent AND (registry IS NULL OR registry IN (SELECT registry FROM node)))"""
RUNNING_UNKNOWN = f"""
    (SELECT count(DISTINCT reference) FROM running_image WHERE failed AND {_MAY_RUN})"""
RUNNING_ELSEWHERE = f"""
    (SELECT count(DISTINCT reference) FROM running_image
     WHERE failed AND NOT {_MAY_RUN})"""

_INCOMPLETE = incomplete_places(
    "(SELECT registry, repository, false AS lacks_parts FROM node)",
    "line",
    ("registry", "repository"),
)
# Running images of these registries whose manifest the report does not have: by a tag
# that has moved, of a repository that was not audited, or not there any more. That is
# known (`is_gone`) if manifests without a tag were listed after that.
RUNNING_ABSENT = f"""
    CREATE TABLE running_absent AS
    WITH absent AS (
        SELECT reference, registry, repository, max(audited_at) AS last_seen
        FROM running_image ANTI JOIN node
             ON node.registry = running_image.registry
             AND node.repository = running_image.repository
             AND node.digest = running_image.image
        WHERE NOT failed AND registry IN (SELECT registry FROM node) GROUP BY ALL),
    complete AS (
        SELECT registry, repository, min(audited_at) AS audited_at
        FROM line
        WHERE kind = 'image' AND registry IN (SELECT registry FROM line WHERE untagged)
        GROUP BY ALL)
    SELECT reference, bool_and(coalesce(
        last_seen < complete.audited_at AND incomplete.repository IS NULL, false))
             AS is_gone
    FROM absent LEFT JOIN complete USING (registry, repository)
         LEFT JOIN ({_INCOMPLETE}) AS incomplete USING (registry, repository)
    GROUP BY reference"""

_BYTES = f"least(coalesce(sum(size), 0), {MAX_BYTES})::BIGINT"

PLAN_TABLES = (
    """CREATE TABLE family_blob AS
       SELECT root, scope, blob, freed_blob.blob IS NOT NULL AS is_freed,
              coalesce(freed_blob.size, blob_size.size) AS size
       FROM (SELECT DISTINCT root, scope, manifest_blob.blob
             FROM family JOIN node USING (id) JOIN manifest_blob ON manifest = digest)
            LEFT JOIN freed_blob USING (scope, blob)
            LEFT JOIN blob_size USING (blob)""",
    # A name for each living node: a tag of it or of what needs it.
    """CREATE TABLE living_name AS
       WITH own AS (SELECT id, min(reference) AS name FROM tag_left GROUP BY id),
       above AS (SELECT child AS id, min(name) AS name
                 FROM edge JOIN own ON own.id = parent
                   WHERE role <> 'tagged' GROUP BY child)
       SELECT id, coalesce(own.name, above.name,
                           concat(registry, '/', repository, '@', digest)) AS name,
              own.name IS NOT NULL AS has_tag, above.name IS NOT NULL AS has_parent
       FROM after JOIN node USING (id) LEFT JOIN own USING (id)
            LEFT JOIN above USING (id)""",
    # Of each root the largest blob that stays; few blobs are that of many.
    """CREATE TABLE top_blob AS
       WITH kept AS (
           SELECT root, scope, blob, coalesce(size, 0) AS size
           FROM family_blob WHERE NOT is_freed)
       SELECT root, scope, max(blob) AS blob
       FROM kept JOIN (SELECT root, max(size) AS size FROM kept GROUP BY root)
                 USING (root, size)
       GROUP BY root, scope""",
    """CREATE TABLE sharer AS
       WITH named AS (
           SELECT top.scope, blob, min(name) AS shared_with
           FROM (SELECT DISTINCT scope, blob FROM top_blob)
                     AS top JOIN manifest_blob USING (blob)
                JOIN node ON node.digest = manifest AND node.scope = top.scope
                JOIN living_name USING (id)
           GROUP BY ALL)
       SELECT root, shared_with FROM top_blob JOIN named USING (scope, blob)""",
    f"""CREATE TABLE sums AS
        WITH users AS (
            SELECT scope, blob, count(*) AS users FROM family_blob GROUP BY ALL)
        SELECT root, {_BYTES} AS size,
               least(coalesce(sum(size) FILTER (is_freed), 0), {MAX_BYTES})::BIGINT
                 AS freed,
               least(coalesce(sum(size) FILTER (is_freed AND users = 1), 0),
                     {MAX_BYTES})::BIGINT AS freed_alone,
               count(*) FILTER (is_freed AND size IS NULL) AS unsized
        FROM family_blob JOIN users USING (scope, blob) GROUP BY root""",
    """CREATE TABLE unread_parts AS
       SELECT root, count(*) AS unread
       FROM family SEMI JOIN gone USING (id) JOIN node USING (id)
            ANTI JOIN known_manifest USING (digest)
       GROUP BY root""",
    """CREATE TABLE keeper AS
       WITH tags AS (
           SELECT id, min(reference) AS name, count(*) AS n FROM tag_left GROUP BY id),
       above AS (
           SELECT child AS id, role, min(name) AS name, count(*) AS n
           FROM edge JOIN living_name ON living_name.id = parent GROUP BY ALL)
       SELECT after.id,
              CASE WHEN tags.n > 0 THEN 'kept_by_tag'
                   WHEN lists.n > 0 THEN 'kept_by_index'
                   WHEN subjects.n > 0 THEN 'kept_by_subject'
                   ELSE 'kept_untagged' END AS outcome,
              coalesce(tags.name, lists.name, subjects.name) AS kept_by,
              coalesce(tags.n, lists.n, subjects.n, 0) AS kept_by_count
       FROM after SEMI JOIN doomed USING (id) LEFT JOIN tags USING (id)
            LEFT JOIN (FROM above WHERE role = 'child') AS lists USING (id)
            LEFT JOIN (FROM above WHERE role = 'referrer') AS subjects USING (id)""",
    """CREATE TABLE deletion AS
       WITH names AS (SELECT id, count(*) AS names FROM tag GROUP BY id)
       SELECT doomed.reference, registry, repository, doomed.tag, digest, rule,
              coalesce(keeper.outcome, 'removed') AS outcome, kept_by,
              coalesce(kept_by_count, 0) AS kept_by_count,
              doomed.tag IS NOT NULL AND names = 1 AS only_name, size, freed,
              freed_alone, CASE WHEN size > freed THEN shared_with END AS shared_with,
              unsized, coalesce(unread, 0) AS unread
       FROM doomed JOIN node USING (id) JOIN sums ON sums.root = node.id
            LEFT JOIN names USING (id) LEFT JOIN keeper USING (id)
            LEFT JOIN sharer ON sharer.root = node.id
            LEFT JOIN unread_parts ON unread_parts.root = node.id""",
    """CREATE TABLE broken_index AS
       SELECT living_name.name AS reference, parent.digest, child.digest AS child,
              min(doomed.reference) AS deleted
       FROM edge JOIN deleted_node ON deleted_node.id = edge.child
            JOIN living_name ON living_name.id = edge.parent
            JOIN node AS parent ON parent.id = edge.parent
            JOIN node AS child ON child.id = edge.child
            JOIN doomed ON doomed.id = edge.child
       WHERE role = 'child' GROUP BY ALL""",
    # A deleted digest takes its other tags with it.
    """CREATE TABLE lost_tag AS
       SELECT tag.reference, digest, min(doomed.reference) AS deleted
       FROM tag JOIN deleted_node USING (id) JOIN node USING (id)
            JOIN doomed USING (id)
            ANTI JOIN doomed AS named ON named.reference = tag.reference
       GROUP BY ALL""",
    f"""CREATE TABLE left_behind AS
        WITH named AS (
            SELECT tag.id, registry, repository, {digest_of_tag("tag")} AS subject
            FROM tag JOIN node USING (id)),
        about AS (
            SELECT child AS id, node.digest AS subject
            FROM edge JOIN gone ON gone.id = parent JOIN node ON node.id = parent
            WHERE role <> 'child'
            UNION
            SELECT named.id, subject
            FROM named JOIN node ON node.registry = named.registry
                 AND node.repository = named.repository AND node.digest = subject
                 SEMI JOIN gone ON gone.id = node.id)
        SELECT name AS reference, digest, min(subject) AS subject, any_value(bytes)
                 AS size
        FROM about JOIN after USING (id) JOIN node USING (id)
             JOIN living_name USING (id)
             JOIN (SELECT manifest, {_BYTES} AS bytes
                   FROM manifest_blob LEFT JOIN blob_size USING (blob)
                   GROUP BY manifest) ON manifest = digest
        GROUP BY ALL""",
    """CREATE TABLE running_loss AS
       WITH lost AS (
           -- Also what nothing needs today: a garbage collection removes it.
           SELECT *, CASE WHEN is_copy THEN 'copy' ELSE 'digest' END AS loses
           FROM running_node ANTI JOIN after USING (id)),
       roots AS (
           SELECT family.id, min(doomed.reference) AS deleted
           FROM family JOIN doomed ON doomed.id = family.root GROUP BY family.id),
       lost_name AS (
           SELECT doomed.reference, doomed.reference AS deleted, digest, registry
           FROM doomed JOIN node USING (id) WHERE doomed.tag IS NOT NULL
           UNION ALL SELECT lost_tag.reference, deleted, lost_tag.digest, registry
           FROM lost_tag JOIN doomed ON doomed.reference = deleted
                JOIN node USING (id))
       -- A row for each reference: of an index rather than of its children.
       SELECT min_by(deleted, digest <> image) AS deleted, reference AS running,
              min_by(digest, digest <> image) AS digest, loses, used_by,
              used_by_count
       FROM lost LEFT JOIN roots USING (id) GROUP BY ALL
       UNION ALL
       SELECT DISTINCT lost_name.deleted, reference,
              coalesce(running_image.image, lost_name.digest), 'tag', used_by,
              used_by_count
       FROM running_image JOIN lost_name USING (reference)
       UNION
       -- The same repository and tag at a host that the report lacks.
       SELECT lost_name.deleted, running_image.reference,
              coalesce(running_image.image, lost_name.digest), 'copy', used_by,
              used_by_count
       FROM running_image JOIN lost_name
            ON substr(running_image.reference, length(running_image.registry) + 1)
               = substr(lost_name.reference, length(lost_name.registry) + 1)
            ANTI JOIN lost ON lost.reference = running_image.reference
       WHERE running_image.registry NOT IN (SELECT registry FROM node)""",
    f"""CREATE TABLE repository AS
        WITH deleted AS (
            SELECT registry, repository, count(*) AS deletions
            FROM doomed JOIN node USING (id) GROUP BY ALL),
        tags AS (
            SELECT registry, repository, count(*) AS tags_left
            FROM tag_left JOIN node USING (id) GROUP BY ALL),
        removed AS (
            SELECT registry, repository, count(*) AS manifests
            FROM gone JOIN node USING (id) GROUP BY ALL),
        blobs AS (
            SELECT DISTINCT registry, repository, scope, blob, size
            FROM gone JOIN node USING (id) JOIN manifest_blob ON manifest = digest
                 JOIN freed_blob USING (scope, blob)),
        owners AS (SELECT scope, blob, count(*) AS owners FROM blobs GROUP BY ALL),
        freed AS (
            SELECT registry, repository, {_BYTES} AS freed,
                   least(coalesce(sum(size) FILTER (owners = 1), 0),
                         {MAX_BYTES})::BIGINT AS freed_alone
            FROM blobs JOIN owners USING (scope, blob) GROUP BY ALL)
        SELECT registry, repository, deletions, coalesce(tags_left, 0) AS tags_left,
               coalesce(manifests, 0) AS manifests, coalesce(freed, 0) AS freed,
               coalesce(freed_alone, 0) AS freed_alone
        FROM deleted LEFT JOIN tags USING (registry, repository)
             LEFT JOIN removed USING (registry, repository)
             LEFT JOIN freed USING (registry, repository)""",
)

# What may need manifests of the report.
_FAILED = f"""
    (FROM line
     WHERE {not_audited("node")}
           AND (registry IS NULL
                OR registry IN (SELECT registry FROM doomed JOIN node USING (id))))"""

TOTALS = f"""
    SELECT (SELECT count(*) FROM doomed) AS deletions,
           (SELECT count(*) FROM gone) AS manifests,
           (SELECT count(*) FROM freed_blob) AS blobs,
           (SELECT {_BYTES} FROM freed_blob) AS freed,
           (SELECT count(*) FROM deletion WHERE outcome <> 'removed')
             AS kept_deletions,
           (SELECT count(*) FROM deletion WHERE only_name) AS only_names,
           (SELECT {_BYTES} FROM garbage_blob) AS garbage,
           (SELECT {_BYTES}
            FROM (SELECT DISTINCT scope, blob
                  FROM node JOIN manifest_blob ON manifest = digest)
                 LEFT JOIN blob_size USING (blob)) AS stored,
           (SELECT count(*) FROM broken_index) AS broken_indexes,
           (SELECT count(*) FROM lost_tag) AS lost_tags,
           (SELECT count(*) FROM left_behind) AS left_behind,
           (SELECT count(DISTINCT running) FROM running_loss) AS running,
           (SELECT count(*) FROM wanted_missing) AS missing,
           (SELECT count(*) FROM verdict WHERE kept_unknown) AS kept_unknown,
           (SELECT count(*) FROM freed_blob WHERE size IS NULL) AS unsized,
           (SELECT count(*) FROM gone JOIN node USING (id)
                                 ANTI JOIN known_manifest USING (digest)) AS unread,
           (SELECT count(*) FROM after JOIN node USING (id)
                                 ANTI JOIN known_manifest USING (digest)
                                 ANTI JOIN attachment USING (digest))
           -- What a nested index lists is known as long as the index above it stays.
           + (SELECT count(*)
              FROM after JOIN node USING (id)
                   SEMI JOIN nested USING (registry, repository, digest)
                   ANTI JOIN (SELECT child AS id
                              FROM edge JOIN after ON after.id = parent
                              WHERE role = 'child') USING (id))
             AS unread_left,
           (SELECT count(*) FROM after JOIN node USING (id)
                                 ANTI JOIN known_manifest USING (digest)
                                 SEMI JOIN attachment USING (digest))
             AS unread_attachments,
           (SELECT count(*) FROM {_FAILED}) AS failures,
           (SELECT count(*) FROM {_FAILED} WHERE stage = 'list') AS listings,
           (SELECT count(*)
            FROM line JOIN node USING (registry, repository, digest)
                 SEMI JOIN gone USING (id)
            WHERE content = 'image' AND unexamined) AS unexamined,
           (SELECT count(*) FROM pinned) AS hidden_tags,
           (SELECT count(*) FROM line WHERE untagged) AS untagged,
           (SELECT count(*) FROM deletion
            WHERE outcome = 'kept_by_subject'
                  AND registry NOT IN (FROM has_referrers)) AS kept_unconfirmed,
           {RUNNING_UNKNOWN} AS running_unknown,
           {RUNNING_ELSEWHERE} AS running_elsewhere,
           (SELECT count(*) FROM running_absent WHERE NOT is_gone) AS running_absent,
           (SELECT count(*) FROM running_absent WHERE is_gone) AS running_gone"""
