"""Configuration: from a file, the environment and flags to the settings of a run.

`OPTIONS` (option_table.py) describes each `Option` (option.py) once: name, type, help,
group, and where it may be set. `Settings` and `RegistrySettings` (settings.py) hold the
values and all defaults; a flag, a key and a variable have the name of their option.

`load_settings` (resolve_settings.py) reads the configuration file (toml_file.py), then
each source into values by option name (option_sources.py), merges them in the order of
precedence, reads logins from the sources that the file names, checks for conflicts
between options (option_conflicts.py) and makes the settings. Errors of all steps are
collected and raised as one `ConfigError` (validation_errors.py).

The files that a run writes may have placeholders in their names (file_names.py);
`with_file_names` replaces them, once for each run.

`auditor.cli.command_support` makes the command line from the same table.
"""

from __future__ import annotations

from auditor.config.option import Option, OptionGroup
from auditor.config.option_conflicts import with_file_names
from auditor.config.option_table import OPTIONS, options_of
from auditor.config.record_settings import (
    record_settings,
    sharded_run_settings,
    signature_policy_of,
)
from auditor.config.resolve_settings import (
    load_settings,
    load_valid_nightly,
    resolve_settings,
)
from auditor.config.settings import (
    AttachmentMode,
    CloudLogin,
    EngineName,
    FailOn,
    ImageConfigMode,
    KeepRules,
    ListerName,
    LogFormat,
    LogLevel,
    NightlySettings,
    NotifyOn,
    NotifySettings,
    ProgressMode,
    RateLimitPolicy,
    RegistrySettings,
    ReportFormat,
    Settings,
    SourceMode,
)
from auditor.config.toml_file import read_toml

__all__ = [
    "OPTIONS",
    "AttachmentMode",
    "CloudLogin",
    "EngineName",
    "FailOn",
    "ImageConfigMode",
    "KeepRules",
    "ListerName",
    "LogFormat",
    "LogLevel",
    "NightlySettings",
    "NotifyOn",
    "NotifySettings",
    "Option",
    "OptionGroup",
    "ProgressMode",
    "RateLimitPolicy",
    "RegistrySettings",
    "ReportFormat",
    "Settings",
    "SourceMode",
    "load_settings",
    "load_valid_nightly",
    "options_of",
    "read_toml",
    "record_settings",
    "resolve_settings",
    "sharded_run_settings",
    "signature_policy_of",
    "with_file_names",
]
