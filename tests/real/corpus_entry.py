"""One repository of the corpus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.real.layouts import Descriptor

# kind, digest, subject
Attached = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A manifest in a repository of its own, with what is stored beside it.

    `beside` are more tags (cosign's), `referrers` manifests with a subject and no tag.
    The rest is what an audit must say of `repository:tags[0]`, by the specifications:
    `attached` with `--attachments all`, and (signed, has_sbom, has_provenance) then.
    """

    repository: str
    root: Descriptor
    tags: tuple[str, ...] = ("1",)
    beside: Mapping[str, Descriptor] = field(default_factory=dict)
    referrers: tuple[Descriptor, ...] = ()
    content: str = "image"
    artifact_type: str | None = None
    traits: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    attached: frozenset[Attached] = frozenset()
    status: tuple[bool, bool, bool] = (False, False, False)
    failure: str | None = None
    deleted: str | None = None
    """A child to delete after the push: the index is sparse then."""
    left_out: frozenset[str] = frozenset()
    """Digests of children that are no platforms."""
    alternatives: frozenset[str] = frozenset()
    """Digests of children that are a listed platform in another compression."""

    @property
    def name(self) -> str:
        return f"{self.repository}:{self.tags[0]}"
