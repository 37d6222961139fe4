"""Media types of manifests and configs, and the Accept header of manifest requests.

Sources: OCI image-spec (media-types.md), distribution's specifications of manifest v2
schema 1 and schema 2.
"""

from __future__ import annotations

import functools

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


@functools.lru_cache(maxsize=256)  # few are in use; a hostile registry can send many
def essence(content_type: str | None) -> str | None:
    """`type/subtype` in lower case without parameters (RFC 9110 section 8.3.1)."""
    if not content_type:
        return None
    return content_type.partition(";")[0].strip().lower() or None
