"""Kinds of values in a policy: each reads what TOML holds into what SQL compares."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from auditor.analysis.check.policy import Severity, WhenUnknown
from auditor.config.values import ValueType, member_of
from auditor.errors import FailureKind
from auditor.model import WarningCode
from auditor.oci.media_types import SCHEMA1, SIGNED_SCHEMA1

# SI prefixes are powers of 1000, IEC prefixes (IEC 80000-13) of 1024.
_BYTES = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("kMGT", 1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", 1)},
}
_UNITS = {unit.lower(): size for unit, size in _BYTES.items()}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)")
_DAY_S = 24 * 60 * 60
_SPANS_S = {"hour": _DAY_S // 24, "day": _DAY_S, "week": 7 * _DAY_S}
_AGE = re.compile(r"([0-9]+) (hour|day|week)s?")
# image-index.md, "platform": os/architecture[/variant], as GOOS and GOARCH are spelt.
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9.]+)?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
# What DuckDB's GLOB and Python's fnmatch read alike; an open bracket matches nothing.
_PATTERN = re.compile(r"(?:[^][\\]|\[!?[^][\\!]+\])+")
_MEDIA_TYPES = {"schema1": (SCHEMA1, SIGNED_SCHEMA1)}
ATTACHMENTS = ("signature", "sbom", "provenance", "attestation")


def _value(expected: str, from_toml: Callable[[Any], object]) -> ValueType:
    return ValueType(
        metavar="", expected=expected, from_toml=from_toml, from_text=from_toml
    )


def _text(value: object, form: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError
    if not form.fullmatch(value):
        raise ValueError
    return value


def _texts(expected: str, form: re.Pattern[str]) -> ValueType:
    def from_toml(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not value:
            raise ValueError
        return tuple(dict.fromkeys(_text(one, form) for one in value))

    return _value(f"a list of {expected}", from_toml)


def _size(value: object) -> int:
    if type(value) is int and value > 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError
    return int(float(match[1]) * _UNITS[match[2].lower()])


def _age_s(value: object) -> int:
    match = _AGE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError
    return int(match[1]) * _SPANS_S[match[2]]


def _date(value: object) -> date:
    # a datetime is a date to Python, but not to who reads "the last day"
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError


def _reason(value: object) -> str:
    return _text(value, _REASON)


def _count(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError
    return value


def _true(value: object) -> bool:
    # False would read as if another section's rule were lifted here.
    if value is not True:
        raise ValueError
    return True


def _media_types(value: object) -> tuple[str, ...]:
    names: Any = PATTERNS.from_toml(value)
    return tuple(each for name in names for each in _MEDIA_TYPES.get(name, (name,)))


def _annotations(value: object) -> tuple[dict[str, str], ...]:
    # GLOB "?*": there, and not empty
    if isinstance(value, list) and value:
        return tuple({"name": _text(one, _NAME), "pattern": "?*"} for one in value)
    if isinstance(value, dict) and value:
        return tuple(
            {"name": _text(name, _NAME), "pattern": _text(pattern, _PATTERN)}
            for name, pattern in value.items()
        )
    raise ValueError


def _any_or(kinds: type[StrEnum]) -> Callable[[object], tuple[str, ...]]:
    def from_toml(value: object) -> tuple[str, ...]:
        if value is True:
            return (ANY,)  # also a kind that only a later version knows
        if not isinstance(value, list) or not value:
            raise ValueError
        return tuple(kinds(kind) for kind in value)

    return from_toml


ANY = "*"
_NAME = re.compile(r"\S+")
_REASON = re.compile(r".*\S.*")
SEVERITY = member_of(Severity)
UNKNOWN = member_of(WhenUnknown)
DATE = _value("a date such as 2027-01-31, without quotes,", _date)
REASON = _value("a sentence on one line", _reason)
PATTERNS = _texts("names or patterns (*, ?, [a-z])", _PATTERN)
PLATFORMS = _texts("platforms such as linux/arm64", _PLATFORM)
DIGESTS = _texts("digests (sha256:...)", _DIGEST)
ATTACHED = _texts(f"{', '.join(ATTACHMENTS)}", re.compile("|".join(ATTACHMENTS)))
ACTIONS = _texts("actions such as pull", re.compile(r"[a-z]+|\*"))
MEDIA_TYPES = _value(PATTERNS.expected + " of media types, or schema1", _media_types)
ANNOTATIONS = _value("a list of names, or a table of names and patterns", _annotations)
FAILURES = _value("true, or a list of kinds of failures", _any_or(FailureKind))
WARNINGS = _value("true, or a list of codes of warnings", _any_or(WarningCode))
SIZE = _value('a size such as "500 MB" or "2 GiB"', _size)
AGE = _value('an age such as "36 hours", "90 days" or "26 weeks"', _age_s)
COUNT = _value("a whole number from 1", _count)
TRUE = _value("true (leave the line out otherwise)", _true)
