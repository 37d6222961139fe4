"""References: which image of which registry (github.com/distribution/reference).

    [docker://] [host[:port]/] repository [:tag] [@digest]

and selectors, which may stand for many of them:

    [docker://] [host[:port]/] repository :tag-pattern
    [docker://] host[:port]/ path-pattern :tag-pattern

`alpine` means `docker.io/library/alpine:latest`. The first component is a host if it
holds a dot or a colon or is `localhost`. Whatever is let through here goes into URLs
as it stands: no component can be `..`, and nothing needs percent-encoding.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatchcase

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci import reference_grammar as grammar
from auditor.oci.reference_errors import CREDENTIALS, explain_invalid_reference
from auditor.oci.reference_grammar import ANY_DEPTH, RepositoryPattern, is_glob
from auditor.util.lazy_regex import LazyPattern
from auditor.util.masking import mask_userinfo
from auditor.util.text import safe_text

DOCKER_HUB = "docker.io"
# Names under which people know Docker Hub. Its images have one name here.
_DOCKER_HUB_NAMES = frozenset(
    {
        DOCKER_HUB,
        "index.docker.io",
        "registry-1.docker.io",
        "registry.hub.docker.com",
    }
)
_DOCKER_HUB_API = "registry-1.docker.io"

_NAME = (
    r"(?:docker://)?"
    rf"(?:(?P<host>(?=[^/]*[.:]|(?i:localhost)/){grammar.DOMAIN})/"
    r"|(?![^/]*[.:][^/]*/|localhost/))"
    rf"(?P<path>{grammar.PATH})"
)
_REFERENCE = re.compile(
    rf"{_NAME}(?::(?P<tag>{grammar.TAG}))?(?:@(?P<digest>{grammar.DIGEST}))?"
)
_PATTERN = LazyPattern(rf"{_NAME}:(?P<pattern>{grammar.TAG_PATTERN})")
# A registry is named before repositories are chosen from it: nobody should list
# Docker Hub because a host was forgotten.
_PATH_PATTERN = LazyPattern(
    rf"(?:docker://)?(?P<host>(?=[^/]*[.:]|(?i:localhost)/){grammar.DOMAIN})/"
    rf"(?P<path>{grammar.PATH_PATTERN}):(?P<pattern>{grammar.TAG_PATTERN})"
)
_PATH = LazyPattern(grammar.PATH)
_TAG = re.compile(grammar.TAG)
_PORT = LazyPattern(grammar.PORT)
_digest = re.compile(grammar.DIGEST).fullmatch
# `docker.io/library/<64 hex>` would be an image ID; the grammar's home refuses it too.
_IMAGE_ID = LazyPattern(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One image by tag, by digest, or both (then the digest decides).

    `str` gives the canonical text, which parses to an equal value.
    """

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def manifest_reference(self) -> str:
        """What stands in the manifest's URL: the digest if there is one."""
        reference = self.digest or self.tag
        assert reference is not None, "a reference has a tag or a digest"
        return reference

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TagPattern:
    """The tags of a repository that match a pattern: `*`, `?`, `[0-9]`, `[!a]`."""

    registry: str
    repository: str
    pattern: str

    def matches(self, tag: str) -> bool:
        """Whether the whole tag matches. Case counts."""
        return fnmatchcase(tag, self.pattern)

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}:{self.pattern}"


Selector = Reference | TagPattern | RepositoryPattern


def parse_reference(text: str) -> Reference:
    """One reference, or `ProtocolError(INVALID_REFERENCE)` that says what is wrong."""
    reference = _reference(text)
    if reference is None:
        raise _invalid(text)
    return reference


def parse_selector(text: str) -> Selector:
    """A reference or a pattern; errors as `parse_reference`."""
    selector = _reference(text) or _pattern(text) or _repository_pattern(text)
    if selector is None:
        raise _invalid(text)
    return selector


def mirror_reference(reference: Reference, mirror: str) -> Reference:
    """The same image at a mirror, which is a registry or `host/namespace` in one.

    As in containers-registries.conf(5): what stands for the registry is replaced.
    """
    registry, slash, namespace = mirror.partition("/")
    return replace(
        reference,
        registry=registry,
        repository=f"{namespace}{slash}{reference.repository}",
    )


def likely_registry(reference: Reference) -> str | None:
    """The `host:port` that somebody may have named who got this image, or null.

    `localhost:5000` is an image of Docker Hub with a tag, as for docker; Docker's own
    images, which are named without a `/`, have no dots in their names.
    """
    name = reference.repository.removeprefix("library/")
    tag = reference.tag or ""
    is_meant = (
        reference.registry == DOCKER_HUB
        and reference.digest is None
        and name != reference.repository
        and "/" not in name
        and ("." in name or name == "localhost")
        and _PORT.fullmatch(tag)
        and int(tag) <= grammar.MAX_PORT
    )
    return f"{name}:{tag}" if is_meant else None


def api_host(registry: str) -> str:
    """The `host[:port]` that serves a registry's API: Docker Hub's differs."""
    return _DOCKER_HUB_API if registry == DOCKER_HUB else registry


def is_tag(text: str) -> bool:
    """Whether it is a tag (OCI distribution-spec, "Pulling manifests")."""
    return _TAG.fullmatch(text) is not None


