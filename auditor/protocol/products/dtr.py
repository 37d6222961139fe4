"""Docker Trusted Registry, today Mirantis Secure Registry: `/api/v0`.

Source: the API reference that each MSR serves at `/api/v0/docs/`. Pages are linked by
the header `X-Next-Page-Start`; `X-Resource-Count` counts the whole list.
"""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import urlencode

from auditor.protocol.answer import Answer
from auditor.protocol.listed import ListedTag, Reading
from auditor.protocol.products import fields
from auditor.protocol.products.product import Login

_NEXT = "X-Next-Page-Start"
_COUNT = "X-Resource-Count"

Entry = TypeVar("Entry")


class Dtr:
    """DTR and MSR: repositories of all namespaces, and tags with their digests."""

    name = "DTR"
    login = Login.BASIC
    most = 1000

    def repositories_path(self, below: str | None, size: int) -> str | None:
        """A list of everything, or of one namespace."""
        namespace = f"/{below.partition('/')[0]}" if below else ""
        query = urlencode({"pageSize": size, "count": "true"})
        return f"/api/v0/repositories{namespace}?{query}"

    def read_repositories(self, answer: Answer) -> Reading[str]:
        """`{"repositories": [{"namespace": ..., "name": ...}]}`."""
        names: list[str] = []
        unreadable = 0
        entries = fields.entries_of(fields.document_of(answer), "repositories")
        for entry in fields.objects_of(entries):
            namespace = fields.text(entry, "namespace") if entry else None
            name = fields.text(entry, "name") if entry else None
            if namespace is None or name is None:
                unreadable += 1
            else:
                names.append(f"{namespace}/{name}")
        return _reading(answer, names, unreadable)

    def tags_path(self, repository: str, size: int) -> str | None:
        """A repository has a namespace and a name, and no more."""
        if repository.count("/") != 1:
            return None
        query = urlencode({"pageSize": size, "count": "true"})
        return f"/api/v0/repositories/{repository}/tags?{query}"

    def read_tags(self, answer: Answer) -> Reading[ListedTag]:
        """`[{"name": ..., "digest": ..., "manifest": {...}}]`."""
        tags: list[ListedTag] = []
        unreadable = 0
        for entry in fields.objects_of(fields.entries_of(fields.document_of(answer))):
            name = fields.text(entry, "name") if entry else None
            if entry is None or name is None:
                unreadable += 1
                continue
            manifest = entry.get("manifest")
            manifest = manifest if isinstance(manifest, dict) else {}
            tags.append(
                ListedTag(
                    name,
                    digest=fields.digest(entry, "digest"),
                    media_type=fields.text(manifest, "mediaType"),
                    created=fields.moment(manifest, "createdAt"),
                    pushed=fields.moment(entry, "updatedAt"),
                )
            )
        return _reading(answer, tags, unreadable)


def _reading(answer: Answer, entries: list[Entry], unreadable: int) -> Reading[Entry]:
    start = answer.headers.get(_NEXT)
    return Reading(
        entries=entries,
        following=fields.turned(answer, pageStart=start) if start else None,
        unreadable=unreadable,
        total=fields.count_in_header(answer, _COUNT),
    )
