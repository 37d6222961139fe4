"""References to images, and patterns that select many of them.

    reference := [docker://] [host[:port]/] repository [:tag] [@digest]
               | store:path [:name | @digest]
    pattern   := [docker://] [host[:port]/] repository :tag-pattern
               | [docker://] host[:port]/ path-pattern :tag-pattern
               | store:path :name-pattern
    store     := oci | oci-archive | docker-archive

A store is a folder or file (containers-transports(5)): its kind is the `registry`, its
path the `repository`, and the name in it, which may have slashes and colons, the `tag`.
The grammar is that of github.com/distribution/reference: `alpine` means
`docker.io/library/alpine:latest`, and the first component is a host if it contains a
dot or a colon or is `localhost`. Such a component alone, which would be an image of
Docker Hub, is refused: a registry is meant, and its name must not be sent there.
Accepted text is safe in URLs: no component can be `..`, and nothing needs
percent-encoding.

In patterns `*`, `?`, `[0-9]` and `[!a]` match as in a shell. In a path-pattern they
stay within one component, and `**` is any number of components. As in gitignore(5),
`**` at the start and in the middle may match nothing, and at the end it matches
everything below: `team/**` matches `team/app` but not `team`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from fnmatch import fnmatchcase

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci import reference_grammar as grammar
from auditor.oci.descriptor import is_digest
from auditor.oci.reference_grammar import (
    CREDENTIALS,
    explain_invalid_reference,
    is_glob,
)
from auditor.util.lazy_regex import LazyPattern
from auditor.util.secret import mask_userinfo
from auditor.util.text import safe_text

DOCKER_HUB = "docker.io"
# Other names of Docker Hub, which all become DOCKER_HUB.
_DOCKER_HUB_API = "registry-1.docker.io"
_DOCKER_HUB_NAMES = frozenset(
    {DOCKER_HUB, _DOCKER_HUB_API, "index.docker.io", "registry.hub.docker.com"}
)
ANY_DEPTH = "**"


class StoreKind(StrEnum):
    """The kinds of stores on disk, which stand for a registry in references.

    None of them can be a registry: a host has a dot or a port, or is `localhost`.
    """

    OCI = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"


_STORES = frozenset(map(str, StoreKind))

_NAME = (
    rf"(?:{grammar.SCHEME})?"
    rf"(?:{grammar.BEGINS_WITH_HOST}(?P<host>{grammar.DOMAIN})/"
    rf"|{grammar.BEGINS_WITHOUT_HOST})"
    rf"(?P<path>{grammar.PATH})"
)
_REFERENCE = re.compile(
    rf"{_NAME}(?::(?P<tag>{grammar.TAG}))?(?:@(?P<digest>{grammar.DIGEST}))?"
)
_TAG_PATTERN = LazyPattern(rf"{_NAME}:(?P<pattern>{grammar.TAG_PATTERN})")
# The host is required: a forgotten host must not list all of Docker Hub.
_REPOSITORY_PATTERN = LazyPattern(
    rf"(?:{grammar.SCHEME})?"
    rf"{grammar.BEGINS_WITH_HOST}(?P<host>{grammar.DOMAIN})/"
    rf"(?P<path>{grammar.PATH_PATTERN}):(?P<pattern>{grammar.TAG_PATTERN})"
)
# Visible characters; what follows the first colon is a name.
_STORE = LazyPattern(
    rf"(?P<path>[^\s:\x00-\x1f\x7f]+?)"
    rf"(?:@(?P<digest>{grammar.DIGEST})|:(?P<name>[!-~]+))?"
)
_PATH = LazyPattern(grammar.PATH)
_TAG = re.compile(grammar.TAG)
# An image ID, which distribution/reference refuses as a repository, too.
_IMAGE_ID = LazyPattern(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One image by tag, by digest, or both; then the digest decides.

    `str` returns the canonical text, which parses to an equal value. A reference to a
    store may have neither: it means the only image in it.
    """

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def manifest_reference(self) -> str:
        """The last part of the manifest's URL: the digest if there is one."""
        reference = self.digest or self.tag
        assert reference is not None or self.is_store, "it has a tag or a digest"
        return reference or ""

    @property
    def is_store(self) -> bool:
        """Whether it names a store on disk."""
        return self.registry in _STORES

    @property
    def host(self) -> str:
        """What is asked for the image: the registry, or the store `oci:PATH`."""
        return f"{self.registry}:{self.repository}" if self.is_store else self.registry

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        separator = ":" if self.registry in _STORES else "/"
        return f"{self.registry}{separator}{self.repository}{tag}{digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TagPattern:
    """The tags of one repository that match a pattern."""

    registry: str
    repository: str
    pattern: str

    def matches(self, tag: str) -> bool:
        """Whether the whole tag matches; case-sensitive."""
        return fnmatchcase(tag, self.pattern)

    @property
    def is_store(self) -> bool:
        """Whether it names a store on disk."""
        return self.registry in _STORES

    def reference(self, name: str) -> Reference:
        """The reference of a listed tag; in a store it may be a digest."""
        if self.is_store and is_digest(name):
            return self.by_digest(name)
        return Reference(
            registry=self.registry, repository=self.repository, tag=name, digest=None
        )

    def by_digest(self, digest: str) -> Reference:
        """The reference of a manifest of this repository."""
        return Reference(
            registry=self.registry, repository=self.repository, tag=None, digest=digest
        )

    def __str__(self) -> str:
        separator = ":" if self.is_store else "/"
        return f"{self.registry}{separator}{self.repository}:{self.pattern}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPattern:
    """The tags that match `pattern` in the repositories that match `repository`."""

    registry: str
    repository: str
    pattern: str

    def matches_repository(self, repository: str) -> bool:
        """Whether the whole path matches; case-sensitive."""
        return path_matches(self.repository, repository)

    @property
    def below(self) -> str | None:
        """The longest path that is a prefix of every match, or None."""
        parts = self.repository.split("/")
        literal = 0
        while literal < len(parts) - 1 and not is_glob(parts[literal]):
            literal += 1
        return "/".join(parts[:literal]) or None

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}:{self.pattern}"


