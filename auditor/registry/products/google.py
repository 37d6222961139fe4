"""What Google's registries add to the list of tags.

Source: github.com/google/go-containerregistry, pkg/v1/google (list.go). `manifest`
maps each digest to its tags and what else is known of it, so that one request says
what a whole repository holds; `child` names the repositories below this one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from auditor.oci.reference import is_digest, is_repository
from auditor.registry.listing.paging import ListedTag
from auditor.registry.products import api

_MILLISECONDS = 1000


def listed_tags(names: Iterable[str], document: dict[str, Any]) -> list[ListedTag]:
    """The tags of these names, with what a `manifest` map says of them, if any.

    A tag to which the map gives two digests has none.
    """
    manifests = document.get("manifest")
    if not isinstance(manifests, dict):
        return [ListedTag(name) for name in names]
    known: dict[str, ListedTag] = {}
    for digest, manifest in manifests.items():
        tags = manifest.get("tag") if isinstance(manifest, dict) else None
        if not is_digest(digest) or not isinstance(tags, list):
            continue
        for tag in tags:
            if isinstance(tag, str):
                known[tag] = (
                    ListedTag(tag) if tag in known else _listed(tag, digest, manifest)
                )
    return [known.get(name) or ListedTag(name) for name in names]


def has_tags(document: dict[str, Any]) -> bool:
    """Whether the list is that of a repository with something to pull by a tag."""
    return bool(document.get("tags"))


def children(document: dict[str, Any], name: str) -> tuple[list[str], int]:
    """The whole names of the repositories right below, and how many are none."""
    found = document.get("child")
    entries = found if isinstance(found, list) else []
    names = [
        whole
        for entry in entries
        if isinstance(entry, str) and is_repository(whole := f"{name}/{entry}")
    ]
    return names, sum(entry is not None for entry in entries) - len(names)


def _listed(tag: str, digest: str, manifest: dict[str, Any]) -> ListedTag:
    return ListedTag(
        tag,
        digest=digest,
        media_type=api.text(manifest, "mediaType"),
        size=_number(manifest, "imageSizeBytes"),
        created=api.moment_of_epoch(_seconds(manifest, "timeCreatedMs")),
        pushed=api.moment_of_epoch(_seconds(manifest, "timeUploadedMs")),
    )


def _number(manifest: dict[str, Any], key: str) -> int | None:
    """A number, which Google writes as a text."""
    value = api.text(manifest, key)
    if value is None:
        return api.whole(manifest, key)
    return api.number_in(value)


def _seconds(manifest: dict[str, Any], key: str) -> float | None:
    number = _number(manifest, key)
    return None if number is None else number / _MILLISECONDS
