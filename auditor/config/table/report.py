"""The report: what its lines say and where they go."""

from __future__ import annotations

from auditor.config.option import Group, Option, Where
from auditor.config.settings import ImageConfigMode, Order, Shape
from auditor.config.values import choice
from auditor.config.values.texts import PATH

REPORT: tuple[Option, ...] = (
    Option(
        name="output",
        value=PATH,
        help="Where the report goes; - is standard output.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("-o", "--output"),
    ),
    Option(
        name="summary",
        value=PATH,
        help="Write the summary as JSON to this file, too.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--summary",),
    ),
    Option(
        name="metrics",
        value=PATH,
        help="Write the run's metrics to this Prometheus textfile, too.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--metrics",),
    ),
    Option(
        name="shape",
        value=choice(Shape),
        help="What a line of the report is: an image, a platform or a layer.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--shape",),
    ),
    Option(
        name="image_config",
        value=choice(ImageConfigMode),
        help="When to fetch image configs; auto: if the platform is not known without.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--image-config",),
    ),
    Option(
        name="order",
        value=choice(Order),
        help="The order of the report's lines.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--order",),
    ),
)
