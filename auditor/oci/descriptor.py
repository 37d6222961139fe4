"""Descriptors: what a manifest says of its layers, its config or its children.

Source: OCI image-spec v1.1 (descriptor.md, image-index.md for the platform).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.encoding import check_key_case
from auditor.oci.platform import Platform
from auditor.oci.reference import is_digest

MAX_SIZE = 2**63 - 1  # descriptor.md: size is an int64
# Docker's builder adds these annotations to the attestation manifests of an index.
REFERENCE_TYPE = "vnd.docker.reference.type"
REFERENCE_DIGEST = "vnd.docker.reference.digest"

_PLATFORM_KEYS = frozenset({"os", "architecture", "variant", "os.version"})
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A descriptor. `size` is bytes; `platform` is null where none is given."""

    media_type: str | None
    digest: str
    size: int
    platform: Platform | None
    annotations: Mapping[str, str]
    artifact_type: str | None
    has_urls: bool

    @property
    def attests(self) -> str | None:
        """The digest that this attestation manifest is about, if it is one."""
        if self.annotations.get(REFERENCE_TYPE) == "attestation-manifest":
            return self.annotations.get(REFERENCE_DIGEST, "")
        return None


def descriptors_of(values: list[Any], where: str) -> tuple[Descriptor, ...]:
    """The descriptors in a manifest's list of that name, or `ProtocolError`."""
    return tuple(
        [
            _usual(value) or _any(value, f"{where}[{number}]")
            for number, value in enumerate(values)
        ]
    )


def descriptor_of(value: object, where: str) -> Descriptor:
    """The descriptor that stands `where` in a manifest, or `ProtocolError`."""
    return _usual(value) or _any(value, where)


def annotations_of(value: object) -> Mapping[str, str]:
    """Annotations: texts by name. What is something else is left out."""
    if not isinstance(value, dict):
        return _NOTHING
    return {key: text for key, text in value.items() if isinstance(text, str)}


def text_of(value: object) -> str | None:
    """A text that says something."""
    return value if isinstance(value, str) and value else None


def _usual(value: object) -> Descriptor | None:
    """What `_any` gives for the three required fields, with a platform or without,
    and nothing else; null for anything that needs a closer look.

    Nearly every descriptor is such a one, and a third of an audit's own work was in
    the other's checks: see docs/development/performance.md.
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
        or not media_type
        or not is_digest(digest)
    ):
        return None
    fields = len(value)
    if fields == 3:
        return Descriptor(media_type, digest, size, None, _NOTHING, None, False)
    described = value.get("platform") if fields == 4 else None
    if type(described) is not dict or not _PLATFORM_KEYS.issuperset(described):
        return None
    platform = _platform(described)
    return Descriptor(media_type, digest, size, platform, _NOTHING, None, False)


def _any(value: object, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ProtocolError(f"the manifest's {where} is not a descriptor")
    check_key_case((value,), f"manifest's {where}")
    digest = value.get("digest")
    if not isinstance(digest, str) or not is_digest(digest):
        raise ProtocolError(f"the manifest's {where} has no valid digest")
    size = value.get("size")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_SIZE:
        raise ProtocolError(f"the manifest's {where} has no valid size")
    platform = value.get("platform")
    if isinstance(platform, dict):
        check_key_case((platform,), f"manifest's {where}.platform")
    return Descriptor(
        media_type=text_of(value.get("mediaType")),
        digest=digest,
        size=size,
        platform=_platform(platform) if isinstance(platform, dict) else None,
        annotations=annotations_of(value.get("annotations")),
        artifact_type=text_of(value.get("artifactType")),
        has_urls=bool(value.get("urls")),
    )


def _platform(value: Mapping[str, Any]) -> Platform | None:
    os, architecture = text_of(value.get("os")), text_of(value.get("architecture"))
    if os is None or architecture is None:
        # Both are REQUIRED (image-index.md). Half a platform is none, so that the
        # child is looked at and not taken for something that is no image.
        return None
    return _platform_spec(
        os,
        architecture,
        text_of(value.get("variant")),
        text_of(value.get("os.version")),
    )


@functools.lru_cache(maxsize=256)  # there are some dozen
def _platform_spec(
    os: str, architecture: str, variant: str | None, os_version: str | None
) -> Platform:
    return Platform(
        os=os, architecture=architecture, variant=variant, os_version=os_version
    )


# -- digest --
# Digests over raw bytes (OCI image-spec, descriptor.md, "Digests").

# Those of `reference_grammar.HEX_CHARS`; `hashlib.new` looks the name up each time.
_HASHES = {
    "sha256": hashlib.sha256,
    "sha384": hashlib.sha384,
    "sha512": hashlib.sha512,
}


def sha256_digest(raw: bytes) -> str:
    """`sha256:<hex>` over the bytes."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def matches_digest(raw: bytes, digest: str) -> bool:
    """Whether the bytes have this digest (sha256, sha384 or sha512)."""
    algorithm, _, expected = digest.partition(":")
    return _HASHES[algorithm](raw).hexdigest() == expected


def check_digest(raw: bytes, digest: str, what: str) -> None:
    """Raise `ProtocolError(DIGEST_MISMATCH)` unless the bytes have this digest."""
    if not matches_digest(raw, digest):
        algorithm = digest.partition(":")[0]
        found = f"{algorithm}:{_HASHES[algorithm](raw).hexdigest()}"
        raise ProtocolError(
            f"the {what} {digest} was answered with content whose digest is {found}",
            FailureKind.DIGEST_MISMATCH,
        )


# -- media_types --
# Media types of manifests, configs and layers.
#
# Sources: OCI image-spec (media-types.md), distribution manifest v2 schema 1 and
# schema 2 specifications.

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
# What stands for DOCKER_CONFIG in manifests v2 of registries that lost the type, and
# what docker takes for it (distribution issue 1621, moby issues 22378 and 30083).
DEFAULTED_CONFIG_TYPES = frozenset(
    {"application/octet-stream", "application/json", "text/html"}
)

# All six, always, on GET and HEAD: a registry that is not told of lists answers
# with one platform's manifest and that child's digest. No q-values: some registries
# misread them.
ACCEPT_MANIFESTS = ", ".join(
    (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, SIGNED_SCHEMA1, SCHEMA1)
)


@functools.lru_cache(maxsize=256)  # a registry has a handful; a hostile one, many
def essence(content_type: str | None) -> str | None:
    """`type/subtype` in lower case without parameters (RFC 9110 section 8.3.1)."""
    if not content_type:
        return None
    return content_type.partition(";")[0].strip().lower() or None
