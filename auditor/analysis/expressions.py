"""Pieces of SQL that several questions need."""

from __future__ import annotations


def platform_name(platform: str) -> str:
    """`os/architecture[/variant]` of a platform struct, as in `architectures`.

    Empty for what has no platform, such as an artifact: unlike null it joins.
    """
    one = platform
    return f"""
        CASE WHEN {one}.os <> '' AND {one}.architecture <> ''
             THEN concat_ws('/', {one}.os, {one}.architecture,
                            nullif({one}.variant, ''))
             ELSE '' END"""


def keep_last_lines(table: str, key: str) -> str:
    """A statement that leaves one row of each `key`: the latest, the later of equals.

    The table needs a column `audited_at` and its rows in the order of their lines.
    """
    # Counting spills to disk; what `max_by` holds does not, so it sees few rows.
    return f"""
        DELETE FROM {table} USING (
            SELECT {key}, max_by(rowid, row(audited_at, rowid)) AS kept
            FROM {table} SEMI JOIN (
                SELECT {key} FROM {table} GROUP BY {key} HAVING count(*) > 1) AS again
                USING ({key})
            GROUP BY {key}) AS twice
        WHERE {table}.{key} = twice.{key}
              AND {table}.rowid <> twice.kept"""  # noqa: S608
