"""The configuration of a run: a table of options, and what is resolved from it."""

from __future__ import annotations

from auditor.config.options import (
    OPTIONS,
    Group,
    Option,
    Where,
    decisive,
    decisive_of_shares,
    options_of,
)
from auditor.config.resolve import resolve
from auditor.config.settings import (
    AttachmentMode,
    Engine,
    ImageConfigMode,
    ListerName,
    LogFormat,
    LogLevel,
    Progress,
    RateLimitPolicy,
    RegistrySettings,
    Settings,
)
from auditor.config.toml_file import load, read_toml

__all__ = [
    "OPTIONS",
    "AttachmentMode",
    "Engine",
    "Group",
    "ImageConfigMode",
    "ListerName",
    "LogFormat",
    "LogLevel",
    "Option",
    "Progress",
    "RateLimitPolicy",
    "RegistrySettings",
    "Settings",
    "Where",
    "decisive",
    "decisive_of_shares",
    "load",
    "options_of",
    "read_toml",
    "resolve",
]
