"""A run that is shared out: over shares, processes and machines."""

from __future__ import annotations

from auditor.config.option import Group, Option, Where
from auditor.config.settings import Engine
from auditor.config.values import choice
from auditor.config.values.numbers import whole
from auditor.config.values.texts import SHARD, TEXT

SCALE: tuple[Option, ...] = (
    Option(
        name="shard",
        value=SHARD,
        help="Audit one share of the repositories; auto: JOB_COMPLETION_INDEX says it.",
        where=Where.TOP,
        group=Group.SCALE,
        flags=("--shard",),
    ),
    Option(
        name="runs_at_once",
        # As many as there are shares.
        value=whole(1, 10_000),
        help="So many runs ask at the same time: keep to a part of the limits.",
        where=Where.TOP,
        group=Group.SCALE,
        flags=("--runs-at-once",),
    ),
    Option(
        name="processes",
        # More cores than one machine has that is used for this.
        value=whole(1, 64),
        help="Audit with so many processes of this machine, a share each.",
        where=Where.TOP,
        group=Group.SCALE,
        flags=("--processes",),
    ),
    Option(
        name="engine",
        value=choice(Engine),
        help="Where the shares are audited: on this machine or on a Dask cluster.",
        where=Where.TOP,
        group=Group.SCALE,
        flags=("--engine",),
    ),
    Option(
        name="scheduler",
        value=TEXT,
        help="The address of the Dask scheduler, such as tcp://dask.example.com:8786.",
        where=Where.TOP,
        group=Group.SCALE,
        flags=("--scheduler",),
    ),
    Option(
        name="parts",
        value=TEXT,
        help="Where shares leave their reports: a folder, or a URL such as"
        " s3://bucket/parts (any that fsspec reads); default: OUTPUT.parts.",
        where=Where.TOP,
        group=Group.SCALE,
        flags=("--parts",),
    ),
)
