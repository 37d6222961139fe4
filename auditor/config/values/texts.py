"""Values that are texts, each with the grammar that it has where it is used."""

from __future__ import annotations

import re

from auditor.config.values import require, textual
from auditor.errors import FailureKind, ProtocolError
from auditor.oci import reference_grammar as grammar
from auditor.oci.platform import read_platform
from auditor.oci.reference import is_repository, namespace_name, registry_name
from auditor.oci.reference_grammar import ANY_DEPTH
from auditor.util.lazy_regex import Pattern
from auditor.util.shard import MAX_SHARDS, Shard, parse_shard
from auditor.util.time_span import parse_since
from auditor.wire.login import is_username
from auditor.wire.proxy import NONE, Proxy, parse_proxy
from auditor.wire.url_policy import check_url, origin_of

# POSIX.1-2024, Base Definitions 8.1, with the lower case that shells also take.
_VARIABLE = Pattern(r"[A-Za-z_][A-Za-z0-9_]*")
# A host name, an IPv4 address, or an IPv6 address without brackets.
_HOST = Pattern(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PORT = Pattern(r":[0-9]+/?$")
# Any name; a bracket opens a class that is closed.
_LABEL = Pattern(r"(?:[^][]|\[!?[^][]+\])+")
_CLASS = Pattern(r"\[!?([^]]+)\]")
_RANGE = Pattern(r"(.)-(.)")


def _username(text: str) -> str:
    require(is_username(text))
    return text


def _variable(text: str) -> str:
    require(_VARIABLE.fullmatch(text))
    return text


def _url(text: str) -> str:
    # Read as the network code will read it, so that nothing is a surprise there.
    try:
        check_url(text, kind=FailureKind.REALM_REFUSED)
        origin_of(text)
    except ProtocolError:
        require(None)
    require("#" not in text)
    return text


def _proxy(text: str) -> str:
    if text != NONE:
        # A word alone is a slip (`non`, `off`) rather than a proxy at port 80.
        require("://" in text or _PORT.search(text))
        found = parse_proxy(text, "")
        # A password belongs in HTTPS_PROXY, not in a file or a list of processes.
        require(isinstance(found, Proxy) and found.authorization is None)
    return text


def _mirror(text: str) -> str:
    try:
        return namespace_name(text) if "/" in text else registry_name(text)
    except ProtocolError:
        raise ValueError from None


def _host(text: str) -> str:
    v6 = "%" not in text and grammar.is_ipv6(f"[{text}]")  # no zone of this machine
    require(v6 or _HOST.fullmatch(text))
    return text.lower()


def _label(text: str) -> str:
    require(_LABEL.fullmatch(text) and _has_right_ranges(text))
    return text


def _tag_pattern(text: str) -> str:
    require(re.fullmatch(grammar.TAG_PATTERN, text) and _has_right_ranges(text))
    require(len(text) <= grammar.MAX_PATTERN_CHARS)
    return text


def _path_pattern(text: str) -> str:
    require(re.fullmatch(grammar.PATH_PATTERN, text) and _has_right_ranges(text))
    require(len(text) <= grammar.MAX_PATH_PATTERN_CHARS)
    return ANY_DEPTH if text == "*" else text  # as in a reference


def _has_right_ranges(pattern: str) -> bool:
    """Whether no range is upside down, as in [9-0], which stands for nothing."""
    return all(
        low <= high
        for inside in _CLASS.findall(pattern)
        for low, high in _RANGE.findall(inside)
    )


def _since(text: str) -> str:
    parse_since(text)
    return text


def _platform(text: str) -> str:
    try:
        read_platform(text)
    except ProtocolError:
        require(None)
    return text


def _shard(text: str) -> Shard:
    try:
        return parse_shard(text)
    except ProtocolError:
        raise ValueError from None


def _repository(text: str) -> str:
    require(is_repository(text))
    return text


TEXT = textual("TEXT", "a text without control characters", str)
PATH = textual("FILE", "a path", str, is_path=True)
# Checked where lists are, one by one: a wrong one is a failure record.
REFERENCE = textual("REFERENCE", "a reference", str)
USERNAME = textual("NAME", "a name without colons and control characters", _username)
VARIABLE = textual("VARIABLE", "the name of an environment variable", _variable)
URL = textual("URL", "an http or https URL without user and fragment", _url)
MIRROR = textual("HOST", "HOST[:PORT] or HOST[:PORT]/NAMESPACE", _mirror)
PROXY = textual(
    "URL", "an http or https URL without user and password, or none,", _proxy
)
HOST = textual("HOST", "a host name or address without scheme and port", _host)
PLATFORM = textual(
    "OS/ARCH[/VARIANT]", "a platform such as linux/arm64 or linux/arm/v7", _platform
)
LABEL = textual("PATTERN", "a name or pattern (*, ?, [a-z])", _label)
SHARD = textual(
    "I/N", f"a share such as 2/8 or auto/8, of at most {MAX_SHARDS:,},", _shard
)
TAG_PATTERN = textual(
    "PATTERN", "a pattern of tags such as 1.* or *-rc[0-9]", _tag_pattern
)
REPOSITORY_PATTERN = textual(
    "PATTERN", "a pattern of repositories such as team/** or */app", _path_pattern
)
SINCE = textual("SPAN|DATE", "a span such as 30d or 12h, or a date", _since)
REPOSITORY = textual("NAME", "the name of a namespace or repository", _repository)
