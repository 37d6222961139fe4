"""Types of option values; each reads TOML values and texts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

from auditor.config.file_names import (
    FileNameError,
    check_file_name,
    check_report_name,
)
from auditor.config.requests_at_once import (
    MAX_REQUESTS_AT_ONCE,
    RequestsAtOnce,
    parse_requests_at_once,
)
from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci import reference_grammar as grammar
from auditor.oci.platform import likely_platform, parse_platform
from auditor.oci.reference import (
    ANY_DEPTH,
    is_repository,
    parse_namespace,
    parse_registry,
)
from auditor.util.lazy_regex import LazyPattern
from auditor.util.shard import MAX_SHARDS, parse_shard
from auditor.util.text import safe_text
from auditor.util.time_span import parse_since
from auditor.wire.credential import is_username
from auditor.wire.proxy import NO_PROXY, Proxy, parse_proxy
from auditor.wire.url_policy import check_url, origin_of

# Characters of a value in an error: enough to recognise it.
_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueType:
    """One type of value.

    `expected` completes the sentence "must be ..."; `each_expected` does so for one
    value of a list. `from_toml` converts a typed value of TOML or click for `Settings`,
    or raises `ValueError`; `from_text` first converts a text (environment variable,
    flag) into such a value. A path (`is_path`) is made absolute by the caller; one
    that `has_placeholders` is a name of file_names.py.
    `field_suffix` ends the name of the field in `Settings`: its unit. An invalid value
    is shown if it `is_shown`; others may be secrets.
    """

    metavar: str
    expected: str
    from_toml: Callable[[object], object]
    from_text: Callable[[str], object] = str
    choices: tuple[str, ...] = ()
    is_switch: bool = False
    is_path: bool = False
    has_placeholders: bool = False
    is_list: bool = False
    is_shown: bool = False
    each_expected: str | None = None
    field_suffix: str = ""

    def shown(self, value: object) -> str:
        """A value as text, with units: the default `7d` or `1G` in the help."""
        if self.metavar == "DURATION" and isinstance(value, float):
            return format_short_duration(value)
        if self.metavar == "SIZE" and isinstance(value, int):
            return format_short_size(value)
        return f"{value:g}" if isinstance(value, float) else str(value)

    def read(self, value: object, *, as_text: bool) -> object:
        """Read a value, or raise `ValueError` with a sentence about what it must be."""
        try:
            return self.from_toml(self.from_text(str(value)) if as_text else value)
        except (FileNameError, SentenceError):
            raise
        except ValueError:
            if self.is_shown:
                shown = safe_text(str(value), _SHOWN_CHARS)
                raise ValueError(f'expected {self.expected}, got "{shown}"') from None
            if self.each_expected is not None and isinstance(value, tuple):
                raise ValueError(f"each value must be {self.each_expected}") from None
            raise ValueError(f"must be {self.expected}") from None


class SentenceError(ValueError):
    """An invalid value, with the whole sentence about it."""


def require(condition: object) -> None:
    """Raise a `ValueError` without text if the condition is false."""
    if not condition:
        raise ValueError


# -- general types ---------------------------------------------------------------

_BOOLEANS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def _boolean(value: object) -> bool:
    require(isinstance(value, bool))
    return bool(value)


BOOLEAN = ValueType(
    metavar="BOOLEAN",
    expected="true or false",
    from_toml=_boolean,
    from_text=lambda text: _BOOLEANS.get(text.strip().lower()),
    is_switch=True,
)


def member_of(enum: type[StrEnum]) -> ValueType:
    """A member of an enumeration, by its value."""
    choices = tuple(member.value for member in enum)
    expected = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return text_type("WORD", expected, enum, choices=choices)


def list_of(item: ValueType) -> ValueType:
    """A list of values; an environment variable separates them by commas."""

    def from_toml(value: object) -> tuple[object, ...]:
        require(isinstance(value, list | tuple))
        return tuple(map(item.from_toml, value))  # type: ignore[call-overload]

    def from_text(text: str) -> tuple[object, ...]:
        parts = (part.strip() for part in text.split(","))
        return tuple(item.from_text(part) for part in parts if part)

    return ValueType(
        metavar=item.metavar,
        expected=f"a list; each item must be {item.expected}",
        from_toml=from_toml,
        from_text=from_text,
        is_path=item.is_path,
        is_list=True,
        each_expected=item.expected,
    )


def one_or_list_of(item: ValueType) -> ValueType:
    """The same; a file may have a single value without brackets."""
    several = list_of(item)

    def from_toml(value: object) -> object:
        return several.from_toml([value] if isinstance(value, str) else value)

    return replace(several, from_toml=from_toml)


def text_type(
    metavar: str,
    expected: str,
    parse: Callable[[str], object],
    *,
    choices: tuple[str, ...] = (),
    is_path: bool = False,
    is_shown: bool = False,
) -> ValueType:
    """A printable text, converted by `parse` (`ValueError`, `ProtocolError`)."""

    def from_toml(value: object) -> object:
        require(isinstance(value, str) and value and value.isprintable())
        try:
            return parse(str(value))
        except ProtocolError:
            raise ValueError from None

    return ValueType(
        metavar=metavar,
        expected=expected,
        from_toml=from_toml,
        choices=choices,
        is_path=is_path,
        is_shown=is_shown,
    )


# -- numbers ---------------------------------------------------------------------
# Bounds are inclusive.

_INTEGER = LazyPattern(r"[+-]?[0-9]+(_[0-9]+)*")
_DURATION = LazyPattern(
    r"(?:([0-9]{1,4})w)?(?:([0-9]{1,5})d)?"
    r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?"
)
_DURATION_UNITS_S = (604_800, 86_400, 3600, 60, 1)
_SIZE = LazyPattern(r"([0-9]{1,15})([KMGT]?)i?B?", re.IGNORECASE)
_SIZE_UNITS = ("", "K", "M", "G", "T")


def integer(least: int, most: int) -> ValueType:
    """A whole number."""

    def from_toml(value: object) -> int:
        require(type(value) is int and least <= value <= most)
        return value  # type: ignore[return-value]

    def from_text(text: str) -> int:
        require(_INTEGER.fullmatch(text.strip()))
        return int(text)

    return ValueType(
        metavar="N",
        expected=f"a whole number from {least} to {most}",
        from_toml=from_toml,
        from_text=from_text,
    )


def _requests_at_once() -> ValueType:
    def from_toml(value: object) -> RequestsAtOnce | int:
        if isinstance(value, RequestsAtOnce):
            return value
        require(type(value) is int or isinstance(value, str))
        return parse_requests_at_once(str(value))

    most = MAX_REQUESTS_AT_ONCE
    return ValueType(
        metavar="N[..M]",
        expected=f"a whole number from 1 to {most}, or a range of them such as 1..64",
        from_toml=from_toml,
        is_shown=True,
    )


# Concurrent requests: a fixed number, or a range.
REQUESTS_AT_ONCE = _requests_at_once()


def number(least: float, most: float, *, what: str = "a number") -> ValueType:
    """A finite number."""

    def from_toml(value: object) -> float:
        require(type(value) in (int, float))
        converted = float(value)  # type: ignore[arg-type]
        require(math.isfinite(converted) and least <= converted <= most)
        return converted

    return ValueType(
        metavar="N",
        expected=f"{what} from {least:.15g} to {most:.15g}",
        from_toml=from_toml,
        from_text=float,
    )


def duration(least_s: float, most_s: float) -> ValueType:
    """A duration in seconds: a number of seconds, or units as in `1h30m` and `7d`."""
    seconds = number(least_s, most_s, what="a number of seconds")
    return _with_units(
        seconds,
        "DURATION",
        "duration such as 90m, 1h30m or 7d",
        _seconds,
        field_suffix="_s",
    )


def _seconds(text: str) -> float:
    match = _DURATION.fullmatch(text.strip())
    if match is None or not match[0]:
        return float(text)
    parts = zip(match.groups(default="0"), _DURATION_UNITS_S, strict=True)
    return sum(int(count) * unit_s for count, unit_s in parts)


def format_short_duration(seconds: float) -> str:
    """A duration in its largest whole unit, which `duration` reads: `7d`, `90s`."""
    for unit, unit_s in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= unit_s and seconds % unit_s == 0:
            return f"{seconds / unit_s:.0f}{unit}"
    return f"{seconds:g}s" if seconds == int(seconds) else f"{seconds:g}"


def format_short_size(size: int) -> str:
    """A size in its largest whole unit, which `byte_size` reads: `1G`, `1000`."""
    for power in range(len(_SIZE_UNITS) - 1, 0, -1):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{_SIZE_UNITS[power]}"
    return str(size)


def byte_size(least: int, most: int) -> ValueType:
    """A number of bytes, or one with the unit K, M, G or T (powers of 1024)."""
    return _with_units(
        integer(least, most), "SIZE", "size such as 500M or 2G", _size_bytes
    )


def _size_bytes(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError
    unit: int = 1024 ** _SIZE_UNITS.index(match[2].upper())
    return int(match[1]) * unit


def _with_units(
    plain: ValueType,
    metavar: str,
    expected: str,
    from_text: Callable[[str], float],
    *,
    field_suffix: str = "",
) -> ValueType:
    """A type that also accepts texts in TOML, for values with units."""
    return ValueType(
        metavar=metavar,
        expected=f"{plain.expected}, or a {expected}",
        from_toml=lambda value: plain.from_toml(
            from_text(value) if isinstance(value, str) else value
        ),
        from_text=from_text,
        field_suffix=field_suffix,
    )


# -- texts -----------------------------------------------------------------------
# Each is parsed by the grammar that applies where the value is used.

# POSIX.1-2024, Base Definitions 8.1, and the lower case letters that shells accept.
_VARIABLE = LazyPattern(r"[A-Za-z_][A-Za-z0-9_]*")
# A host name, an IPv4 address, or an IPv6 address without brackets.
_HOST = LazyPattern(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PORT = LazyPattern(r":[0-9]+/?$")
# A file name without a path, and without characters that are special to a shell.
_HELPER = LazyPattern(r"[A-Za-z0-9._-]+")
# IAM User Guide, "IAM ARNs"; the path and name of a role.
_ROLE_ARN = LazyPattern(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,1024}")
# Any name; every bracket that opens a class is closed.
_LABEL = LazyPattern(r"(?:[^][]|\[!?[^][]+\])+")
_CLASS = LazyPattern(r"\[!?([^][]+)\]")
_RANGE = LazyPattern(r"(.)-(.)")


def _checked(is_valid: Callable[[str], object]) -> Callable[[str], str]:
    """A parser that returns the text itself, if `is_valid` neither returns false nor
    raises."""

    def parse(text: str) -> str:
        require(is_valid(text))
        return text

    return parse


def checked_platform(text: str) -> str:
    """The text of a platform. Raises `SentenceError` for a probable typing error."""
    if "/" in text:
        parse_platform(text)
    if (meant := likely_platform(text)) is not None:
        raise SentenceError(f"unknown platform {text}; did you mean {meant}?")
    parse_platform(text)
    return text


def _is_url(text: str) -> bool:
    # With the functions of the network code, so that both accept the same URLs.
    check_url(text, kind=FailureKind.REALM_REFUSED)
    origin_of(text)
    return "#" not in text


def _is_proxy(text: str) -> bool:
    if text == NO_PROXY:
        return True
    # A single word is a typo (`non`, `off`) rather than a proxy on port 80.
    if "://" not in text and not _PORT.search(text):
        return False
    proxy = parse_proxy(text, "")
    # A password belongs in HTTPS_PROXY, not in a file or in the list of processes.
    return isinstance(proxy, Proxy) and proxy.authorization is None


def _mirror(text: str) -> str:
    return parse_namespace(text) if "/" in text else parse_registry(text)


def _host(text: str) -> str:
    is_v6 = "%" not in text and grammar.is_ipv6(f"[{text}]")  # no zone of this machine
    require(is_v6 or _HOST.fullmatch(text))
    return text.lower()


def _is_label(text: str) -> bool:
    return bool(_LABEL.fullmatch(text)) and _has_ordered_ranges(text)


def _is_tag_pattern(text: str) -> bool:
    return (
        len(text) <= grammar.MAX_PATTERN_CHARS
        and bool(re.fullmatch(grammar.TAG_PATTERN, text))
        and _has_ordered_ranges(text)
    )


def _repository_pattern(text: str) -> str:
    require(len(text) <= grammar.MAX_PATH_PATTERN_CHARS)
    require(re.fullmatch(grammar.PATH_PATTERN, text) and _has_ordered_ranges(text))
    return ANY_DEPTH if text == "*" else text  # as in a reference


def _has_ordered_ranges(pattern: str) -> bool:
    """Whether every range can match: [9-0] matches nothing."""
    return all(
        low <= high
        for characters in _CLASS.findall(pattern)
        for low, high in _RANGE.findall(characters)
    )


TEXT = text_type("TEXT", "a text without control characters", str)
PATH = text_type("FILE", "a path", str, is_path=True)
FILE_NAME = replace(
    text_type("FILE", "a path", check_file_name, is_path=True), has_placeholders=True
)
REPORT_NAME = replace(
    text_type("FILE", "a path", check_report_name, is_path=True), has_placeholders=True
)
# Parsed when the input is read: an invalid one becomes a failure record.
REFERENCE = text_type("REFERENCE", "a reference", str)
USERNAME = text_type(
    "NAME", "a name without colons and control characters", _checked(is_username)
)
VARIABLE = text_type(
    "VARIABLE", "the name of an environment variable", _checked(_VARIABLE.fullmatch)
)
HELPER = text_type(
    "NAME",
    "the name of a helper without docker-credential-, such as ecr-login",
    _checked(_HELPER.fullmatch),
)
ROLE_ARN = text_type(
    "ARN",
    "the ARN of a role, such as arn:aws:iam::123456789012:role/audit",
    _checked(_ROLE_ARN.fullmatch),
)
URL = text_type(
    "URL", "an http or https URL without user and fragment", _checked(_is_url)
)
MIRROR = text_type("HOST", "HOST[:PORT] or HOST[:PORT]/NAMESPACE", _mirror)
PROXY = text_type(
    "URL",
    "an http or https URL without user and password, or none",
    _checked(_is_proxy),
)
HOST = text_type("HOST", "a host name or address without scheme and port", _host)
PLATFORM = text_type(
    "OS/ARCH[/VARIANT]",
    "a platform such as linux/arm64 or linux/arm/v7",
    checked_platform,
)
LABEL = text_type("PATTERN", "a name or pattern (*, ?, [a-z])", _checked(_is_label))
SHARD = text_type(
    "I/N", f"a shard such as 2/8 or auto/8 (at most {MAX_SHARDS:,})", parse_shard
)
TAG_PATTERN = text_type(
    "PATTERN", "a tag pattern such as 1.* or *-rc[0-9]", _checked(_is_tag_pattern)
)
REPOSITORY_PATTERN = text_type(
    "PATTERN", "a repository pattern such as team/** or */app", _repository_pattern
)
SINCE = text_type(
    "DURATION|DATE",
    "a duration (30d, 12h) or a date (2026-01-31)",
    _checked(parse_since),
    is_shown=True,
)
# Owners with capitals exist in Gitea and Forgejo; their repositories have none.
NAMESPACE = text_type(
    "NAME",
    "the name of a namespace",
    _checked(lambda text: is_repository(text.lower())),
)
