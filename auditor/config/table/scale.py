"""A run that is shared out: over shares, processes and machines."""

from __future__ import annotations

from auditor.config.option import Group, Option, Where
from auditor.config.values import SHARD

SCALE: tuple[Option, ...] = (
    Option(
        name="shard",
        value=SHARD,
        help="Audit one share of the repositories; auto: JOB_COMPLETION_INDEX says it.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--shard",),
    ),
)