def is_repository(text: str) -> bool:
    """Whether it is a repository's path (distribution/reference: `path`)."""
    return len(text) <= grammar.MAX_PATH_CHARS and _PATH.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether it is a sha256, sha384 or sha512 digest: `algorithm:lower-case hex`."""
    return _digest(text) is not None


def validate_digest(text: str) -> str:
    """The text, if it is a digest; else `ProtocolError(PROTOCOL_VIOLATION)`."""
    if not is_digest(text):
        raise ProtocolError(f'"{safe_text(text, 80)}" is not a digest')
    return text


def _reference(text: str) -> Reference | None:
    found = _REFERENCE.fullmatch(text)
    name = _name(found) if found else None
    if found is None or name is None:
        return None
    tag, digest = found["tag"], found["digest"]
    if tag is None and digest is None:
        tag = "latest"
    return Reference(registry=name[0], repository=name[1], tag=tag, digest=digest)


def _pattern(text: str) -> TagPattern | None:
    found = _PATTERN.fullmatch(text)
    name = _name(found) if found else None
    if found is None or name is None:
        return None
    pattern = found["pattern"]
    if not is_glob(pattern) or len(pattern) > grammar.MAX_PATTERN_CHARS:
        return None
    return TagPattern(registry=name[0], repository=name[1], pattern=pattern)


def _repository_pattern(text: str) -> RepositoryPattern | None:
    found = _PATH_PATTERN.fullmatch(text)
    if found is None or not is_glob(found["path"]):
        return None
    registry = _registry(found["host"])
    path, pattern = found["path"], found["pattern"]
    if (
        registry is None
        or len(path) > grammar.MAX_PATH_PATTERN_CHARS
        or len(pattern) > grammar.MAX_PATTERN_CHARS
        or not (is_glob(pattern) or is_tag(pattern))
    ):
        return None
    if path == "*":
        # Everything: names have one component on some products and several on
        # others, and nobody who writes this means only the short ones.
        path = ANY_DEPTH
    elif registry == DOCKER_HUB and "/" not in path and path != ANY_DEPTH:
        path = f"library/{path}"
    return RepositoryPattern(registry=registry, repository=path, pattern=pattern)


def _name(found: re.Match[str]) -> tuple[str, str] | None:
    """Registry and repository, or None where a limit of the grammar is exceeded."""
    host, path = found["host"], found["path"]
    if host is None:
        registry = DOCKER_HUB
        if _IMAGE_ID.fullmatch(path):
            return None
    elif (named := _registry(host)) is not None:
        registry = named
    else:
        return None
    if registry == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return None if len(path) > grammar.MAX_PATH_CHARS else (registry, path)


def _registry(host: str) -> str | None:
    """The registry's canonical name, or None where a limit is exceeded."""
    registry = host.lower()
    if registry in _DOCKER_HUB_NAMES:
        return DOCKER_HUB
    return registry if _is_reachable(registry) else None


def _is_reachable(registry: str) -> bool:
    host, port = grammar.split_port(registry)
    if port is not None and int(port) > grammar.MAX_PORT:
        return False
    if host.startswith("["):
        return grammar.is_ipv6(host)
    return len(host) <= grammar.MAX_HOST_CHARS


def _invalid(text: str) -> ProtocolError:
    shown = mask_userinfo(text)
    # Its parts are not quoted either where they are a password's.
    mistake = explain_invalid_reference(text) if shown == text else CREDENTIALS
    return ProtocolError(
        f'"{safe_text(shown, 100)}" is not a reference: {mistake}',
        FailureKind.INVALID_REFERENCE,
    )


# -- registry_name --
# The name under which a registry is known: that of `Reference.registry`.


def parse_registry(host: str) -> str:
    """Canonical form of `host[:port]`: `index.docker.io` is `docker.io`.

    `ProtocolError(INVALID_REFERENCE)` says why it is no registry. As in references
    (github.com/distribution/reference), a host has a dot or a port, or is
    `localhost`: anything else is the first part of a repository's name.
    """
    if "/" in host:
        raise _registry_name_invalid(
            host, "a registry is named by its host or host:port alone"
        )
    try:
        found = parse_reference(f"{host}/a")
    except ProtocolError:
        raise _registry_name_invalid(host, "it is not a host or host:port") from None
    if found.repository not in ("a", "library/a"):
        raise _registry_name_invalid(host, "it has neither a dot nor a port")
    return found.registry


def _registry_name_invalid(host: str, why: str) -> ProtocolError:
    return ProtocolError(
        f'"{safe_text(host, 80)}" is not the name of a registry: {why}',
        FailureKind.INVALID_REFERENCE,
    )


def parse_namespace(text: str) -> str:
    """Canonical form of `host[:port]/namespace`, a part of a registry.

    The namespace may be a whole repository's name. `ProtocolError(INVALID_REFERENCE)`
    says why it is none.
    """
    host, _, namespace = text.partition("/")
    registry = parse_registry(host)
    try:
        # As the beginning of a longer name: "docker.io/team" alone is a repository of
        # "library".
        found = parse_reference(f"{host}/{namespace}/a")
    except ProtocolError:
        found = None
    if found is None or found.repository != f"{namespace}/a":
        raise ProtocolError(
            f'"{safe_text(text, 80)}" is not a part of a registry: after the host'
            " stands the beginning of a repository's name",
            FailureKind.INVALID_REFERENCE,
        )
    return f"{registry}/{namespace}"
