"""The grammar of references: regular expressions to build others from, and limits.

Sources: github.com/distribution/reference, reference.go and regexp.go; the OCI
distribution-spec ("Pulling manifests") has the same names and tags.
"""

from __future__ import annotations

from ipaddress import IPv6Address

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

# The registered algorithms (OCI image-spec, descriptor.md), and sha384 of distribution.
HEX_CHARS = {"sha256": 64, "sha384": 96, "sha512": 128}
DIGEST = "(?:" + "|".join(f"{a}:[a-f0-9]{{{n}}}" for a, n in HEX_CHARS.items()) + ")"

GLOB_CHARS = "*?["
# Characters of a tag, `*`, `?` and classes such as [0-9] or [!a-z].
TAG_PATTERN = r"(?:[A-Za-z0-9_.*?-]|\[!?[A-Za-z0-9_.-]+\])+"
# A class of four characters at each position of the longest tag.
MAX_PATTERN_CHARS = 4 * MAX_TAG_CHARS
# The same for a component of a path; `**` is any number of components.
COMPONENT_PATTERN = r"(?:[a-z0-9_.?-]|\*(?!\*)|\[!?[a-z0-9_.-]+\])+"
PATH_PATTERN = rf"(?:{COMPONENT_PATTERN}|\*\*)(?:/(?:{COMPONENT_PATTERN}|\*\*))*"
MAX_PATH_PATTERN_CHARS = 4 * MAX_PATH_CHARS


def split_port(registry: str) -> tuple[str, str | None]:
    """Split `host[:port]`; an IPv6 address keeps its brackets."""
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


def is_glob(text: str) -> bool:
    """Whether the text contains a character of patterns."""
    return any(char in text for char in GLOB_CHARS)
