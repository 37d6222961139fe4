"""Which manifest a registry answers, given what the client accepts.

As distribution 2.8 decides it (`registry/handlers/manifests.go`). It converts a
Docker manifest to schema 1 for a client that accepts nothing newer, where it has the
layers; there are none here, and what it answers then is MANIFEST_INVALID.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from auditor.fast_dataclass import dataclass
from auditor.sandbox.built import BuiltManifest, Family
from auditor.sandbox.content import Repository


@dataclass(frozen=True, slots=True)
class Refusal:
    """A manifest that is there, but not for this client."""

    status: int
    code: str
    message: str


_NO_OCI_MANIFESTS = Refusal(
    404,
    "MANIFEST_UNKNOWN",
    "OCI manifest found, but accept header does not support OCI manifests",
)
_NO_OCI_INDEXES = Refusal(
    404,
    "MANIFEST_UNKNOWN",
    "OCI index found, but accept header does not support OCI indexes",
)
_NO_CHILD = Refusal(404, "MANIFEST_UNKNOWN", "manifest unknown")
_NOT_CONVERTED = Refusal(400, "MANIFEST_INVALID", "manifest invalid")


def accepted_types(accept: Iterable[str]) -> set[str]:
    """The media types of all `Accept` lines, without parameters (RFC 9110 12.5.1)."""
    return {
        item.partition(";")[0].strip().lower()
        for line in accept
        for item in line.split(",")
    }


def negotiate(
    repository: Repository, found: BuiltManifest, *, accepts: set[str], by_tag: bool
) -> BuiltManifest | Refusal:
    """The manifest to answer.

    OCI types must be accepted. Docker types are rewritten, for tags only: a list
    becomes its linux/amd64 child.
    """
    if found.media_type in accepts:
        return found
    if found.media_type == Family.OCI.manifest:
        return _NO_OCI_MANIFESTS
    if found.media_type == Family.OCI.index:
        return _NO_OCI_INDEXES
    if not by_tag:
        return found
    if found.media_type == Family.DOCKER.manifest:
        return _NOT_CONVERTED
    if found.media_type != Family.DOCKER.index:
        return found
    child = _default_child(repository, found)
    # Distribution does not ask whether the client accepts an OCI child.
    if child is None or child.media_type != Family.DOCKER.manifest:
        return child or _NO_CHILD
    return child if child.media_type in accepts else _NOT_CONVERTED


def _default_child(
    repository: Repository, manifest_list: BuiltManifest
) -> BuiltManifest | None:
    """The linux/amd64 entry of a Docker manifest list, if the registry has it."""
    for entry in orjson.loads(manifest_list.raw)["manifests"]:
        platform = entry.get("platform", {})
        if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
            return repository.manifests.get(entry["digest"])
    return None
