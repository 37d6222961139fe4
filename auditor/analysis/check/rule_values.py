"""Types of values in a policy: each converts a TOML value into a query parameter."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from auditor.analysis.check.policy import Severity, WhenUnknown
from auditor.analysis.package_uses import PackageCondition, is_package_name
from auditor.analysis.package_versions import VersionRange
from auditor.config.validation_errors import unknown
from auditor.config.value_types import (
    SentenceError,
    ValueType,
    checked_platform,
    member_of,
    require,
)
from auditor.errors import FailureKind
from auditor.model import WarningCode
from auditor.oci.descriptor import SCHEMA1, SIGNED_SCHEMA1
from auditor.oci.platform import accepted_platforms, parse_platform
from auditor.oci.reference_grammar import ANY_DIGEST
from auditor.util.text import safe_text

# In `FAILURES` and `WARNINGS`: every kind, also one that a later version adds.
ANY = "*"
# The largest number of JSON (RFC 8259 section 6); DuckDB's integers end, too.
_MAX_NUMBER = 2**53 - 1

# SI prefixes are powers of 1000, IEC prefixes (IEC 80000-13) of 1024; so are prefixes
# alone (1G), as in the options of an audit.
_BYTES = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("kMGT", 1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", 1)},
    **{prefix: 1024**power for power, prefix in enumerate("KMGT", 1)},
}
_UNIT_BYTES = {unit.lower(): size for unit, size in _BYTES.items()}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)")
_DAY_S = 24 * 60 * 60
_UNIT_S = {"h": _DAY_S // 24, "d": _DAY_S, "w": 7 * _DAY_S}
_AGE = re.compile(r"([0-9]+) ?(hours?|days?|weeks?|[hdw])")
# image-index.md, "platform": os/architecture[/variant], values of GOOS and GOARCH.
_PLATFORM = re.compile(r"[A-Za-z0-9]+/[A-Za-z0-9_-]+(?:/[A-Za-z0-9.]+)?")
_DIGEST = re.compile(ANY_DIGEST)
# The patterns that DuckDB's GLOB and Python's fnmatch read alike; an unclosed bracket
# would match nothing.
_PATTERN = re.compile(r"(?:[^][\\]|\[!?[^][\\!]+\])+")
_NAME = re.compile(r"\S+")
_REASON = re.compile(r".*\S.*")
_MEDIA_TYPES = {"schema1": (SCHEMA1, SIGNED_SCHEMA1)}
_PACKAGE_KEYS = ("name", "version", "type")
ATTACHMENTS = ("signature", "sbom", "provenance", "attestation")


def _type(expected: str, read: Callable[[Any], object]) -> ValueType:
    return ValueType(metavar="", expected=expected, from_toml=read)


def _matching(value: object, form: re.Pattern[str]) -> str:
    if isinstance(value, str) and value.isprintable() and form.fullmatch(value):
        return value
    raise ValueError


def _items(value: object) -> list[Any]:
    if isinstance(value, list) and value:
        return value
    raise ValueError


def _list_of(expected: str, form: re.Pattern[str]) -> ValueType:
    def read(value: object) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_matching(item, form) for item in _items(value)))

    return _type(f"a list of {expected}", read)


def _size(value: object) -> int:
    if type(value) is int:
        return _count(value)
    number, unit = _groups(_SIZE, value)
    require(unit.lower() in _UNIT_BYTES)
    size = float(number) * _UNIT_BYTES[unit.lower()]
    require(size <= _MAX_NUMBER)
    return int(size)


def _age_s(value: object) -> int:
    number, unit = _groups(_AGE, value)
    age_s = int(number) * _UNIT_S[unit[0]]
    require(age_s <= _MAX_NUMBER)
    return age_s


def _groups(form: re.Pattern[str], value: object) -> tuple[str, ...]:
    match = form.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError
    return match.groups()


def _date(value: object) -> date:
    # A datetime is a date in Python, but has no meaning for "the last day".
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError


def _count(value: object) -> int:
    if type(value) is int and 1 <= value <= _MAX_NUMBER:
        return value
    raise ValueError


def _true(value: object) -> bool:
    # false would look as if it lifted the rule of another section.
    require(value is True)
    return True


def _grace_days(value: object) -> int:
    # Support ends with a day.
    return 0 if value is True else -(-_age_s(value) // _DAY_S)


def _platforms(value: object) -> tuple[dict[str, object], ...]:
    names: Any = tuple(map(checked_platform, _PLATFORM_LIST.from_toml(value)))  # type: ignore[call-overload]
    platforms = dict.fromkeys(map(accepted_platforms, map(parse_platform, names)))
    return tuple({"name": texts[0], "accepted": list(texts)} for texts in platforms)


def _media_types(value: object) -> tuple[str, ...]:
    names: Any = PATTERNS.from_toml(value)
    return tuple(each for name in names for each in _MEDIA_TYPES.get(name, (name,)))


def _annotations(value: object) -> tuple[dict[str, str], ...]:
    # The pattern "?*" matches every value but the empty one.
    if isinstance(value, dict) and value:
        return tuple(
            {"name": _matching(key, _NAME), "pattern": _matching(pattern, _PATTERN)}
            for key, pattern in value.items()
        )
    names = _items(value)
    return tuple({"name": _matching(key, _NAME), "pattern": "?*"} for key in names)


def _packages(value: object) -> tuple[PackageCondition, ...]:
    return tuple(dict.fromkeys(map(_package, _items(value))))


def _package(item: object) -> PackageCondition:
    if isinstance(item, str):
        if " " not in item:
            return PackageCondition(name=_package_name(item))
        name, _, version = item.partition(" ")
        raise SentenceError(
            f"{safe_text(item, 60)}: a name has no spaces; write"
            f' {{ name = "{safe_text(name, 60)}",'
            f' version = "{safe_text(version, 60)}" }}'
        )
    if not isinstance(item, dict) or "name" not in item:
        raise ValueError
    for key in item:
        if key not in _PACKAGE_KEYS:
            raise SentenceError(unknown("key", key, _PACKAGE_KEYS))
    versions = None
    if "version" in item:
        try:
            versions = VersionRange.parse(_matching(item["version"], _REASON))
        except ValueError as error:
            text = str(error) or 'must be a text such as "<3.0.8"'
            raise SentenceError(f"version: {text}") from None
    return PackageCondition(
        name=_package_name(item["name"]),
        types=(_matching(item["type"], _NAME),) if "type" in item else (),
        versions=versions,
    )


def _package_name(value: object) -> str:
    if isinstance(value, str) and is_package_name(value):
        return value
    raise ValueError


def _true_or(kinds: type[StrEnum]) -> Callable[[object], tuple[str, ...]]:
    def read(value: object) -> tuple[str, ...]:
        return (ANY,) if value is True else tuple(map(kinds, _items(value)))

    return read


_PLATFORM_LIST = _list_of("platforms such as linux/arm64", _PLATFORM)

SEVERITY = member_of(Severity)
UNKNOWN = member_of(WhenUnknown)
DATE = _type("a date such as 2027-01-31, without quotes", _date)
REASON = _type("a sentence on one line", lambda value: _matching(value, _REASON))
PATTERN = _type("a pattern (*, ?, [a-z])", lambda value: _matching(value, _PATTERN))
PATTERNS = _list_of("names or patterns (*, ?, [a-z])", _PATTERN)
PLATFORMS = _type(_PLATFORM_LIST.expected, _platforms)
PACKAGES = _type(
    'a list of names, or of tables such as { name = "openssl", version = "<3.0.8" }',
    _packages,
)
DIGESTS = _list_of("digests (sha256:...)", _DIGEST)
ATTACHED = _list_of(f"{', '.join(ATTACHMENTS)}", re.compile("|".join(ATTACHMENTS)))
KEYS = _list_of("names of keys of a signature policy", re.compile(r"[A-Za-z0-9_.-]+"))
ACTIONS = _list_of("actions such as pull", re.compile(r"[a-z]+|\*"))
MEDIA_TYPES = _type(f"{PATTERNS.expected} of media types, or schema1", _media_types)
ANNOTATIONS = _type("a list of names, or a table of names and patterns", _annotations)
FAILURES = _type("true, or a list of kinds of failures", _true_or(FailureKind))
WARNINGS = _type("true, or a list of warning codes", _true_or(WarningCode))
SIZE = _type('a size such as "500 MB" or "2 GiB"', _size)
AGE = _type('an age such as "36 hours", "90 days" or "26 weeks"', _age_s)
GRACE = _type('true, or a grace period such as "30 days"', _grace_days)
COUNT = _type("a whole number from 1", _count)
TRUE = _type("true (to disable the rule, remove the line)", _true)
