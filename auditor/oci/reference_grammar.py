"""The grammar of references: regular expressions to build others from, and limits.

Source: github.com/distribution/reference, reference.go and regexp.go; the OCI
distribution-spec ("Pulling manifests") has the same names and tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv6Address

from auditor.fast_dataclass import dataclass

# RFC 1035 section 2.3.4: a label has at most 63 characters, a host at most 253.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
MAX_HOST_CHARS = 253
PORT = r"[1-9][0-9]{0,4}"
MAX_PORT = 65535

# domain := domain-name | IPv4address | "[" IPv6address "]", [ ":" port ]
DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[A-Fa-f0-9:]+\])(?::{PORT})?"

# path-component := alpha-numeric [ separator alpha-numeric ]*
COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
PATH = rf"{COMPONENT}(?:/{COMPONENT})*"
MAX_PATH_CHARS = 255  # RepositoryNameTotalLengthMax

MAX_TAG_CHARS = 128
TAG = rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{MAX_TAG_CHARS - 1}}}"

# The registered algorithms (OCI image-spec, descriptor.md) and sha384, which
# distribution knows too: a digest that we cannot compute proves nothing.
HEX_CHARS = {"sha256": 64, "sha384": 96, "sha512": 128}
DIGEST = "(?:" + "|".join(f"{a}:[a-f0-9]{{{n}}}" for a, n in HEX_CHARS.items()) + ")"

GLOB_CHARS = "*?["
# What can match a tag: its own characters, `*`, `?` and classes like [0-9] or [!a-z].
TAG_PATTERN = r"(?:[A-Za-z0-9_.*?-]|\[!?[A-Za-z0-9_.-]+\])+"
# A class of four characters at each place of the longest tag.
MAX_PATTERN_CHARS = 4 * MAX_TAG_CHARS
# What can match a component of a path, or with `**` any number of them.
COMPONENT_PATTERN = r"(?:[a-z0-9_.?-]|\*(?!\*)|\[!?[a-z0-9_.-]+\])+"
PATH_PATTERN = rf"(?:{COMPONENT_PATTERN}|\*\*)(?:/(?:{COMPONENT_PATTERN}|\*\*))*"
MAX_PATH_PATTERN_CHARS = 4 * MAX_PATH_CHARS


def split_port(registry: str) -> tuple[str, str | None]:
    """`host:port` taken apart; the brackets of an IPv6 address stay with it."""
    host, colon, port = registry.rpartition(":")
    if not colon or "]" in port:
        return registry, None
    return host, port


def is_ipv6(host: str) -> bool:
    """Whether it is an IPv6 address in brackets (RFC 3986 section 3.2.2)."""
    try:
        IPv6Address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return host.startswith("[") and host.endswith("]")


# -- repository_pattern --
# Patterns for repositories: many repositories of one registry, and tags of each.
#
#     path-pattern := part [ "/" part ]*
#     part         := "**" | one component of a name, with `*`, `?` and classes in it
#
# `*`, `?` and `[0-9]` stay within one component, as in a shell; `**` is any number of
# components. As in gitignore(5), `**` in front and in the middle may be none at all,
# at the end it is everything below: `team/**` is `team/app` and not `team`.

ANY_DEPTH = "**"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPattern:
    """The tags that match `pattern` in the repositories that match `repository`.

    `str` gives the canonical text, which parses to an equal value.
    """

    registry: str
    repository: str
    pattern: str

    def matches_repository(self, repository: str) -> bool:
        """Whether the whole path matches. Case counts."""
        return path_matches(self.repository, repository)

    @property
    def below(self) -> str | None:
        """The longest path that every match is below; null: there is none."""
        parts = self.repository.split("/")
        plain = 0
        while plain < len(parts) - 1 and not is_glob(parts[plain]):
            plain += 1
        return "/".join(parts[:plain]) or None

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}:{self.pattern}"


def is_glob(text: str) -> bool:
    """Whether it holds anything but itself."""
    return any(char in text for char in GLOB_CHARS)


def path_matches(path_pattern: str, repository: str) -> bool:
    """Whether a repository's path matches as a whole."""
    parts = path_pattern.split("/")
    if parts[-1] == ANY_DEPTH:
        parts.append("*")
    return _matches(parts, repository.split("/"))


def _matches(parts: Sequence[str], components: Sequence[str]) -> bool:
    """Whether the components match, each part one, `**` any number.

    The last `**` takes as little as it can, and one more whenever what follows it
    does not fit: going back further never helps, so this takes at most the product
    of both lengths (the usual algorithm for `*` among characters).
    """
    part = component = 0
    again: tuple[int, int] | None = None  # after the last `**`, and where it ended
    while component < len(components):
        if part < len(parts) and parts[part] == ANY_DEPTH:
            part += 1
            again = (part, component)
        elif part < len(parts) and fnmatchcase(components[component], parts[part]):
            part, component = part + 1, component + 1
        elif again is not None:
            again = (again[0], again[1] + 1)
            part, component = again
        else:
            return False
    return all(rest == ANY_DEPTH for rest in parts[part:])
