"""What is audited."""

from __future__ import annotations

from auditor.config.option import Group, Option, Where
from auditor.config.values import several
from auditor.config.values.texts import PATH, REFERENCE

INPUT: tuple[Option, ...] = (
    Option(
        name="references",
        value=several(REFERENCE),
        help="References and patterns to audit.",
        where=Where.TOP,
        group=Group.INPUT,
        positional=True,
    ),
    Option(
        name="lists",
        value=several(PATH),
        help="A list: text, JSON lines, CSV, what kubectl prints as JSON or YAML,"
        " skopeo's sync YAML, a compose file or a Dockerfile; - is standard input.",
        where=Where.TOP,
        group=Group.INPUT,
        flags=("-f", "--list"),
    ),
    Option(
        name="config",
        value=PATH,
        help="A TOML file with settings; flags and AUDITOR_... variables override it.",
        where=Where.NOWHERE,
        group=Group.CREDENTIALS,
        flags=("-c", "--config"),
    ),
)
