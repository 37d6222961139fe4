"""Google's registries: gcr.io and Artifact Registry.

Their listing of tags has two more fields. `manifest` maps each digest to its tags,
size and times; `child` names the repositories one level below, which replaces a
catalog.

Source: github.com/google/go-containerregistry, pkg/v1/google (list.go).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Any, Protocol

from auditor.errors import Failure, Stage
from auditor.oci.digest import is_digest
from auditor.oci.reference import is_repository
from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import (
    MAX_PAGES,
    ListedTag,
    Lister,
    Page,
    incomplete,
)

_MILLISECONDS = 1000


class _TagsLister(Lister, Protocol):
    async def tags_document(self, repository: str) -> dict[str, Any] | Failure: ...


class GoogleLister:
    """Walks down from a prefix by `child`; without a prefix the catalog is listed."""

    def __init__(self, registry: _TagsLister) -> None:
        self._registry = registry

    def tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The tags of a repository, with their digests."""
        return self._registry.tags(repository)

    async def repositories(
        self, prefix: str | None
    ) -> AsyncIterator[Page[str] | Failure]:
        """One page for each path at and below the prefix, in breadth-first order."""
        if prefix is None:
            async for page in self._registry.repositories(None):
                yield page
            return
        waiting = deque([prefix])
        number = 0
        failed = False
        while waiting:
            name = waiting.popleft()
            number += 1
            document = await self._registry.tags_document(name)
            if isinstance(document, Failure):
                if number == 1:
                    yield document.at(Stage.LIST)
                    return
                failed = True
                yield incomplete(f"repositories below {name}: {document.detail}")
                continue
            found, unreadable = children(document, name)
            waiting += found
            if number + len(waiting) > MAX_PAGES:
                yield incomplete(f"repositories below {prefix}: more than {MAX_PAGES}")
                return
            yield Page(
                entries=(name,) if has_tags(document) else (),
                number=number,
                last=not waiting and not failed,
                unreadable=unreadable,
            )


def parse_tags(names: Iterable[str], document: dict[str, Any]) -> list[ListedTag]:
    """The tags of these names, with the fields that the `manifest` map adds.

    A tag that the map gives to two manifests gets no digest.
    """
    manifests = document.get("manifest")
    if not isinstance(manifests, dict):
        return [ListedTag(name) for name in names]
    listed: dict[str, ListedTag] = {}
    for digest, manifest in manifests.items():
        tags = manifest.get("tag") if isinstance(manifest, dict) else None
        if not is_digest(digest) or not isinstance(tags, list):
            continue
        for tag in tags:
            if isinstance(tag, str):
                listed[tag] = (
                    ListedTag(tag) if tag in listed else _tag(tag, digest, manifest)
                )
    return [listed.get(name) or ListedTag(name) for name in names]


def has_tags(document: dict[str, Any]) -> bool:
    """Whether the path is a repository with tags."""
    return bool(document.get("tags"))


def children(document: dict[str, Any], name: str) -> tuple[list[str], int]:
    """The full names of the paths one level below, and the number of invalid ones."""
    child = document.get("child")
    entries = child if isinstance(child, list) else []
    names = [
        path
        for entry in entries
        if isinstance(entry, str) and is_repository(path := f"{name}/{entry}")
    ]
    return names, sum(entry is not None for entry in entries) - len(names)


def _tag(name: str, digest: str, manifest: dict[str, Any]) -> ListedTag:
    return ListedTag(
        name,
        digest=digest,
        media_type=fields.text(manifest, "mediaType"),
        size=_number(manifest, "imageSizeBytes"),
        created=fields.time_from_epoch(_seconds(manifest, "timeCreatedMs")),
        pushed=fields.time_from_epoch(_seconds(manifest, "timeUploadedMs")),
    )


def _number(manifest: dict[str, Any], key: str) -> int | None:
    """A number; Google writes most as strings."""
    value = fields.text(manifest, key)
    if value is None:
        return fields.integer(manifest, key)
    return fields.parse_number(value)


def _seconds(manifest: dict[str, Any], key: str) -> float | None:
    number = _number(manifest, key)
    return None if number is None else number / _MILLISECONDS
