"""The table of options: one row for each, read by the resolver and the command line."""

from __future__ import annotations

from enum import Enum
from typing import Any

from auditor.config.option import Group, Option, Where
from auditor.config.settings import Settings
from auditor.config.table.credentials import CREDENTIALS
from auditor.config.table.image import IMAGE
from auditor.config.table.input import INPUT
from auditor.config.table.listing import LISTING
from auditor.config.table.network import NETWORK
from auditor.config.table.report import REPORT
from auditor.config.table.run import RUN
from auditor.config.table.scale import SCALE
from auditor.config.table.selection import SELECTION
from auditor.config.table.store import STORE
from auditor.config.table.tokens import TOKENS
from auditor.util.shard import Shard

# What changes records beside everything that is said about an image.
_DECISIVE = frozenset({"shape", "image_config", "shard"})

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
    *LISTING,
)

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}


def decisive(settings: Settings) -> dict[str, Any]:
    """The settings that decide what a record says, by name, as JSON has them.

    A report is made with one choice of these: two halves of different ones are none.
    """
    return {
        option.name: _plain(getattr(settings, option.name))
        for option in OPTIONS
        if option.group is Group.IMAGE or option.name in _DECISIVE
    }


def decisive_of_shares(settings: Settings) -> dict[str, Any]:
    """The same where several runs share one audit: they must agree in what is selected
    and in its order, too, and differ in their share."""
    selected = {
        option.name: _plain(getattr(settings, option.name))
        for option in OPTIONS
        if option.group is Group.SELECTION or option.name == "order"
    }
    return {**decisive(settings), **selected, "shard": None}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(map(_plain, value))
    if isinstance(value, Shard):
        return str(value)
    return value.value if isinstance(value, Enum) else value


def options_of(*groups: Group) -> tuple[Option, ...]:
    """The options of these groups that a command line can give, in table order."""
    return tuple(
        option
        for option in OPTIONS
        if option.group in groups and option.where is not Where.REGISTRY
    )
