"""What a report cannot answer: columns without a value, views without rows.

A condition on an unknown value leaves the row out, and what the audit did not ask for
has no row at all. Both look like an answer, so `auditor query` counts them.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from collections.abc import Collection, Iterator

import duckdb

from auditor.analysis.completeness import is_empty
from auditor.fast_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class _UnknownValue:
    """Rows of a view in which a column is unknown: a condition on it leaves them out.

    `rows` are those about which the column says something, `unknown` those of them in
    which it does not; `reason` says why, and how it is avoided.
    """

    reason: str
    rows: str
    unknown: str


# Attachments have neither an age nor a signature that matters; an artifact that is no
# image has no config. The rows are the same as of the rules of `auditor check`.
_PUBLISHED = "content <> 'attachment'"
_IMAGES = "content = 'image'"
_ALWAYS = "audit with --image-config always"
_LISTING = "the listings of some products have it (lister)"
_NOT_VERIFIED = (
    "were not verified; audit with --verify-signatures and a policy that names their"
    " repositories"
)
_NO_CONFIG = _UnknownValue(
    f"are without the image config; {_ALWAYS}", _IMAGES, "history IS NULL"
)
_NO_BASE = _UnknownValue(
    f"have no base in an annotation, and are without the image config; {_ALWAYS}",
    _IMAGES,
    "history IS NULL AND base_name IS NULL AND base_digest IS NULL",
)
_UNKNOWN_VALUES = {
    **{
        (view, "created"): _UnknownValue(
            f"have no date; {_ALWAYS} (reproducible builds can have none)",
            _PUBLISHED,
            "created IS NULL",
        )
        for view in ("images", "platforms")
    },
    ("platforms", "history"): _NO_CONFIG,
    ("platforms", "user"): _NO_CONFIG,
    ("platforms", "base_name"): _NO_BASE,
    ("platforms", "base_digest"): _NO_BASE,
    ("platforms", "labels"): _UnknownValue(
        "have no labels in the report; audit with --label", _IMAGES, "labels IS NULL"
    ),
    **{
        ("images", name): _UnknownValue(
            "were not examined; audit with --attachments all",
            _PUBLISHED,
            f"{name} IS NULL",
        )
        for name in ("signed", "has_sbom", "has_provenance")
    },
    **{
        ("images", name): _UnknownValue(
            _NOT_VERIFIED,
            _PUBLISHED,
            f"{name} IS NULL",
        )
        for name in ("verified_by", "not_verified_by")
    },
    ("images", "end_of_life"): _UnknownValue(
        "were not examined; audit with --attachments all",
        _PUBLISHED,
        "end_of_life IS NULL AND signed IS NULL",
    ),
    ("images", "pushed_at"): _UnknownValue(
        f"have no time of a push; {_LISTING}", _PUBLISHED, "pushed_at IS NULL"
    ),
    ("images", "pulled_at"): _UnknownValue(
        f"have no time of a pull: never pulled, or not recorded; {_LISTING}",
        _PUBLISHED,
        "pulled_at IS NULL",
    ),
    **{
        (view, "size"): _UnknownValue(
            "have no size; schema 1 has none", _PUBLISHED, "size IS NULL"
        )
        for view in ("images", "platforms", "layers")
    },
}
# Registries without an API for them look the same as those that have none.
_NO_UNTAGGED = (
    "untagged: the report has no manifest without a tag: either there is none, or the"
    " audit did not ask for them (--untagged), or the registry does not list them,"
    " which the summary of the audit says"
)
# What was not asked for has no row in these views, as if there were none. The
# conditions are on `lines`.
_WITHOUT_ROWS = {
    "sources": _UnknownValue(
        "have no sources in the report; audit with --sources always",
        "true",
        "sources IS NULL",
    ),
    "input_labels": _UnknownValue(
        "have no labels of the input in the report; audit with --sources always",
        "true",
        "input_labels IS NULL",
    ),
    "attachments": _UnknownValue(
        "were not examined; audit with --attachments all",
        f"kind = 'image' AND {_PUBLISHED}",
        "signed IS NULL",
    ),
    "bases": _UnknownValue(
        "were audited without a look at their bases; audit with --check-bases",
        f"kind = 'image' AND {_IMAGES}",
        "bases IS NULL",
    ),
    "signatures": _UnknownValue(
        _NOT_VERIFIED,
        f"kind = 'image' AND {_PUBLISHED}",
        "signatures IS NULL",
    ),
}
# An image without an SBOM has no row in `packages`.
_WITHOUT_PACKAGES = _UnknownValue(
    "have no SBOM that was read; auditor packages says why",
    _IMAGES,
    "reference NOT IN (SELECT reference FROM sboms WHERE failure IS NULL)",
)


def unknown_values(
    connection: duckdb.DuckDBPyConnection,
    views: Collection[str],
    columns: Collection[str],
) -> Iterator[str]:
    """A sentence for each of the columns and views of a query with unknown values."""
    if views and is_empty(connection):
        yield "the report is empty"
        return
    for (view, column), value in _UNKNOWN_VALUES.items():
        if view in views and column in columns:
            unknown, rows = _count(connection, view, value)
            if unknown:
                yield f"{column}: {unknown:,} of {rows:,} {view} {value.reason}"
    for view, value in _WITHOUT_ROWS.items():
        if view in views:
            unknown, rows = _count(connection, "lines", value)
            if unknown:
                yield f"{view}: {unknown:,} of {rows:,} references {value.reason}"
    if "packages" in views:
        unknown, rows = _count(connection, "images", _WITHOUT_PACKAGES)
        if unknown:
            yield f"packages: {unknown:,} of {rows:,} images {_WITHOUT_PACKAGES.reason}"
    if (
        "untagged" in views
        and not connection.execute("FROM untagged LIMIT 1").fetchall()
    ):
        yield _NO_UNTAGGED


def _count(
    connection: duckdb.DuckDBPyConnection, view: str, value: _UnknownValue
) -> tuple[int, int]:
    """The rows in which the value is unknown, and all rows."""
    ((unknown, rows),) = connection.execute(
        f"SELECT count(*) FILTER ({value.unknown}), count(*)"
        f" FROM {view} WHERE {value.rows}"
    ).fetchall()
    return unknown, rows
