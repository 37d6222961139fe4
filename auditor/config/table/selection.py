"""Which of what the registries list is audited."""

from __future__ import annotations

from auditor.config.option import Group, Option, Where
from auditor.config.values import several, switch
from auditor.config.values.numbers import whole
from auditor.config.values.texts import REPOSITORY_PATTERN, SINCE, TAG_PATTERN

SELECTION: tuple[Option, ...] = (
    Option(
        name="include",
        value=several(TAG_PATTERN),
        help="Of listed tags, only those that match this pattern.",
        where=Where.TOP,
        group=Group.SELECTION,
        flags=("--include",),
    ),
    Option(
        name="exclude",
        value=several(TAG_PATTERN),
        help="Of listed tags, none that match this pattern.",
        where=Where.TOP,
        group=Group.SELECTION,
        flags=("--exclude",),
    ),
    Option(
        name="exclude_repositories",
        value=several(REPOSITORY_PATTERN),
        help="Of catalogued repositories, none that match this pattern: team/old/**.",
        where=Where.TOP,
        group=Group.SELECTION,
        flags=("--exclude-repository",),
    ),
    Option(
        name="omit_digest_tags",
        value=switch(),
        help="Leave out listed tags like sha256-<hex>.sig, which say of which digest.",
        where=Where.TOP,
        group=Group.SELECTION,
        flags=("--omit-digest-tags",),
    ),
    Option(
        name="latest",
        # They are held until a list is at its end: some megabytes at once.
        value=whole(1, 10_000),
        help="Of each list of tags, only so many: the newest versions.",
        where=Where.TOP,
        group=Group.SELECTION,
        flags=("--latest",),
    ),
    Option(
        name="since",
        value=SINCE,
        help="Of listed tags, only images made since: 30d, 12h, 2026-01-31.",
        where=Where.TOP,
        group=Group.SELECTION,
        flags=("--since",),
    ),
)
