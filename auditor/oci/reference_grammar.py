"""The grammar of references, and explanations of invalid references.

The regular expressions are parts to build others from. `explain_invalid_reference` is
called after parsing has failed: it need not be fast, and it only writes the message.

Sources: github.com/distribution/reference, reference.go and regexp.go; the OCI
distribution-spec ("Pulling manifests") has the same names and tags.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from auditor.util.text import safe_text

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
# A digest that is recorded and never verified, such as the registered blake3: other
# algorithms "SHOULD" be accepted (descriptor.md). 128 bits are 32 hexadecimal digits:
# less is no digest but a name and a tag.
ANY_DIGEST = (
    rf"(?:{DIGEST}|(?!(?:{'|'.join(HEX_CHARS)}):)"
    r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[A-Za-z0-9=_-]{32,})"
)
MAX_DIGEST_CHARS = 255  # the longest of a supported algorithm has 135

# containers-transports(5): what skopeo and podman write before a colon. None is an
# official image of Docker Hub.
STORES = ("oci", "oci-archive", "docker-archive")
TRANSPORTS = frozenset(
    {
        *STORES,
        *("atomic", "containers-storage", "dir", "docker-daemon", "ostree", "sif"),
        *("tarball", "openshift"),
    }
)

GLOB_CHARS = "*?["
# Characters of a tag, `*`, `?` and classes such as [0-9] or [!a-z].
TAG_PATTERN = r"(?:[A-Za-z0-9_.*?-]|\[!?[A-Za-z0-9_.-]+\])+"
# A class of four characters at each position of the longest tag.
MAX_PATTERN_CHARS = 4 * MAX_TAG_CHARS
# The same for a component of a path; `**` is any number of components.
COMPONENT_PATTERN = r"(?:[a-z0-9_.?-]|\*(?!\*)|\[!?[a-z0-9_.-]+\])+"
PATH_PATTERN = rf"(?:{COMPONENT_PATTERN}|\*\*)(?:/(?:{COMPONENT_PATTERN}|\*\*))*"
MAX_PATH_PATTERN_CHARS = 4 * MAX_PATH_CHARS

# Ports at which registries listen by default: HTTPS, Gitea, distribution, kind, GitLab,
# zot, Nexus and Artifactory, Quay, MicroK8s. No official image of Docker Hub has such a
# tag: these are versions (debian:12), years (neo4j:2025) and dates (photon:20190122).
_REGISTRY_PORTS = frozenset(
    {443, 3000, 5000, 5001, 5050, 8080, 8081, 8082, 8083, 8443, 32000}
)

# Whether a text has a slash, and before the first one a host: the lookahead for a name
# with a host, and the one for a name without.
BEGINS_WITH_HOST = r"(?=[^/.:]*+[.:]|(?i:localhost)/)"
BEGINS_WITHOUT_HOST = r"(?![^/.:]*+[.:][^/]*+/|localhost/)"

SCHEME = "docker://"
# The longest text that the grammar allows: a pattern with the longest host and port.
MAX_REFERENCE_CHARS = (
    len(SCHEME)
    + MAX_HOST_CHARS
    + len(f":{MAX_PORT}/")
    + MAX_PATH_PATTERN_CHARS
    + len(":")
    + MAX_PATTERN_CHARS
)

_EXAMPLE = "host/repository:tag"
CREDENTIALS = (
    "credentials are not allowed in a reference; remove everything up to the @"
)
_DIGEST_AND_PATTERN = (
    "a pattern cannot be combined with a digest, which names one image"
)


def transport_of(text: str) -> str | None:
    """The transport that a text begins with, None if it names a registry's image.

    A host may be called `oci`, too, and has a port then; `oci://host/chart` is what
    helm calls an image of a registry.
    """
    name, colon, rest = text.partition(":")
    if not colon or name not in TRANSPORTS:
        return None
    is_other = rest.startswith("//") or _is_port(rest.partition("/")[0])
    return None if is_other else name


def split_port(registry: str) -> tuple[str, str | None]:
    """Split `host[:port]`; an IPv6 address keeps its brackets."""
    host, colon, port = registry.rpartition(":")
    if not colon or "]" in port:
        return registry, None
    return host, port


def is_ipv6(host: str) -> bool:
    """Whether the text is an IPv6 address in brackets (RFC 3986 section 3.2.2)."""
    try:
        IPv6Address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return host.startswith("[") and host.endswith("]")


def is_glob(text: str) -> bool:
    """Whether the text contains one of `GLOB_CHARS`."""
    return any(char in text for char in GLOB_CHARS)


def is_image_id(name: str, tag: str | None) -> bool:
    """Whether `name:tag`, without a slash, is a digest alone, as nodes print image IDs,
    and `docker images` shortened ones.

    By the grammar it is the tag of an official image that is called sha256.
    """
    return name in HEX_CHARS and tag is not None


def bare_host(name: str, tag: str | None) -> str | None:
    """The `host[:port]` that `name[:tag]`, without a slash, means; None for an image.

    By the grammar it is an official image of Docker Hub. None of these has a dot in its
    name or is called localhost, so Docker Hub would only learn the name of a host.
    """
    port = tag if tag is not None and _is_port(tag) else None
    if "." not in name and name != "localhost":
        is_host = port is not None and int(port) in _REGISTRY_PORTS
        return f"{name}:{port}" if is_host else None
    return name if port is None else f"{name}:{port}"


def explain_invalid_reference(text: str) -> str:
    """The first error from the left, and how to correct it."""
    if len(text) > MAX_REFERENCE_CHARS:
        return (
            f"it has {len(text):,} characters, and the longest reference"
            f" {MAX_REFERENCE_CHARS:,}; expected one reference per line"
        )
    if (transport := transport_of(text)) is not None:
        return _error_in_transport(transport)
    if error := _error_in_characters(text):
        return error
    text = text.removeprefix(SCHEME)
    first, slash, rest = text.partition("/")
    has_host = bool(slash) and _is_meant_as_host(first)
    if has_host and (error := _error_in_host(first, rest)):
        return error
    name, at, digest = (rest if has_host else text).partition("@")
    path, colon, tag = name.partition(":")
    if not slash and is_image_id(path.lower(), tag or None):
        return (
            "it is a digest or an image ID without its repository, which no registry"
            f" can find; write {_EXAMPLE.partition(':')[0]}@sha256:..."
        )
    if not slash and (error := _error_in_bare_host(text, path.lower(), tag)):
        return error
    if any(char in path for char in GLOB_CHARS):
        return (
            _error_in_path_pattern(path, has_host=has_host)
            or _error_in_tags_of_pattern(tag, has_tag=bool(colon), has_digest=bool(at))
            or "a repository pattern selects many images; expected a single one"
        )
    return (
        _error_in_path(path, has_host=has_host)
        or (_error_in_digest(digest) if at else None)
        or (_error_in_tag(tag, has_digest=bool(at)) if colon else None)
        or f"write {_EXAMPLE} or {_EXAMPLE.partition(':')[0]}@sha256:..."
    )


def _error_in_transport(transport: str) -> str:
    if transport in STORES:
        name = "DIR" if transport == "oci" else "FILE"
        return (
            f"{transport}: names images on disk, which audit, ls and inspect read as an"
            f" argument or from a list: {transport}:{name}, {transport}:{name}:NAME or"
            f" {transport}:{name}:*, with a path without spaces and colons"
        )
    return (
        f"{transport}: is not supported; copy the image first, and audit the copy:"
        f" skopeo copy {transport}:... oci:DIR:NAME"
    )


def _error_in_characters(text: str) -> str | None:
    if not text.strip():
        return f"it is empty; write {_EXAMPLE}"
    if text[0] in "\"'":
        return "it is in quotes; remove them"
    if text.startswith("- "):
        return "remove the hyphen before it; a line is a reference and nothing else"
    if re.search(r"[ \t]", text.strip()):
        return "it contains a space; expected one reference per line"
    if "{" in text or "}" in text:
        return _error_in_braces(text)
    if re.search("[,;]", text):
        return (
            f"it contains a {'comma' if ',' in text else 'semicolon'}; a list with"
            " columns must begin with their names, one of them reference or repository"
        )
    if invalid := re.search(r"[^!-~]", text):
        return (
            f"it contains the character U+{ord(invalid[0]):04X};"
            " only visible ASCII is allowed"
        )
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() in {"http", "https"}:
        return f"it is a URL; remove {scheme}:// and write {_EXAMPLE}"
    if separator and (scheme != "docker" or "://" in rest):
        return "the only scheme allowed before the name is docker://"
    if "%" in text:
        return "it contains a percent sign; names are not percent-encoded"
    if "\\" in text:
        return "it contains a backslash; the parts of a name are separated by /"
    return None


def _error_in_braces(text: str) -> str:
    match = re.fullmatch(r"([^{}]*)\{([^{},]+(?:,[^{},]+)+)\}([^{}]*)", text)
    if match is None:
        return "it contains a brace; replace what is in braces"
    before, inner, after = match.groups()
    names = [f"{before}{each}{after}" for each in inner.split(",")]
    shown = " ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    return f"braces are expanded by shells only; write {shown}"


def _is_meant_as_host(first: str) -> bool:
    return (
        first == "localhost"
        or any(char in first for char in ".:")
        or first != first.lower()
    )


def _error_in_host(host: str, rest: str) -> str | None:
    shown = safe_text(host, 60)
    if "@" in host:
        return CREDENTIALS
    if host.strip(".") == "":
        return f'"{shown}" cannot be part of a name'
    if not host.startswith("[") and any(char in host for char in GLOB_CHARS):
        return "patterns are for repositories and tags; the registry must be given"
    if not any(char in host for char in ".:") and host.lower() != "localhost":
        lower = safe_text(f"{host}/{rest}".lower(), 80)
        return (
            f'repository names are lower case; write "{lower}"'
            f' (or, if "{shown}" is a host, "{shown.lower()}:443/...")'
        )
    bare, port = split_port(host)
    if bare.startswith("[") and not is_ipv6(bare):
        return f'"{safe_text(bare, 60)}" is not an IPv6 address in brackets'
    if port is not None and not _is_port(port):
        return f'"{safe_text(port, 20)}" is not a port from 1 to {MAX_PORT}'
    if len(bare) > MAX_HOST_CHARS:
        return f"its host is longer than {MAX_HOST_CHARS} characters"
    if not re.fullmatch(DOMAIN, bare):
        return f'"{shown}" is not a host name: letters, digits, hyphens and dots'
    return None


# None of these is a top-level domain.
_FILE_NAME = re.compile(r"\.(txt|csv|tsv|jsonl?|toml|ya?ml|gz|zst|lst|list|tar)$")


def _error_in_bare_host(text: str, name: str, tag: str) -> str | None:
    if is_ipv6(split_port(text)[0]):
        host, other = text, ""
    elif re.fullmatch(COMPONENT, name) and (host := bare_host(name, tag) or ""):
        image = f"docker.io/library/{safe_text(text, 80)}"
        is_address = re.fullmatch(r"[0-9.]+|localhost", name)
        other = "" if is_address else f", or {image} for an image of that name"
    else:
        return None
    host = safe_text(host, 80)
    if _FILE_NAME.search(text):
        return (
            f"it seems to be a file: for a list, write -f {safe_text(text, 80)}; if a"
            " pattern was meant, put it in single quotes, because the shell replaces it"
            " with names of files"
        )
    return (
        f"it is a registry without a repository; write {host}/repository:tag,"
        f" {host}/*:* for all of its images{other}"
    )


def _is_port(text: str) -> bool:
    return bool(re.fullmatch(PORT, text)) and int(text) <= MAX_PORT


def _error_in_path(path: str, *, has_host: bool) -> str | None:
    if not path:
        where = " after the host" if has_host else ""
        return f"the repository is missing{where}; write {_EXAMPLE}"
    components = path.split("/")
    if "." in components or ".." in components:
        return '"." and ".." cannot be part of a name'
    if error := _error_in_any_path(path):
        return error
    for component in components:
        if not re.fullmatch(COMPONENT, component):
            return (
                f'"{safe_text(component, 60)}" is not a part of a repository name:'
                " lower-case letters and digits, separated by one dot, one or two"
                " underscores, or hyphens"
            )
    if len(path) > MAX_PATH_CHARS - len("library/"):
        return f"its repository is longer than {MAX_PATH_CHARS} characters"
    if not has_host and re.fullmatch(r"[a-f0-9]{64}", path):
        return f"it is an image ID; write repository@sha256:{path[:4]}..."
    return None


def _error_in_path_pattern(path: str, *, has_host: bool) -> str | None:
    if not has_host:
        return (
            "a repository pattern must start with its registry,"
            f" as in docker.io/{safe_text(path, 60)}:*"
        )
    if error := _error_in_any_path(path):
        return error
    for component in path.split("/"):
        if "**" in component and component != "**":
            return (
                f'"{safe_text(component, 60)}" is not a part of a pattern: ** matches'
                " whole parts, as in team/**/app; * matches within one"
            )
        if not re.fullmatch(rf"{COMPONENT_PATTERN}|\*\*", component):
            return (
                f'"{safe_text(component, 60)}" is not a part of a pattern: *, ?, and'
                " closed classes like [0-9] or [!a-z] among the characters of a name"
            )
    if len(path) > MAX_PATH_PATTERN_CHARS:
        return f"its pattern is longer than {MAX_PATH_PATTERN_CHARS} characters"
    return None


def _error_in_any_path(path: str) -> str | None:
    if "" in path.split("/"):
        return "it has an empty part: one / separates the parts of a name"
    if path != path.lower():
        return f'repository names are lower case; write "{safe_text(path.lower(), 80)}"'
    return None


def _error_in_tags_of_pattern(
    tag: str, *, has_tag: bool, has_digest: bool
) -> str | None:
    if has_digest:
        return _DIGEST_AND_PATTERN
    if not has_tag:
        return (
            "a repository pattern must also select tags: add :* for all of them,"
            " or a pattern such as :1.*"
        )
    if any(char in tag for char in GLOB_CHARS):
        return _error_in_pattern(tag)
    return _error_in_tag(tag, has_digest=False)


def _error_in_digest(digest: str) -> str | None:
    if re.fullmatch(DIGEST, digest):
        return None
    algorithm, colon, value = digest.partition(":")
    length = HEX_CHARS.get(algorithm)
    if not colon:
        return "expected a digest after the @, as in @sha256:0123..."
    if length is None:
        supported = ", ".join(HEX_CHARS)
        return (
            f'the digest algorithm "{safe_text(algorithm, 20)}" is not supported;'
            f" use {supported}"
        )
    if value.lower() != value:
        return "the hexadecimal digits of a digest must be lower-case"
    if len(value) < length:
        return (
            f"a {algorithm} digest has {length} hexadecimal digits, not {len(value)}; a"
            " registry does not find images by the first digits, but auditor layers"
            " REPORT --digest does"
        )
    return f"a {algorithm} digest has {length} hexadecimal digits, not {len(value)}" + (
        " characters" if len(value) == length else ""
    )


def _error_in_tag(tag: str, *, has_digest: bool) -> str | None:
    if not tag:
        return "the tag after the colon is missing"
    if "/" in tag:
        return "a port belongs after the host, the first part of the name"
    if ":" in tag:
        return "it has two tags; a digest is written after @"
    if any(char in tag for char in GLOB_CHARS):
        if has_digest:
            return _DIGEST_AND_PATTERN
        return (
            _error_in_pattern(tag)
            or "a tag pattern selects many images; expected a single one"
        )
    if len(tag) > MAX_TAG_CHARS:
        return f"its tag is longer than {MAX_TAG_CHARS} characters"
    if not re.fullmatch(TAG, tag):
        return (
            f'"{safe_text(tag, 60)}" is not a tag: letters, digits, underscores,'
            " and, except at the start, dots and hyphens"
        )
    return None


def _error_in_pattern(pattern: str) -> str | None:
    if len(pattern) > MAX_PATTERN_CHARS:
        return f"its pattern is longer than {MAX_PATTERN_CHARS} characters"
    if re.fullmatch(TAG_PATTERN, pattern):
        return None
    return (
        f'"{safe_text(pattern, 60)}" is not a tag pattern: *, ?, and closed classes'
        " like [0-9] or [!a-z] among the characters of a tag"
    )
