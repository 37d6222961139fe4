"""How a run goes about its work."""

from __future__ import annotations

from auditor.config.option import Group, Option, Where
from auditor.config.settings import LogFormat, LogLevel, Progress
from auditor.config.values import choice, switch
from auditor.config.values.numbers import span, whole

RUN: tuple[Option, ...] = (
    Option(
        name="dry_run",
        value=switch(),
        help="Read the lists and print what would be audited; fetch nothing else.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--dry-run",),
    ),
    Option(
        name="workers",
        # More than a thousand tasks wait for the same few slots of each host.
        value=whole(1, 1024),
        help="How many references of one registry are worked on at once"
        " (default: twice --requests-at-once).",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--workers",),
    ),
    Option(
        name="window",
        # A record with hundreds of layers is some 100 KB: 65,536 are 6.5 GB at worst.
        value=whole(1, 65_536),
        help="How many finished records may wait for their turn in input order.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--window",),
    ),
    Option(
        name="resume",
        value=switch(),
        help="Go on with the unfinished report that an earlier run left beside -o.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--resume",),
    ),
    Option(
        name="deadline_s",
        # A month is longer than any interval at which somebody starts an audit.
        value=span(0.1, 31 * 86_400),
        help="How long the run may take; what was not reached then is a failure.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--deadline",),
    ),
    Option(
        name="reference_timeout_s",
        # A day: more than any registry answers to one reference's requests.
        value=span(0.1, 86_400),
        help="How long one reference may take, retries and waiting included.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--reference-timeout",),
    ),
    Option(
        name="progress",
        value=choice(Progress),
        help="When to show progress on standard error; auto: if that is a terminal.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--progress",),
    ),
    Option(
        name="log_level",
        value=choice(LogLevel),
        help="The least severe messages to log on standard error.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--log-level",),
    ),
    Option(
        name="log_format",
        value=choice(LogFormat),
        help="What a line on standard error is: text, or a JSON object.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--log-format",),
    ),
)
