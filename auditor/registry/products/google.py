"""Google's registries: gcr.io and Artifact Registry.

Their listing of tags has two more fields. `manifest` maps each digest to its tags,
size and times; `child` names the repositories one level below, which replaces a
catalog.

Source: github.com/google/go-containerregistry, pkg/v1/google (list.go).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from auditor.errors import Failure, Stage
from auditor.oci.descriptor import is_digest
from auditor.oci.reference import is_repository
from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import MAX_PAGES, ListedTag, Page, incomplete


async def google_repositories(
    prefix: str,
    read_tags: Callable[[str], Awaitable[dict[str, Any] | Failure]],
) -> AsyncIterator[Page[str] | Failure]:
    """One page for each path at and below the prefix, in breadth-first order.

    `read_tags` requests the listing of a path's tags.
    """
    waiting = deque([prefix])
    number = 0
    failed = False
    while waiting:
        name = waiting.popleft()
        number += 1
        document = await read_tags(name)
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
            entries=(name,) if document.get("tags") else (),
            number=number,
            last=not waiting and not failed,
            unreadable=unreadable,
        )


def parse_tags(names: Iterable[str], document: dict[str, Any]) -> list[ListedTag]:
    """The tags of these names, with the fields that the `manifest` map adds.

    A tag that the map gives to two manifests gets no digest.
    """
    manifests = fields.mapping(document, "manifest")
    listed: dict[str, ListedTag] = {}
    for digest in filter(is_digest, manifests):
        manifest = fields.mapping(manifests, digest)
        for tag in fields.array(manifest, "tag"):
            if isinstance(tag, str):
                listed[tag] = (
                    ListedTag(tag) if tag in listed else _tag(tag, digest, manifest)
                )
    return [listed.get(name) or ListedTag(name) for name in names]


def parse_untagged(document: dict[str, Any]) -> list[ListedTag]:
    """The manifests without a tag in the `manifest` map, also the children of indexes.

    Source: github.com/google/go-containerregistry, cmd/gcrane (gc.go).
    """
    manifests = fields.mapping(document, "manifest")
    return [
        _tag(digest, digest, manifest)
        for digest in filter(is_digest, manifests)
        if not fields.array(manifest := fields.mapping(manifests, digest), "tag")
    ]


def children(document: dict[str, Any], name: str) -> tuple[list[str], int]:
    """The full names of the paths one level below, and the number of invalid ones."""
    entries = fields.array(document, "child")
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
        created=fields.time_from_epoch(
            (_number(manifest, "timeCreatedMs") or 0) / 1000
        ),
        pushed=fields.time_from_epoch(
            (_number(manifest, "timeUploadedMs") or 0) / 1000
        ),
    )


def _number(manifest: dict[str, Any], key: str) -> int | None:
    """A number; Google writes most numbers as strings."""
    value = fields.integer(manifest, key)
    return fields.parse_number(fields.text(manifest, key)) if value is None else value
