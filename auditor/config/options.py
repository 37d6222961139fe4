"""The table of options: one row for each, read by the resolver and the command line."""

from __future__ import annotations

from auditor.config.option import Group, Option, Where
from auditor.config.table.credentials import CREDENTIALS
from auditor.config.table.image import IMAGE
from auditor.config.table.input import INPUT
from auditor.config.table.network import NETWORK
from auditor.config.table.report import REPORT
from auditor.config.table.run import RUN
from auditor.config.table.scale import SCALE
from auditor.config.table.selection import SELECTION
from auditor.config.table.store import STORE
from auditor.config.table.tokens import TOKENS

OPTIONS: tuple[Option, ...] = (
    *INPUT,
    *SELECTION,
    *IMAGE,
    *REPORT,
    *RUN,
    *SCALE,
    *STORE,
    *CREDENTIALS,
    *TOKENS,
    *NETWORK,
)

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}


def options_of(*groups: Group) -> tuple[Option, ...]:
    """The options of these groups that a command line can give, in table order."""
    return tuple(
        option
        for option in OPTIONS
        if option.group in groups and option.where is not Where.REGISTRY
    )
