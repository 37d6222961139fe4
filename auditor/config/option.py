"""What an option is: its names, its type, where it can be set, and its subject.

One name serves the configuration file, the environment and the command line:
`plain_http`, `AUDITOR_PLAIN_HTTP`, `--plain-http`. The default is that of the field in
`Settings` or `RegistrySettings`. The options are in option_table.py.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from enum import Enum, StrEnum

from auditor.config.settings import RegistrySettings, Settings
from auditor.config.value_types import ValueType
from auditor.fast_dataclass import dataclass

ENVIRONMENT_PREFIX = "AUDITOR_"


class OptionScope(Enum):
    """The scope of an option, which decides where it can be set."""

    COMMAND_LINE = "flag and variable; not in a file"
    RUN = "flag, variable and the top of a file"
    RUN_AND_REGISTRY = "the same, and the section of a registry, which it is set for"
    REGISTRY = "the section of a registry only; neither flag nor variable"


class OptionGroup(StrEnum):
    """The subject of an option: a command takes whole groups. Also a help heading."""

    INPUT = "Input"
    SELECTION = "Selection"
    IMAGE = "Image"
    REPORT = "Report"
    RUN = "Run"
    SCALE = "Scale"
    CACHE = "Cache"
    CREDENTIALS = "Credentials"
    NETWORK = "Network"


_DEFAULTS = {
    field.name: None if field.default is MISSING else field.default
    for cls in (RegistrySettings, Settings)
    for field in fields(cls)
}


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    A list option has a singular name, because its flag is repeated: `plural` is the
    name of its field. A `negatable` switch has the flag `--no-NAME`, too. A
    `positional` option has arguments instead of a flag. An option that `is_expert` is
    at the end of the help. The table sets `name`, `group`, `scope` and `is_expert`.
    """

    value: ValueType
    help: str
    name: str = ""
    group: OptionGroup = OptionGroup.INPUT
    scope: OptionScope = OptionScope.RUN
    short_flag: str | None = None
    plural: str | None = None
    negatable: bool = False
    is_expert: bool = False
    positional: bool = False

    @property
    def field(self) -> str:
        """The field in `Settings` or `RegistrySettings`."""
        return self.plural or self.name + self.value.field_suffix

    @property
    def default(self) -> object:
        """The value if the option is not set."""
        return _DEFAULTS.get(self.field)

    @property
    def variable(self) -> str | None:
        """The environment variable; None for an option of a registry's section."""
        if self.scope is OptionScope.REGISTRY:
            return None
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """The long flag; for arguments and keys of a section, the name in messages."""
        if self.positional:
            return self.value.metavar
        return "--" + self.name.replace("_", "-")

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags as click declares them: `("-f", "--list")`, `("--yes/--no-yes",)`.

        Empty for arguments and for an option of a registry's section.
        """
        if self.positional or self.scope is OptionScope.REGISTRY:
            return ()
        long = f"{self.flag}/--no-{self.flag[2:]}" if self.negatable else self.flag
        return (long,) if self.short_flag is None else (self.short_flag, long)
