"""One option: a row of the table.

A row knows its key in a configuration file (`name`), its environment variable, its
flags, the kind of its value and the sentence that explains it. Its default is that
of the field of the same name in `Settings` or `RegistrySettings`.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from enum import Enum, StrEnum

from auditor.config.settings import RegistrySettings, Settings
from auditor.config.values import Value
from auditor.fast_dataclass import dataclass

ENVIRONMENT_PREFIX = "AUDITOR_"


class Where(Enum):
    """Where in a configuration file an option may stand."""

    NOWHERE = "nowhere"
    TOP = "top"
    TOP_AND_REGISTRY = "top and registry"  # at the top: for every registry
    REGISTRY = "registry"  # said of one registry only, so neither flag nor variable


class Group(StrEnum):
    """What an option is about: a command takes whole groups. Also a help heading."""

    INPUT = "Input"
    SELECTION = "Selection"
    IMAGE = "Image"
    REPORT = "Report"
    RUN = "Run"
    STORE = "Store"
    SCALE = "Scale"
    CREDENTIALS = "Credentials"
    NETWORK = "Network"


_DEFAULTS = {
    field.name: None if field.default is MISSING else field.default
    for cls in (RegistrySettings, Settings)
    for field in fields(cls)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option. `flags` are spelled as click declares them: "--yes/--no"."""

    name: str
    value: Value
    help: str
    where: Where
    group: Group
    flags: tuple[str, ...] = ()
    positional: bool = False

    @property
    def default(self) -> object:
        """The value where nobody gives one."""
        return _DEFAULTS.get(self.name)

    @property
    def variable(self) -> str | None:
        """The environment variable; null for what is said of one registry only."""
        if self.where is Where.REGISTRY:
            return None
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """The long flag, as messages name it."""
        if self.positional:
            return self.value.metavar
        return self.flags[-1].partition("/")[0]

    @property
    def metavar(self) -> str:
        """The word that stands for the value in a help text."""
        return self.value.metavar

    @property
    def choices(self) -> tuple[str, ...]:
        """The words to choose from; none where it is no choice."""
        return self.value.choices

    @property
    def is_switch(self) -> bool:
        """Whether its flag takes no value."""
        return self.value.is_switch

    @property
    def multiple(self) -> bool:
        """Whether its flag may stand several times."""
        return self.value.multiple
