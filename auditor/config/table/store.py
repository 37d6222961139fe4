"""What is remembered from one run to the next."""

from __future__ import annotations

from auditor.config.option import Group, Option, Where
from auditor.config.values import several, switch
from auditor.config.values.numbers import size, span
from auditor.config.values.texts import PATH, TEXT

STORE: tuple[Option, ...] = (
    Option(
        name="store",
        value=PATH,
        help="The digest store's file, instead of the one in the cache directory.",
        where=Where.TOP,
        group=Group.STORE,
        flags=("--store",),
    ),
    Option(
        name="no_store",
        value=switch(),
        help="Remember nothing of other runs, and nothing for them.",
        where=Where.TOP,
        group=Group.STORE,
        flags=("--no-store",),
    ),
    Option(
        name="store_max_size",
        # Below a megabyte SQLite's own pages are most of it; no disk is larger.
        value=size(1024**2, 1024**5),
        help="How large the store may grow, in bytes or as in 500M or 2G.",
        where=Where.TOP,
        group=Group.STORE,
        flags=("--store-max-size",),
    ),
    Option(
        name="store_recheck_s",
        # Ten years: never, in effect.
        value=span(0, 10 * 365 * 24 * 3600),
        help="How long parts of images are taken to be still there, unasked.",
        where=Where.TOP,
        group=Group.STORE,
        flags=("--store-recheck",),
    ),
    Option(
        name="immutable_tags",
        value=several(TEXT),
        help="Tags (name or pattern) that never move: asked for once, ever.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.STORE,
        flags=("--immutable-tag",),
    ),
)
