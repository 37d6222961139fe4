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

from auditor.analysis.completeness import LACKS_PARTS, incomplete_places
from auditor.analysis.manifest_graph import NEEDS, SUBJECT

# What a manifest is of; two reports have nothing to do with each other.
_PLACE = "report, registry, repository"


# The columns of what is asked about an image in `unused_untagged`.
RECORD = f"""
    reference, digest, coalesce(untagged, false) AS is_untagged, content,
    {SUBJECT} AS subject, {NEEDS} AS needs, {LACKS_PARTS} AS lacks_parts"""

IMAGES_OF_LINES = f"SELECT {_PLACE}, {RECORD} FROM lines WHERE kind = 'image'"


def _needed(record: str) -> str:
    """Common table expressions for `WITH RECURSIVE`, from a table of images.

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
                   unnest(needs) AS p
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


def unused_untagged(images: str, lines: str, record: str = "record") -> str:
    """A query for the manifests without a tag of `images`.

    `images` is a query for place and `RECORD` of the images in `lines`; `record` names
    a table that is made of it. `needed_as` and `needed_by` say what has a manifest and
    by which reference, tags first. `unused` is NULL if it is unknown.
    """
    return f"""
        WITH RECURSIVE {record} AS MATERIALIZED ({images}),
        {_needed(record)},
        owner AS (
            SELECT {_PLACE}, digest,
                   min_by({{reference: reference, needed_as: needed_as}},
                          row(is_untagged, reference)) AS first
            FROM edge GROUP BY ALL),
        incomplete AS (
            {incomplete_places(record, lines, _PLACE.split(", "))})
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
