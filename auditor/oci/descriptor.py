"""Descriptors, which refer from a manifest to layers, config or children.

A descriptor has a media type, a digest, a size and, in an index, a platform. This file
has the media types with the Accept header of manifest requests, and the digests.

Sources: OCI image-spec v1.1 (descriptor.md, image-index.md, media-types.md),
distribution's specifications of manifest v2 schema 1 and schema 2.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.platform import Platform
from auditor.oci.reference_grammar import ANY_DIGEST, DIGEST, MAX_DIGEST_CHARS
from auditor.oci.strict_json import MAX_NAME_CHARS, check_key_case, name_or_none

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
SIGNED_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
IMAGE_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
SCHEMA1_TYPES = frozenset({SCHEMA1, SIGNED_SCHEMA1})
MANIFEST_TYPES = INDEX_TYPES | IMAGE_TYPES | SCHEMA1_TYPES
IMAGE_CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})
# In Docker manifests of registries that lost the config's media type; docker treats
# them as DOCKER_CONFIG (distribution issue 1621, moby issues 22378 and 30083).
DEFAULTED_CONFIG_TYPES = frozenset(
    {"application/octet-stream", "application/json", "text/html"}
)

# All six, on GET and HEAD: if indexes are not accepted, a registry returns the manifest
# of one platform with that child's digest. No q-values: some registries misread them.
ACCEPT_MANIFESTS = ", ".join(
    (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, SIGNED_SCHEMA1, SCHEMA1)
)

# The algorithms of `reference_grammar.HEX_CHARS`. `hashlib.new` is slower: it looks the
# name up each time.
_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
_fullmatch = re.compile(DIGEST).fullmatch
_fullmatch_any = re.compile(ANY_DIGEST).fullmatch
MAX_SIZE = 2**63 - 1  # descriptor.md: size is an int64
# Annotations that Docker's builder sets on children of an index that are about another
# child, such as its attestation.
REFERENCE_TYPE = "vnd.docker.reference.type"
REFERENCE_DIGEST = "vnd.docker.reference.digest"

_PLATFORM_KEYS = frozenset({"os", "architecture", "variant", "os.version"})
_NO_ANNOTATIONS: Mapping[str, str] = MappingProxyType({})


@functools.lru_cache(maxsize=256)  # few are in use; a hostile registry can send many
def essence(content_type: str | None) -> str | None:
    """`type/subtype` in lower case without parameters (RFC 9110 section 8.3.1)."""
    if not content_type:
        return None
    return content_type.partition(";")[0].strip().lower() or None


def is_digest(text: str) -> bool:
    """Whether the text is `algorithm:hex`, with lower-case hex of the right length.

    The algorithm is one with which content can be verified.
    """
    return _fullmatch(text) is not None


def is_any_digest(text: str) -> bool:
    """Whether the text is a digest, also of an algorithm that is not supported."""
    return len(text) <= MAX_DIGEST_CHARS and _fullmatch_any(text) is not None


def sha256_digest(content: bytes) -> str:
    """`sha256:<hex>` of the content."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def matches_digest(content: bytes, digest: str) -> bool:
    """Whether the content has this digest."""
    algorithm, _, expected = digest.partition(":")
    return _HASHES[algorithm](content).hexdigest() == expected