Selector = Reference | TagPattern | RepositoryPattern


def parse_reference(text: str, *, stores: bool = False) -> Reference:
    """Parse a reference. Raises `ProtocolError(INVALID_REFERENCE)`, explaining why.

    `stores`: it may name a store on disk. Documents of others must not.
    """
    if stores and isinstance(store := _store(text), Reference):
        return store
    if (
        len(text) > grammar.MAX_REFERENCE_CHARS
        or (reference := _reference(text)) is None
    ):
        raise _invalid(text)
    return reference


def parse_selector(text: str) -> Selector:
    """Parse a reference or a pattern; raises like `parse_reference`."""
    if len(text) > grammar.MAX_REFERENCE_CHARS:
        raise _invalid(text)
    if (store := _store(text)) is not None:
        return store
    selector = _reference(text) or _tag_pattern(text) or _repository_pattern(text)
    if selector is None:
        raise _invalid(text)
    return selector


def parse_registry(host: str) -> str:
    """The canonical name of `host[:port]`: `index.docker.io` becomes `docker.io`.

    A host has a dot or a port, or is `localhost`; anything else would be the first
    component of a repository. Raises `ProtocolError(INVALID_REFERENCE)`.
    """
    if "/" in host:
        raise _invalid_registry(host, "expected host or host:port without a path")
    try:
        reference = parse_reference(f"{host}/a")
    except ProtocolError:
        raise _invalid_registry(host, "expected host or host:port") from None
    if reference.repository not in ("a", "library/a"):
        raise _invalid_registry(host, "it has neither a dot nor a port")
    return reference.registry


def parse_namespace(text: str) -> str:
    """The canonical name of `host[:port]/namespace`, the repositories below a path.

    The namespace can also be a repository. Raises `ProtocolError(INVALID_REFERENCE)`.
    """
    host, _, namespace = text.partition("/")
    registry = parse_registry(host)
    try:
        # With a component after it: "docker.io/team" alone means "library/team".
        reference = parse_reference(f"{host}/{namespace}/a")
    except ProtocolError:
        reference = None
    if reference is None or reference.repository != f"{namespace}/a":
        raise ProtocolError(
            f'"{safe_text(text, 80)}" is not a namespace of a registry:'
            " expected host/path of repositories",
            FailureKind.INVALID_REFERENCE,
        )
    return f"{registry}/{namespace}"


def mirror_reference(reference: Reference, mirror: str) -> Reference:
    """The same image at a mirror: a registry, or `host/namespace` in one.

    As in containers-registries.conf(5), the mirror replaces the registry.
    """
    registry, slash, namespace = mirror.partition("/")
    return replace(
        reference,
        registry=registry,
        repository=f"{namespace}{slash}{reference.repository}",
    )


def store_of(host: str) -> tuple[StoreKind, str] | None:
    """The kind and path of a `Reference.host`; None for a registry."""
    kind = grammar.transport_of(host)
    if kind is None or kind not in _STORES:
        return None
    return StoreKind(kind), host[len(kind) + 1 :]


def api_host(registry: str) -> str:
    """The `host[:port]` of a registry's API: Docker Hub's has another name."""
    return _DOCKER_HUB_API if registry == DOCKER_HUB else registry


def is_tag(text: str) -> bool:
    """Whether the text is a tag (OCI distribution-spec, "Pulling manifests")."""
    return _TAG.fullmatch(text) is not None


def is_repository(text: str) -> bool:
    """Whether the text is the path of a repository (distribution/reference: `path`)."""
    return len(text) <= grammar.MAX_PATH_CHARS and _PATH.fullmatch(text) is not None


def path_matches(path_pattern: str, repository: str) -> bool:
    """Whether a path-pattern matches a whole path."""
    parts = path_pattern.split("/")
    if parts[-1] == ANY_DEPTH:
        parts.append("*")
    return _components_match(parts, repository.split("/"))


