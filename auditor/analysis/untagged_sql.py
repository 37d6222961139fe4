"""SQL about manifests without a tag: which of them something else needs.

A listing of manifests without a tag has the children of indexes and what is attached to
images, too: to delete these breaks the images that need them. A manifest is needed if
its record has a tag, if the input named its digest, if the record of a needed manifest
of the same repository has it as a child or an attachment, or if it names a needed
manifest as its subject.

It is unknown whether a manifest is needed if a part of its repository is not in the
report: a reference that failed, or parts of a record that were left out. So it is for
an attachment without a subject that no record has.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from auditor.errors import FailureKind
from auditor.model import WarningCode
from auditor.oci.attachments import DIGEST_TAG

# Warnings of an index or an image that may need more than its record says.
_INCOMPLETE_CODES = ", ".join(
    f"'{code}'"
    for code in (WarningCode.PARTS_LEFT_OUT, WarningCode.ATTACHMENTS_UNKNOWN)
)

# Whether the record of an index, of an earlier version, does not name the children that
# `--platform` left out.
HAS_UNNAMED_CHILDREN = (
    "(coalesce(platforms_left_out, 0) > 0 AND other_children IS NULL)"
)
# Whether the record of an image lacks children or attachments.
INCOMPLETE = (
    f"(len([w FOR w IN warnings IF w.code IN ({_INCOMPLETE_CODES})]) > 0"
    f" OR {HAS_UNNAMED_CHILDREN})"
)

# A digest tag names the subject of what it is on.
_SUBJECT = f"""
    coalesce(subject, CASE WHEN regexp_full_match(tag, '{DIGEST_TAG}')
                           THEN replace(string_split(tag, '.')[1], '-', ':') END)"""

# What a manifest is of; two reports have nothing to do with each other.
_PLACE = "report, registry, repository"


def record_parts(lines: str) -> str:
    """A query for the images in `lines`, with the digests that each of them needs.

    `children` are those of an index, at any depth; `may_need_more` is whether its
    record lacks some.
    """
    return f"""
        SELECT {_PLACE}, reference, digest, coalesce(untagged, false) AS is_untagged,
               content, {_SUBJECT} AS subject,
               [d FOR d IN list_distinct(list_concat(
                  [p.digest FOR p IN platforms],
                  flatten([[x.digest FOR x IN p.alternatives] FOR p IN platforms]),
                  [c.digest FOR c IN other_children]))
                IF d <> digest] AS children,
               list_distinct([a.digest FOR a IN attachments]) AS attached,
               {INCOMPLETE} AS may_need_more
        FROM {lines} WHERE kind = 'image'"""


def needed_ctes(record: str) -> str:
    """Common table expressions for `WITH RECURSIVE`, from a table of `record_parts`.

    `edge`: an untagged manifest, or the subject of one, with what needs it. `needed`:
    the digests of needed manifests, by place.
    """
    return f"""
        target AS MATERIALIZED (
            SELECT {_PLACE}, digest FROM {record} WHERE is_untagged
            UNION
            SELECT {_PLACE}, subject FROM {record}
            WHERE is_untagged AND subject IS NOT NULL),
        part AS (
            SELECT {_PLACE}, reference, is_untagged, digest AS parent,
                   unnest(list_concat(
                     [{{digest: d, needed_as: 'child'}} FOR d IN children],
                     [{{digest: d, needed_as: 'attachment'}} FOR d IN attached])) AS p
            FROM {record}
            UNION ALL
            -- Of a digest that has a tag, a product may also list the digest.
            SELECT {_PLACE}, reference, is_untagged, NULL,
                   {{digest: digest, needed_as: 'tag'}}
            FROM {record} WHERE NOT is_untagged
            UNION ALL
            SELECT {_PLACE}, concat(registry, '/', repository, '@', subject), true,
                   subject, {{digest: digest, needed_as: 'attachment'}}
            FROM {record} WHERE is_untagged AND subject IS NOT NULL),
        edge AS MATERIALIZED (
            SELECT part.report, part.registry, part.repository, reference, is_untagged,
                   parent, target.digest, p.needed_as AS needed_as
            FROM part JOIN target ON target.report = part.report
                 AND target.registry = part.registry
                 AND target.repository = part.repository
                 AND target.digest = part.p.digest),
        needed AS (
            SELECT {_PLACE}, digest FROM edge WHERE NOT is_untagged
            UNION
            SELECT needed.report, needed.registry, needed.repository, edge.digest
            FROM needed JOIN edge ON edge.report = needed.report
                 AND edge.registry = needed.registry
                 AND edge.repository = needed.repository
                 AND edge.parent = needed.digest
            WHERE edge.is_untagged)"""


def failed_places(lines: str) -> str:
    """A query for the repositories in which something could not be audited.

    `repository` is NULL if it may be any of the registry. What vanished is not there.
    """
    return f"""
        SELECT DISTINCT report, registry,
               CASE WHEN regexp_matches(repository, '[*?[]') THEN NULL
                    ELSE repository END AS repository
        FROM {lines}
        WHERE kind = 'failure' AND registry IS NOT NULL
              AND failure <> '{FailureKind.VANISHED}'"""


def unused_untagged(lines: str, record: str = "record") -> str:
    """A query for the manifests without a tag in `lines`.

    `needed_as` and `needed_by` say what has it and by which reference, tags first.
    `unused` is NULL if it is unknown. `record` names the table of `record_parts`.
    """
    return f"""
        WITH RECURSIVE {record} AS MATERIALIZED ({record_parts(lines)}),
        {needed_ctes(record)},
        owner AS (
            SELECT {_PLACE}, digest,
                   min_by({{reference: reference, needed_as: needed_as}},
                          row(is_untagged, reference)) AS first
            FROM edge GROUP BY ALL),
        failed AS ({failed_places(lines)}),
        incomplete AS (
            SELECT {_PLACE} FROM {record} WHERE may_need_more
            UNION
            -- Two joins: one with a condition would compare all with all.
            SELECT {_PLACE} FROM {record} SEMI JOIN failed USING ({_PLACE})
            UNION
            SELECT {_PLACE}
            FROM {record}
                 SEMI JOIN (FROM failed WHERE repository IS NULL) AS any_of_these
                      USING (report, registry))
        SELECT DISTINCT
               one.report, one.registry, one.repository, one.reference, one.digest,
               one.content,
               owner.first.needed_as AS needed_as, owner.first.reference AS needed_by,
               CASE WHEN needed.digest IS NOT NULL THEN false
                    WHEN incomplete.repository IS NOT NULL
                         OR one.content = 'unknown'
                         OR one.content = 'attachment' AND owner.digest IS NULL
                    THEN NULL
                    ELSE true END AS unused
        FROM {record} AS one
             LEFT JOIN owner USING ({_PLACE}, digest)
             LEFT JOIN needed USING ({_PLACE}, digest)
             LEFT JOIN incomplete USING ({_PLACE})
        WHERE one.is_untagged"""
