"""Audit what container registries hold.

    async for record in auditor.audit(["registry.example.com/team/app:1.*"]):
        print(record.reference, record.kind)

The names below are the public interface; they are imported when they are first used,
so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from auditor.version import __version__

if TYPE_CHECKING:
    from auditor.api import audit
    from auditor.config import RegistrySettings, Settings
    from auditor.errors import AuditorError, FailureKind
    from auditor.records import FailureRecord, ImageRecord, Record
    from auditor.secret import Secret

__all__ = [
    "AuditorError",
    "FailureKind",
    "FailureRecord",
    "ImageRecord",
    "Record",
    "RegistrySettings",
    "Secret",
    "Settings",
    "__version__",
    "audit",
]

_HOMES = {
    "AuditorError": "auditor.errors",
    "FailureKind": "auditor.errors",
    "FailureRecord": "auditor.records",
    "ImageRecord": "auditor.records",
    "Record": "auditor.records",
    "RegistrySettings": "auditor.config",
    "Secret": "auditor.secret",
    "Settings": "auditor.config",
    "audit": "auditor.api",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'auditor' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