def _components_match(parts: Sequence[str], components: Sequence[str]) -> bool:
    """Whether the components match; each part matches one, `**` any number.

    The last `**` first matches no component, then one more each time the rest does not
    match. Backtracking to an earlier `**` cannot help, so the time is at most the
    product of both lengths (the usual algorithm for `*` in strings).
    """
    part = component = 0
    retry: tuple[int, int] | None = None  # part and component after the last `**`
    while component < len(components):
        if part < len(parts) and parts[part] == ANY_DEPTH:
            part += 1
            retry = (part, component)
        elif part < len(parts) and fnmatchcase(components[component], parts[part]):
            part, component = part + 1, component + 1
        elif retry is not None:
            retry = (retry[0], retry[1] + 1)
            part, component = retry
        else:
            return False
    return all(rest == ANY_DEPTH for rest in parts[part:])


def _store(text: str) -> Reference | TagPattern | None:
    """A reference to a store, or a pattern of its names; None for anything else.

    As in skopeo, a path has no colon. A digest is written after an @.
    """
    kind = grammar.transport_of(text)
    if kind is None or kind not in _STORES:
        return None
    match = _STORE.fullmatch(text[len(kind) + 1 :])
    if match is None or is_digest(match["name"] or ""):
        return None
    path, name, digest = match["path"], match["name"], match["digest"]
    if name is not None and is_glob(name):
        return TagPattern(registry=kind, repository=path, pattern=name)
    return Reference(registry=kind, repository=path, tag=name, digest=digest)


def _reference(text: str) -> Reference | None:
    if grammar.transport_of(text) is not None:
        return None
    if (match := _REFERENCE.fullmatch(text)) is None or (name := _name(match)) is None:
        return None
    tag, digest = match["tag"], match["digest"]
    if tag is None and digest is None:
        tag = "latest"
    return Reference(registry=name[0], repository=name[1], tag=tag, digest=digest)


def _tag_pattern(text: str) -> TagPattern | None:
    if grammar.transport_of(text) is not None:
        return None
    if (match := _TAG_PATTERN.fullmatch(text)) is None or (
        name := _name(match)
    ) is None:
        return None
    pattern = match["pattern"]
    if not is_glob(pattern) or len(pattern) > grammar.MAX_PATTERN_CHARS:
        return None
    return TagPattern(registry=name[0], repository=name[1], pattern=pattern)


def _repository_pattern(text: str) -> RepositoryPattern | None:
    match = _REPOSITORY_PATTERN.fullmatch(text)
    if match is None or not is_glob(match["path"]):
        return None
    registry = _registry(match["host"])
    path, pattern = match["path"], match["pattern"]
    if (
        registry is None
        or len(path) > grammar.MAX_PATH_PATTERN_CHARS
        or len(pattern) > grammar.MAX_PATTERN_CHARS
        or not (is_glob(pattern) or is_tag(pattern))
    ):
        return None
    if path == "*":
        # All repositories. Whether their names have one component or several depends
        # on the product, and a user who writes this does not mean only the short ones.
        path = ANY_DEPTH
    elif registry == DOCKER_HUB and "/" not in path and path != ANY_DEPTH:
        path = f"library/{path}"
    return RepositoryPattern(registry=registry, repository=path, pattern=pattern)


def _name(match: re.Match[str]) -> tuple[str, str] | None:
    """Registry and repository, or None if a limit of the grammar is exceeded."""
    host, path = match["host"], match["path"]
    if host is None:
        if _IMAGE_ID.fullmatch(path):
            return None
        tag = match.groupdict().get("tag")
        if "/" not in path and (
            grammar.is_image_id(path, tag) or grammar.bare_host(path, tag)
        ):
            return None
    registry = DOCKER_HUB if host is None else _registry(host)
    if registry is None:
        return None
    if registry == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return None if len(path) > grammar.MAX_PATH_CHARS else (registry, path)


def _registry(host: str) -> str | None:
    """The registry's canonical name, or None if a limit is exceeded."""
    registry = host.lower()
    if registry in _DOCKER_HUB_NAMES:
        return DOCKER_HUB
    name, port = grammar.split_port(registry)
    if port is not None and int(port) > grammar.MAX_PORT:
        return None
    is_ipv6 = name.startswith("[") and grammar.is_ipv6(name)
    is_name = not name.startswith("[") and len(name) <= grammar.MAX_HOST_CHARS
    return registry if is_ipv6 or is_name else None


def _invalid(text: str) -> ProtocolError:
    masked = mask_userinfo(text)
    # The explanation quotes parts of the text, which may be those of a password.
    reason = explain_invalid_reference(text) if masked == text else CREDENTIALS
    return ProtocolError(
        f'"{safe_text(masked, 100)}" is not a reference: {reason}',
        FailureKind.INVALID_REFERENCE,
    )


def _invalid_registry(host: str, reason: str) -> ProtocolError:
    return ProtocolError(
        f'"{safe_text(host, 80)}" is not the name of a registry: {reason}',
        FailureKind.INVALID_REFERENCE,
    )