def check_digest(content: bytes, digest: str, what: str) -> None:
    """Raise `ProtocolError(DIGEST_MISMATCH)` unless the content has this digest."""
    if not matches_digest(content, digest):
        algorithm = digest.partition(":")[0]
        actual = f"{algorithm}:{_HASHES[algorithm](content).hexdigest()}"
        raise ProtocolError(
            f"the registry returned different content for the {what} {digest}:"
            f" its digest is {actual}",
            FailureKind.DIGEST_MISMATCH,
        )


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A descriptor. `size` is in bytes; `platform` is None if it is missing.

    The digest can be of an algorithm that is not supported: see `is_verifiable`.
    """

    media_type: str | None
    digest: str
    size: int
    platform: Platform | None
    annotations: Mapping[str, str]
    artifact_type: str | None
    has_urls: bool

    @property
    def reference_type(self) -> str | None:
        """What the index says this is of another child; None if it is no reference.

        BuildKit attestation-storage.md: what is neither an image nor an attestation.
        """
        return self.annotations.get(REFERENCE_TYPE) or None

    @property
    def is_attestation(self) -> bool:
        """Whether the index says that this is an attestation of another child."""
        return self.reference_type == "attestation-manifest"

    @property
    def reference_digest(self) -> str | None:
        """The digest of the child that the index says this is about, in any role."""
        if self.reference_type is None:
            return None
        return self.annotations.get(REFERENCE_DIGEST) or None

    @property
    def is_verifiable(self) -> bool:
        """Whether content can be verified with the digest; otherwise it is not read."""
        return self.digest.partition(":")[0] in _HASHES


def parse_descriptors(values: list[Any], where: str) -> tuple[Descriptor, ...]:
    """Parse the descriptors in a list of a manifest. Raises `ProtocolError`.

    `where` is the name of the list, for messages.
    """
    return tuple(
        [
            _parse_plain(value) or _parse(value, f"{where}[{index}]")
            for index, value in enumerate(values)
        ]
    )


def parse_descriptor(value: object, where: str) -> Descriptor:
    """Parse the descriptor at `where` in a manifest. Raises `ProtocolError`."""
    return _parse_plain(value) or _parse(value, where)


def parse_annotations(value: object) -> Mapping[str, str]:
    """Annotations by name; values that are not strings are left out."""
    if not isinstance(value, dict):
        return _NO_ANNOTATIONS
    return {key: text for key, text in value.items() if isinstance(text, str)}


def _parse_plain(value: object) -> Descriptor | None:
    """Fast path: the three required fields, with or without a platform.

    Returns None for everything else. Nearly all descriptors are like this, and the
    checks of `_parse` were a third of an audit's CPU time
    (docs/development/performance.md).
    """
    if type(value) is not dict:
        return None
    try:
        media_type, digest, size = value["mediaType"], value["digest"], value["size"]
    except KeyError:
        return None
    if (
        type(media_type) is not str
        or type(size) is not int
        or not 0 <= size <= MAX_SIZE
        or type(digest) is not str
        or not 0 < len(media_type) <= MAX_NAME_CHARS
        or not is_digest(digest)
    ):
        return None
    fields = len(value)
    if fields == 3:
        return Descriptor(media_type, digest, size, None, _NO_ANNOTATIONS, None, False)
    platform = value.get("platform") if fields == 4 else None
    if type(platform) is not dict or not _PLATFORM_KEYS.issuperset(platform):
        return None
    return Descriptor(
        media_type, digest, size, _platform(platform), _NO_ANNOTATIONS, None, False
    )


def _parse(value: object, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ProtocolError(f"the manifest's {where} is not a descriptor")
    check_key_case((value,), f"manifest's {where}")
    digest = value.get("digest")
    if not isinstance(digest, str) or not is_any_digest(digest):
        raise ProtocolError(f"the manifest's {where} has no valid digest")
    size = value.get("size")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_SIZE:
        raise ProtocolError(f"the manifest's {where} has no valid size")
    platform = value.get("platform")
    if isinstance(platform, dict):
        check_key_case((platform,), f"manifest's {where}.platform")
    return Descriptor(
        media_type=name_or_none(value.get("mediaType")),
        digest=digest,
        size=size,
        platform=_platform(platform) if isinstance(platform, dict) else None,
        annotations=parse_annotations(value.get("annotations")),
        artifact_type=name_or_none(value.get("artifactType")),
        has_urls=bool(value.get("urls")),
    )


def _platform(value: Mapping[str, Any]) -> Platform | None:
    os = name_or_none(value.get("os"))
    architecture = name_or_none(value.get("architecture"))
    if os is None or architecture is None:
        # Both are REQUIRED (image-index.md). Without one of them the child is fetched
        # to find out what it is.
        return None
    return _shared_platform(
        os,
        architecture,
        name_or_none(value.get("variant")),
        name_or_none(value.get("os.version")),
    )


@functools.lru_cache(maxsize=256)  # a few dozen are in use
def _shared_platform(
    os: str, architecture: str, variant: str | None, os_version: str | None
) -> Platform:
    return Platform(
        os=os, architecture=architecture, variant=variant, os_version=os_version
    )
