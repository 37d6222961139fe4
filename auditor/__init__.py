"""Audit what container registries hold.

    async for record in auditor.audit_references(["registry.example.com/team/app:1.*"]):
        print(record.reference, record.kind)

The names below are the public interface; they are imported when they are first used,
so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib

from auditor.version import __version__

# Of `typing`, which is half of what comes before the first statement of a command:
# until then a signal meets Python's own traceback.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from auditor.api import audit_references
    from auditor.config import RegistrySettings, Settings
    from auditor.errors import AuditorError, FailureKind
    from auditor.model import FailureRecord, ImageRecord, Record
    from auditor.util.secret import Secret

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
    "audit_references",
]

_HOMES = {
    "AuditorError": "auditor.errors",
    "FailureKind": "auditor.errors",
    "FailureRecord": "auditor.model",
    "ImageRecord": "auditor.model",
    "Record": "auditor.model",
    "RegistrySettings": "auditor.config",
    "Secret": "auditor.util.secret",
    "Settings": "auditor.config",
    "audit_references": "auditor.api",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'auditor' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
