"""The settings that reports must have in common to be one: resumed runs and shards."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import TYPE_CHECKING, Any

from auditor.config.option import OptionGroup
from auditor.config.option_table import OPTIONS
from auditor.config.settings import Settings
from auditor.util.shard import Shard

if TYPE_CHECKING:
    from auditor.config.signature_policy import SignaturePolicy

# Options outside the group IMAGE that change the content of records.
_RECORD_OPTIONS = frozenset({"shape", "image_config", "sources", "shard"})


def record_settings(
    settings: Settings, signatures: SignaturePolicy | None = None
) -> dict[str, Any]:
    """The settings that determine the content of records, by option name, as JSON.

    A report can only be resumed with the settings that it was begun with. `signatures`
    is the signature policy; if it is not given, it is read. Raises `ConfigError` if it
    cannot be used.
    """
    values = _settings_json(settings, OptionGroup.IMAGE, _RECORD_OPTIONS)
    policy = signatures or signature_policy_of(settings)
    if policy is not None:
        # What it says, not where it is.
        values["verify_signatures"] = policy.fingerprint
    return values


def sharded_run_settings(
    settings: Settings, signatures: SignaturePolicy | None = None
) -> dict[str, Any]:
    """The settings that all shards of one audit must have in common, as JSON.

    Besides `record_settings`: the selection of tags and the order, but not the shard.
    """
    selection = _settings_json(settings, OptionGroup.SELECTION, {"order"})
    return {**record_settings(settings, signatures), **selection, "shard": None}


def signature_policy_of(settings: Settings) -> SignaturePolicy | None:
    """Read the signature policy; None without one. Raises `ConfigError`."""
    if settings.verify_signatures is None:
        return None
    # Few runs verify signatures.
    from auditor.config.signature_policy import load_signature_policy  # noqa: PLC0415

    return load_signature_policy(settings.verify_signatures)


def _settings_json(
    settings: Settings, group: OptionGroup, others: Collection[str]
) -> dict[str, Any]:
    return {
        option.name: _as_json(getattr(settings, option.field))
        for option in OPTIONS
        if option.group is group or option.name in others
    }


def _as_json(value: object) -> object:
    if isinstance(value, tuple):
        return list(map(_as_json, value))
    if isinstance(value, Shard):
        return str(value)
    return value.value if isinstance(value, Enum) else value
