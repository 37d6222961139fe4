"""The graph of manifests in reports: which of them needs which, and their blobs.

A record says more than what its reference names: an index lists its children, and what
is attached is known by the image, by its own subject, or by the tag that it is on. Each
of these is a relation of two manifests of one repository (`RELATIONS`):

| role | the child |
|---|---|
| `self` | is the manifest of the record, and so is the parent |
| `child` | is listed by the parent, an index, at any depth |
| `nested` | is listed, too, and the record has only its digest |
| `referrer` | is attached to the parent, by the referrers API |
| `tagged` | is attached to the parent by a tag that names or lists it |
| `subject` | is the manifest of the record, and names the parent as its subject |

A manifest needs what it lists, and keeps what is attached to it. Everything about this
is here, so that `cleanup`, `layers`, `unused` and the view `untagged` agree.

`content_tables` has the blobs of each platform's manifest, once for all references.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from auditor.analysis.completeness import HAS_UNNAMED_CHILDREN
from auditor.model import SCHEMA1_TYPES, WarningCode
from auditor.oci.attachments import DIGEST_TAG
from auditor.oci.descriptor import INDEX_TYPES


def digest_of_tag(tag: str) -> str:
    """SQL: the digest that a digest tag is named after; NULL for other tags."""
    return f"""CASE WHEN regexp_full_match({tag}, '{DIGEST_TAG}')
         THEN replace(regexp_extract({tag}, '^[^.]*'), '-', ':') END"""


# The subject of a record that names one, or is on a tag that does.
SUBJECT = f"coalesce(subject, {digest_of_tag('tag')})"


# -- relations --

_INDEXES = ", ".join(f"'{name}'" for name in sorted(INDEX_TYPES))
_IS_INDEX = f"coalesce({{}}media_type IN ({_INDEXES}), false)"

# Whether the registry had the manifest of a platform. What an index lists and the
# registry had not may be there all the same, by a record of its own.
_PRESENT = f"""
    (p.layers IS NOT NULL OR p.config_digest IS NOT NULL
     OR coalesce(starts_with(p.media_type, '{SCHEMA1_TYPES}'), false))"""


def _relation(
    parent: str,
    child: str,
    role: str,
    size: str = "NULL::BIGINT",
    known: str = "false",
    *,
    present: str = "true",
    attached: bool = False,
) -> str:
    return (
        f"{{'parent': {parent}, 'child': {child}, 'role': '{role}', 'size': {size},"
        f" 'known': {known}, 'present': {present}, 'attached': {attached}}}"
    )


_SELF = _relation(
    *("digest", "digest", "self", "manifest_size"),
    f"{_IS_INDEX.format('')} AND NOT {HAS_UNNAMED_CHILDREN}",
)
_PLATFORM = _relation(
    *("digest", "p.digest", "child", "p.manifest_size", "p.layers IS NOT NULL"),
    present=_PRESENT,
)
_ALTERNATIVE = _relation("digest", "x.digest", "child", "x.manifest_size", "true")
_OTHER = _relation("digest", "c.digest", "nested", "c.size", _IS_INDEX.format("c."))
_LISTED = _relation(
    *("digest", "a.digest", "child", "a.size", "a.blobs IS NOT NULL"), attached=True
)
_ATTACHED = _relation(
    *("coalesce(a.subject, digest)", "a.digest", "referrer", "a.size"),
    "a.blobs IS NOT NULL",
    attached=True,
)
_TAGGED = _relation(
    *("coalesce(a.subject, digest)", "a.digest", "tagged", "a.size"),
    "a.blobs IS NOT NULL",
    attached=True,
)
_SUBJECT = _relation("subject", "digest", "subject", attached=True)

# What the record of an image says about manifests, as a list of structures. `known`:
# all blobs of the child are known; `present`: the registry had the child; `attached`:
# it is an attachment. In reports of earlier versions it is not known whether an index
# lists an attachment: then it counts as both.
RELATIONS = f"""
    list_concat(
        [{_SELF}],
        [{_PLATFORM} FOR p IN platforms],
        flatten([[{_ALTERNATIVE} FOR x IN p.alternatives] FOR p IN platforms]),
        [{_OTHER} FOR c IN other_children],
        [{_LISTED} FOR a IN attachments IF coalesce(a.in_index, true)],
        [{_ATTACHED} FOR a IN attachments
         IF NOT coalesce(a.in_index, false) AND a.tag IS NULL],
        [{_TAGGED} FOR a IN attachments IF a.tag IS NOT NULL],
        CASE WHEN subject IS NULL THEN [] ELSE [{_SUBJECT}] END)"""

# The digests that the manifest of a record needs or keeps, and as what, each once.
NEEDS = f"""
    list_distinct(
        [{{'digest': r.child,
          'needed_as': CASE WHEN r.attached THEN 'attachment' ELSE 'child' END}}
         FOR r IN {RELATIONS} IF r.child <> digest])"""


# -- blobs --


def foreign_layers(layers: str, warnings: str) -> str:
    """The digests of layers that have URLs of their own and are not in the registry.

    A warning names each; of many, it names some, and the media type tells the others.
    """
    return f"""
        [l.digest FOR l IN {layers} IF len(
           [w FOR w IN {warnings} IF w.code = '{WarningCode.FOREIGN_LAYER}' AND (
              contains(w.detail, l.digest) OR regexp_matches(
                l.media_type, 'layer[.]nondistributable|rootfs[.]foreign'))]) > 0]"""


# The digests of the platforms' manifests of an image whose layers its record has.
PLATFORM_MANIFESTS = "[p.digest FOR p IN platforms IF p.layers IS NOT NULL]"
# The same, with those in other compressions.
MANIFESTS = f"""
    list_concat({PLATFORM_MANIFESTS},
                flatten([[x.digest FOR x IN p.alternatives] FOR p IN platforms]))"""


def _content(of: str) -> str:
    return (
        f"{{'manifest': {of}.digest, 'config': {of}.config_digest,"
        f" 'config_size': {of}.config_size, 'layers': {of}.layers}}"
    )


_CONTENTS = f"""
    list_concat(
        [{_content("p")} FOR p IN platforms IF p.layers IS NOT NULL],
        flatten([[{_content("x")} FOR x IN p.alternatives] FOR p IN platforms]))"""


def content_tables(lines: str, table: str = "content") -> tuple[str, ...]:
    """Statements for a table of what each manifest in `line.manifests` consists of.

    Many references share few manifests, and all their layer lists would take more space
    than the report: those of a manifest are taken from one of the lines that `line` has
    (`content_source`). `lines` is the view that `line` was made from. A row has
    `layers` and their `sizes`, base first; `foreign_layers` of them are not in the
    registry.
    """
    return (
        """CREATE TABLE content_source AS
           SELECT manifest, reference
           FROM (SELECT manifest, min(id) AS id
                 FROM (SELECT rowid AS id, unnest(manifests) AS manifest FROM line)
                 GROUP BY manifest)
                JOIN line ON line.rowid = id""",
        f"""CREATE TABLE {table} AS
            SELECT c.manifest AS manifest, c.config AS config,
                   c.config_size AS config_size,
                   [l.digest FOR l IN c.layers] AS layers,
                   [l.size FOR l IN c.layers] AS sizes,
                   {foreign_layers("c.layers", "warnings")} AS foreign_layers
            FROM (SELECT reference, warnings, unnest({_CONTENTS}) AS c
                  FROM {lines} WHERE kind = 'image') AS image
                 SEMI JOIN content_source ON content_source.manifest = c.manifest
                           AND content_source.reference = image.reference""",
        # A platform can be twice in a line, and a later line can replace one.
        f"""DELETE FROM {table} USING (
                SELECT manifest, max(rowid) AS kept FROM {table}
                GROUP BY manifest HAVING count(*) > 1) AS twice
            WHERE {table}.manifest = twice.manifest
                  AND {table}.rowid <> twice.kept""",
        "DROP TABLE content_source",
    )
