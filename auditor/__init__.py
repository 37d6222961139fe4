"""Audit the images of container registries.

    async for record in auditor.audit_references(["registry.example.com/team/app:1.*"]):
        print(record.reference, record.kind)

The names in `__all__` are the public interface. They are imported on first use, so that
`import auditor` is quick.
"""

from __future__ import annotations

import importlib

from auditor.version import __version__

# Not imported from `typing`, which would double the time before the command installs
# its signal handlers; until then an interrupt prints a traceback.
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

_MODULES = {
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
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'auditor' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value
