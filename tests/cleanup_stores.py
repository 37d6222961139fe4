"""Registries of small manifests, and the reports that an audit of them writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from auditor.model import (
    Attachment,
    AttachmentKind,
    ChildManifest,
    ContentKind,
    ImageRecord,
    Layer,
    PlatformRecord,
)
from auditor.oci.descriptor import OCI_INDEX, OCI_MANIFEST
from tests.records import image, platform

HOST = "r.example.com"
REPOSITORIES = ("team/app", "team/web")


def digest(name: str) -> str:
    return f"sha256:{sha256(name.encode()).hexdigest()}"


@dataclass(frozen=True)
class Made:
    """A manifest; `blobs` are its config and layers, `children` are names.

    `subject` is known to the referrers API, `about` to a tag of cosign.
    """

    name: str
    size: int
    blobs: tuple[tuple[str, int], ...] = ()
    children: tuple[str, ...] = ()
    subject: str | None = None
    about: str | None = None


@dataclass
class Store:
    """The manifests of each repository by name, and its tags."""

    manifests: dict[str, dict[str, Made]] = field(
        default_factory=lambda: {name: {} for name in REPOSITORIES}
    )
    tags: dict[tuple[str, str], str] = field(default_factory=dict)


def cosign_tag(subject: str) -> str:
    """The tag of the signature of a manifest."""
    return f"{digest(subject).replace(':', '-')}.sig"


def below(made: dict[str, Made], name: str) -> set[str]:
    found: set[str] = set()
    for child in made[name].children:
        found |= {child} | below(made, child)
    return found


def living(made: dict[str, Made], roots: set[str], deleted: set[str]) -> set[str]:
    """What the roots need, until nothing is added."""
    found = roots - deleted
    while True:
        more = {child for name in found for child in below(made, name)}
        more |= {name for name in made if made[name].subject in found}
        if more - deleted <= found:
            return found
        found |= more - deleted


# -- the report --


def records(store: Store) -> Iterator[ImageRecord]:
    for (repository, tag), name in store.tags.items():
        yield record(store.manifests[repository], repository, tag, name)
    for repository, made in store.manifests.items():
        named = {n for (place, _), n in store.tags.items() if place == repository}
        seen = {child for n in named for child in (n, *below(made, n))}
        seen |= {n for n in made if made[n].subject in seen}
        for name in made.keys() - seen:
            yield record(made, repository, None, name)


def record(
    made: dict[str, Made], repository: str, tag: str | None, name: str
) -> ImageRecord:
    one, under = made[name], below(made, name)
    leaves = sorted(child for child in under if not made[child].children)
    indexes = sorted(under - set(leaves), key=digest)
    parts = leaves if one.children else [name]
    around = {name, *under}
    attached = [
        other for other in made.values() if {other.subject, other.about} & around
    ]
    suffix = f":{tag}" if tag else f"@{digest(name)}"
    is_attachment = one.subject is not None or one.about is not None
    return image(
        reference=f"{HOST}/{repository}{suffix}",
        registry=HOST,
        repository=repository,
        tag=tag,
        digest=digest(name),
        media_type=OCI_INDEX if one.children else OCI_MANIFEST,
        content=ContentKind.ATTACHMENT if is_attachment else ContentKind.IMAGE,
        platforms=tuple(part(made[leaf]) for leaf in parts),
        attachments=tuple(
            Attachment(
                kind=AttachmentKind.SBOM,
                artifact_type="application/spdx+json",
                digest=digest(other.name),
                subject=digest(other.subject or other.about or ""),
                predicates=None,
                size=other.size,
                blobs=tuple(map(blob, other.blobs)),
                tag=other.about and cosign_tag(other.about),
            )
            for other in attached
        ),
        signed=False,
        has_sbom=False,
        has_provenance=False,
        untagged=tag is None,
        subject=None if one.subject is None else digest(one.subject),
        manifest_size=one.size,
        other_children=tuple(
            ChildManifest(
                digest=digest(child), media_type=OCI_INDEX, size=made[child].size
            )
            for child in indexes
        ),
    )


def part(one: Made) -> PlatformRecord:
    config, *layers = one.blobs or (("empty", 2),)
    return platform(
        digest=digest(one.name),
        config_digest=digest(config[0]),
        config_size=config[1],
        manifest_size=one.size,
        layers=tuple(map(blob, layers)),
    )


def blob(named: tuple[str, int]) -> Layer:
    return Layer(digest=digest(named[0]), size=named[1], media_type="application/x")
