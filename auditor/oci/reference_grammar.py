"""The grammar of references: regular expressions to build others from, and limits.

Source: github.com/distribution/reference, reference.go and regexp.go; the OCI
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
