"""Generates container images, deterministically: bytes, digests, and the truth.

    amd64 = image("team/app", platform="linux/amd64")
    arm64 = image("team/app", platform="linux/arm64/v8")
    both = index([amd64, arm64], attested=True)
    both.root.digest, both.truth.architectures

OCI image spec 1.1 (manifest, index, config) and Docker image manifest version 2,
schema 2. Layers are names and sizes only: nobody here has their bytes. Charts and
other artifacts come from `auditor.sandbox.artifacts`, the old format from
`auditor.sandbox.schema1`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from enum import Enum
from importlib.resources import files
from typing import Any, Literal, TypeVar

import orjson

from auditor.fast_dataclass import dataclass
from auditor.model import (
    Attachment,
    AttachmentKind,
    BaseImage,
    ConfigFacts,
    Layer,
    LayerTrait,
    Platform,
)

# -- truth --
# What an audit must find in a generated image.
#
# A `Truth` is filled in by the generator from its own inputs, never by reading a
# manifest back, so that it can contradict the code that reads manifests. Its parts
# are the report's value types (`auditor.records`), so that they compare with `==`.

ImageConfig = Literal["auto", "always", "never"]


def total_size(layers: tuple[Layer, ...] | None) -> int | None:
    """Compressed bytes of the distinct layers; None where a size is not known."""
    if layers is None:
        return None
    sizes = {layer.digest: layer.size for layer in layers}
    total = 0
    for size in sizes.values():
        if size is None:
            return None
        total += size
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The expected content of one image, with everything its configs tell.

    `platforms` stand in the order of the index, nested indexes in place;
    `attachments` are sorted by digest. An artifact has one platform without os and
    architecture: its layers. `source` decides what can be seen without the configs.
    """

    digest: str
    media_type: str
    schema_version: int = 2
    artifact_type: str | None = None
    platforms: tuple[Platform, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    source: Literal["index", "manifest", "artifact", "schema1"] = "manifest"

    @property
    def architectures(self) -> tuple[str, ...]:
        """`os/architecture[/variant]`, sorted and unique."""
        return tuple(
            sorted(
                {
                    "/".join(filter(None, (one.os, one.architecture, one.variant)))
                    for one in self.platforms
                    if one.os and one.architecture
                }
            )
        )

    @property
    def size(self) -> int | None:
        """Compressed bytes of the distinct layers of all platforms."""
        layers: list[Layer] = []
        for platform in self.platforms:
            if platform.layers is None:
                return None
            layers.extend(platform.layers)
        return total_size(tuple(layers))

    def seen_with(self, image_config: ImageConfig) -> Truth:
        """The same truth as an audit with this `--image-config` can see it.

        A config is read for every platform (`always`), for a manifest that no index
        describes (`auto`), or not at all (`never`). Schema 1 holds its own config.
        """
        if image_config == "always" or self.source in {"artifact", "schema1"}:
            return self
        if self.source == "index":
            hidden = [replace(one, created=None, config=None) for one in self.platforms]
        elif image_config == "auto":
            return self
        else:
            hidden = [
                replace(
                    one,
                    os=None,
                    architecture=None,
                    variant=None,
                    os_version=None,
                    created=None,
                    config=None,
                )
                for one in self.platforms
            ]
        return replace(self, platforms=tuple(hidden))


# -- built --
# The values that the generators return, and how their JSON is put together.
#
# OCI image spec 1.1: descriptor, manifest, index; distribution's digest grammar.


class Family(Enum):
    """Which standard's media types: index, manifest, config, layer."""

    OCI = (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    )
    DOCKER = (
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    )

    def __init__(self, index: str, manifest: str, config: str, layer: str) -> None:
        self.index = index
        self.manifest = manifest
        self.config = config
        self.layer = layer


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltManifest:
    """A manifest's bytes as served. `payload` is what its digest is over.

    The two differ for signed schema 1 only. `subject` is the digest of the manifest
    it refers to, for the referrers API.
    """

    raw: bytes
    digest: str
    media_type: str
    payload: bytes
    artifact_type: str | None = None
    subject: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A config (or another small blob) and its digest."""

    digest: str
    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """An image: its manifests (children first, `root` last), configs, and truth."""

    manifests: tuple[BuiltManifest, ...]
    blobs: tuple[Blob, ...]
    truth: Truth

    @property
    def root(self) -> BuiltManifest:
        """The manifest that a tag points to."""
        return self.manifests[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An image in a repository, under tags (none: reachable by digest only)."""

    repository: str
    tags: tuple[str, ...]
    image: BuiltImage


def sha256(content: bytes) -> str:
    """The digest `sha256:<hex>` of bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def json_blob(document: Mapping[str, Any], media_type: str) -> Blob:
    """A blob that holds a JSON document."""
    content = orjson.dumps(document)
    return Blob(digest=sha256(content), content=content, media_type=media_type)


def json_manifest(
    document: Mapping[str, Any],
    *,
    media_type: str,
    annotations: Mapping[str, str] | None = None,
    artifact_type: str | None = None,
    subject: str | None = None,
) -> BuiltManifest:
    """A manifest of `schemaVersion` 2 that holds this document.

    `artifact_type` and `subject` are what the referrers API tells of it; a document
    that shall say them itself holds them.
    """
    whole = {"schemaVersion": 2, "mediaType": media_type, **document}
    if annotations:
        whole["annotations"] = dict(annotations)
    raw = orjson.dumps(whole, option=orjson.OPT_INDENT_2)
    return BuiltManifest(
        raw=raw,
        payload=raw,
        digest=sha256(raw),
        media_type=media_type,
        artifact_type=artifact_type,
        subject=subject,
        annotations=dict(annotations or {}),
    )


def blob_descriptor(blob: Blob) -> dict[str, Any]:
    """The OCI descriptor of a blob."""
    return {
        "mediaType": blob.media_type,
        "digest": blob.digest,
        "size": len(blob.content),
    }


def manifest_descriptor(manifest: BuiltManifest) -> dict[str, Any]:
    """The OCI descriptor of a manifest; its size is that of the digested bytes."""
    return {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": len(manifest.payload),
    }


def layer_descriptor(layer: Layer) -> dict[str, Any]:
    """The OCI descriptor of a layer."""
    return {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}


_Part = TypeVar("_Part", Blob, BuiltManifest)


def distinct(parts: Iterable[_Part]) -> tuple[_Part, ...]:
    """Each digest once, at its first place."""
    return tuple({part.digest: part for part in reversed(list(parts))}.values())[::-1]


# -- attached --
# Generates what is attached to images: signatures, SBOMs, attestations.
#
#     signed = cosign_signature(app.root)
#     repository.add(signed, [digest_tag(app.root, ".sig")])
#
# cosign specs (SIGNATURE_SPEC.md, ATTESTATION_SPEC.md, SBOM_SPEC.md, BUNDLE_SPEC.md),
# notation signature-specification.md, BuildKit attestation-storage.md. The layers have
# no bytes here: nothing is really signed.

EMPTY = "application/vnd.oci.empty.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
NOTATION = "application/vnd.cncf.notary.signature"
SPDX_TEXT = "text/spdx"

SLSA = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"


def digest_tag(subject: BuiltManifest, suffix: str = "") -> str:
    """The tag under which tools look for what is about a manifest."""
    return subject.digest.replace(":", "-") + suffix


def cosign_signature(subject: BuiltManifest) -> BuiltImage:
    """What `cosign sign` puts under the tag `.sig`: it has the config of an image."""
    return _attached(subject, SIMPLE_SIGNING, [{}], config=Family.OCI.config)


def cosign_attestation(
    subject: BuiltManifest, predicates: Sequence[str] = (SLSA,)
) -> BuiltImage:
    """What `cosign attest` puts under the tag `.att`."""
    said = [{"predicateType": one} for one in predicates]
    return _attached(subject, DSSE, said, config=Family.OCI.config)


def cosign_sbom(subject: BuiltManifest) -> BuiltImage:
    """What `cosign attach sbom` puts under the tag `.sbom`."""
    return _attached(subject, SPDX_TEXT, [{}], config=Family.OCI.config)


def bundle(
    subject: BuiltManifest, *, content: str | None = None, predicate: str | None = None
) -> BuiltImage:
    """A sigstore bundle that refers to its subject."""
    said = {
        "dev.sigstore.bundle.content": content,
        "dev.sigstore.bundle.predicateType": predicate,
    }
    return _attached(
        subject,
        BUNDLE,
        [{}],
        artifact_type=BUNDLE,
        refers=True,
        annotations={key: value for key, value in said.items() if value},
    )


def notation_signature(subject: BuiltManifest) -> BuiltImage:
    """What `notation sign` pushes: its config's media type says what it is."""
    return _attached(
        subject, "application/jose+json", [{}], config=NOTATION, refers=True
    )


def attestation(subject: BuiltManifest, predicates: Sequence[str]) -> BuiltImage:
    """BuildKit's attestation manifest: a layer for each statement."""
    said = [{"in-toto.io/predicate-type": one} for one in predicates]
    return _attached(subject, IN_TOTO, said, config=Family.OCI.config)


def referrers_index(manifests: Iterable[BuiltManifest]) -> BuiltImage:
    """What clients keep under the tag of a digest where there is no referrers API."""
    entries = []
    for one in manifests:
        entry = manifest_descriptor(one)
        if one.artifact_type is not None:
            entry["artifactType"] = one.artifact_type
        if one.annotations:
            entry["annotations"] = dict(one.annotations)
        entries.append(entry)
    root = json_manifest({"manifests": entries}, media_type=Family.OCI.index)
    return BuiltImage(
        manifests=(root,),
        blobs=(),
        truth=Truth(digest=root.digest, media_type=root.media_type, source="index"),
    )


def _attached(
    subject: BuiltManifest,
    layer_type: str,
    layer_annotations: Sequence[Mapping[str, str]],
    *,
    config: str = EMPTY,
    artifact_type: str | None = None,
    refers: bool = False,
    annotations: Mapping[str, str] | None = None,
) -> BuiltImage:
    blob = json_blob({"about": subject.digest}, config)
    document: dict[str, Any] = {
        "config": blob_descriptor(blob),
        "layers": [
            {
                "mediaType": layer_type,
                "digest": _digest(f"{layer_type} {number} of {subject.digest}"),
                "size": 1000 + number,
                "annotations": dict(said),
            }
            for number, said in enumerate(layer_annotations)
        ],
    }
    if artifact_type is not None:
        document["artifactType"] = artifact_type
    if refers:
        document["subject"] = manifest_descriptor(subject)
    root = json_manifest(
        document,
        media_type=Family.OCI.manifest,
        annotations=annotations,
        # The registry tells the config's type where there is no artifactType.
        artifact_type=artifact_type or config,
        subject=subject.digest if refers else None,
    )
    return BuiltImage(
        manifests=(root,),
        blobs=(blob,),
        truth=Truth(digest=root.digest, media_type=root.media_type, source="artifact"),
    )


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


CREATED = "2026-08-05T10:00:00Z"
_IN_TOTO = "application/vnd.in-toto+json"


def layer(
    name: str, *, size: int | None = None, media_type: str | None = None
) -> Layer:
    """The layer of this name: same name, same digest; 1 to 64 MiB unless told."""
    seed = hashlib.sha256(name.encode())
    if size is None:
        # Even over the exponents 10..25: small layers are as usual as big ones.
        size = (256 + seed.digest()[1]) << (2 + seed.digest()[0] % 16)
    return Layer(
        digest="sha256:" + seed.hexdigest(),
        size=size,
        media_type=media_type or Family.OCI.layer,
    )


def split_platform(platform: str) -> tuple[str, str, str | None]:
    """`os/architecture[/variant]` as its parts."""
    os, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    return os, architecture, variant or None


def image(
    name: str,
    *,
    platform: str = "linux/amd64",
    family: Family = Family.OCI,
    layers: Sequence[Layer] | None = None,
    created: str | None = CREATED,
    os_version: str | None = None,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    user: str | None = None,
    history: int = 0,
    layer_traits: Sequence[LayerTrait] = (),
) -> BuiltImage:
    """One platform's image (`os/architecture[/variant]`): a manifest and a config.

    Without `layers` it gets three made-up ones. Layers of the OCI layer type take
    the family's layer type, others (foreign layers, zstd) keep theirs; what they are,
    `layer_traits` say. `history` is a number of build steps.
    """
    os, architecture, variant = split_platform(platform)
    if layers is None:
        layers = [layer(f"{name} {platform} {number}") for number in range(3)]
    typed = tuple(
        replace(one, media_type=family.layer)
        if one.media_type == Family.OCI.layer
        else one
        for one in layers
    )
    config: dict[str, Any] = {"architecture": architecture, "os": os}
    optional = {"variant": variant, "os.version": os_version, "created": created}
    config |= {key: value for key, value in optional.items() if value is not None}
    runtime: dict[str, Any] = {
        "Labels": {"org.opencontainers.image.title": name, **(labels or {})}
    }
    config["config"] = runtime | ({"User": user} if user else {})
    if history:
        config["history"] = [{"created_by": f"step {n}"} for n in range(history)]
    config["rootfs"] = {
        "type": "layers",
        "diff_ids": [sha256(b"diff " + one.digest.encode()) for one in typed],
    }
    blob = json_blob(config, family.config)
    manifest = json_manifest(
        {
            "config": blob_descriptor(blob),
            "layers": [layer_descriptor(one) for one in typed],
        },
        media_type=family.manifest,
        annotations=annotations,
    )
    found = Platform(
        os=os,
        architecture=architecture,
        variant=variant,
        os_version=os_version,
        digest=manifest.digest,
        media_type=manifest.media_type,
        config_digest=blob.digest,
        created=created,
        config=ConfigFacts(user=user, history=history, labels=None),
        base=_base({**(labels or {}), **(annotations or {})}),
        size=total_size(typed),
        layers=typed,
        layer_traits=tuple(layer_traits),
    )
    return BuiltImage(
        manifests=(manifest,),
        blobs=(blob,),
        truth=Truth(
            digest=manifest.digest,
            media_type=manifest.media_type,
            platforms=(found,),
            annotations=manifest.annotations,
        ),
    )


def _base(said: Mapping[str, str]) -> BaseImage | None:
    prefix = "org.opencontainers.image.base."
    if not any(key.startswith(prefix) for key in said):
        return None
    return BaseImage(name=said.get(f"{prefix}name"), digest=said.get(f"{prefix}digest"))


def index(
    children: Sequence[BuiltImage],
    *,
    family: Family = Family.OCI,
    annotations: Mapping[str, str] | None = None,
    attested: bool = False,
    predicates: Sequence[str] = (),
) -> BuiltImage:
    """An index (Docker: manifest list) over images and other indexes.

    With `attested`, the attestation manifest that BuildKit writes for each image
    follows after all of them (BuildKit docs: attestation storage). It has a statement
    of each of these types; without any, one that does not say its type.
    """
    entries = [_entry(child) for child in children]
    attachments = [one for child in children for one in child.truth.attachments]
    parts = list(children)
    for child in children:
        if attested and child.truth.source == "manifest":
            attesting = _attestation(child, predicates)
            parts.append(attesting)
            entries.append(_attestation_entry(attesting, child))
            attachments.append(
                Attachment(
                    kind=AttachmentKind.ATTESTATION,
                    artifact_type=None,
                    digest=attesting.root.digest,
                    subject=child.root.digest,
                    predicates=None,
                )
            )
    root = json_manifest(
        {"manifests": entries}, media_type=family.index, annotations=annotations
    )
    return BuiltImage(
        manifests=(*distinct(one for part in parts for one in part.manifests), root),
        blobs=distinct(blob for part in parts for blob in part.blobs),
        truth=Truth(
            digest=root.digest,
            media_type=root.media_type,
            platforms=tuple(one for child in children for one in child.truth.platforms),
            attachments=tuple(sorted(attachments, key=lambda one: one.digest)),
            annotations=root.annotations,
            source="index",
        ),
    )


def _entry(child: BuiltImage) -> dict[str, Any]:
    """How an index lists a child: with its platform, if it is one platform's."""
    entry = manifest_descriptor(child.root)
    if child.truth.source == "manifest":
        (known,) = child.truth.platforms
        platform = {
            "architecture": known.architecture,
            "os": known.os,
            "os.version": known.os_version,
            "variant": known.variant,
        }
        entry["platform"] = {key: value for key, value in platform.items() if value}
    return entry


def _attestation(child: BuiltImage, predicates: Sequence[str]) -> BuiltImage:
    """The attestation manifest of an image: an image of in-toto statements."""
    if predicates:
        return attestation(child.root, predicates)
    statement = layer(f"attestation of {child.root.digest}", media_type=_IN_TOTO)
    return image(
        f"attestation of {child.root.digest}",
        platform="unknown/unknown",
        layers=[statement],
        created=None,
    )


def _attestation_entry(attesting: BuiltImage, child: BuiltImage) -> dict[str, Any]:
    return {
        **manifest_descriptor(attesting.root),
        "platform": {"architecture": "unknown", "os": "unknown"},
        "annotations": {
            "vnd.docker.reference.digest": child.root.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        },
    }


# -- artifacts --
# Generates artifacts: things in a registry that are no container images.
#
# OCI image spec 1.1, "Guidelines for Artifact Usage": `artifactType` with the empty
# config, or (older, as Helm does) a config media type that names the artifact.

EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
ARTIFACTS_SPDX = "application/spdx+json"


def artifact(
    name: str,
    *,
    artifact_type: str = ARTIFACTS_SPDX,
    layers: Sequence[Layer] | None = None,
    subject: BuiltManifest | None = None,
    annotations: Mapping[str, str] | None = None,
) -> BuiltImage:
    """An OCI artifact with the empty config; `subject`: what it refers to.

    Without `layers` it gets one of its own type.
    """
    if layers is None:
        layers = [layer(f"artifact {name}", media_type=artifact_type)]
    return _built(
        json_blob({}, EMPTY_CONFIG),
        layers,
        artifact_type=artifact_type,
        fields={"artifactType": artifact_type},
        subject=subject,
        annotations=annotations,
    )


def helm_chart(name: str, version: str = "1.0.0") -> BuiltImage:
    """A Helm chart: its config's media type says so, there is no `artifactType`."""
    return _built(
        json_blob({"apiVersion": "v2", "name": name, "version": version}, HELM_CONFIG),
        [layer(f"chart {name} {version}", media_type=HELM_LAYER)],
        artifact_type=HELM_CONFIG,
        fields={},
        annotations={
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.version": version,
        },
    )


def _built(
    config: Blob,
    layers: Sequence[Layer],
    *,
    artifact_type: str,
    fields: Mapping[str, object],
    subject: BuiltManifest | None = None,
    annotations: Mapping[str, str] | None = None,
) -> BuiltImage:
    document = {
        **fields,
        "config": blob_descriptor(config),
        "layers": [layer_descriptor(one) for one in layers],
    }
    if subject is not None:
        document["subject"] = manifest_descriptor(subject)
    manifest = json_manifest(
        document,
        media_type=Family.OCI.manifest,
        annotations=annotations,
        artifact_type=artifact_type,
        subject=subject.digest if subject else None,
    )
    content = Platform(
        os=None,
        architecture=None,
        variant=None,
        os_version=None,
        digest=manifest.digest,
        media_type=manifest.media_type,
        config_digest=config.digest,
        created=None,
        config=None,
        base=None,
        size=total_size(tuple(layers)),
        layers=tuple(layers),
        layer_traits=(),
    )
    return BuiltImage(
        manifests=(manifest,),
        blobs=(config,),
        truth=Truth(
            digest=manifest.digest,
            media_type=manifest.media_type,
            artifact_type=artifact_type,
            platforms=(content,),
            annotations=manifest.annotations,
            source="artifact",
        ),
    )


# -- official --
# The Docker Official Images as a workload: real names and platforms, made-up bytes.
#
# 144 repositories, 9,849 tags, 2,496 indexes, 7,935 platform manifests; see
# `data/README.md` for the source. The same data always gives the same digests.

# What an image is built on, told from the words of its tags. The order is that of
# the search: `alpine` before `slim`, Windows flavours before all.
_BASES = (
    "nanoserver", "windowsservercore", "alpine", "slim-bookworm", "slim-trixie",
    "bookworm", "trixie", "bullseye", "noble", "jammy", "ubi", "oracle", "slim",
)  # fmt: skip
# Windows builds by release name; the last one is for tags without any.
_WINDOWS = (
    ("ltsc2025", "10.0.26100.4946"),
    ("ltsc2022", "10.0.20348.4052"),
    ("1809", "10.0.17763.7678"),
    ("", "10.0.20348.4052"),
)
_MAX_OWN_LAYERS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """One image of the data file."""

    repository: str
    tags: tuple[str, ...]
    shared_tags: tuple[str, ...]
    platforms: tuple[str, ...]


def official_images(repositories: Iterable[str] | None = None) -> Iterator[Placed]:
    """The whole workload, or that of some repositories (`library/alpine`, ...).

    Repository by repository, in the order of the data. A platform's image is under
    the same digest in its own index and in those of its shared tags. Raises KeyError
    for a repository that the data does not have.
    """
    sources = _read()
    wanted = sources if repositories is None else repositories
    for repository in wanted:
        yield from _repository_images(sources[repository])


def official_repositories() -> tuple[str, ...]:
    """The names of all repositories."""
    return tuple(_read())


def _read() -> dict[str, list[_Source]]:
    data = files("auditor.demo").joinpath("data", "official-images.json")
    return {
        entry["repository"]: [
            _Source(
                repository=entry["repository"],
                tags=tuple(one["tags"]),
                shared_tags=tuple(one["shared_tags"]),
                platforms=tuple(one["platforms"]),
            )
            for one in entry["images"]
        ]
        for entry in orjson.loads(data.read_bytes())
    }


def _repository_images(sources: Sequence[_Source]) -> Iterator[Placed]:
    shared: dict[str, list[BuiltImage]] = {}
    for source in sources:
        children = [_platform_image(source, one) for one in source.platforms]
        for tag in source.shared_tags:
            shared.setdefault(tag, []).extend(children)
        yield Placed(
            repository=source.repository, tags=source.tags, image=index(children)
        )
    for tag, children in shared.items():
        # The tag in the annotations gives every shared tag an index of its own, as
        # if each had been pushed at another time.
        annotations = {"org.opencontainers.image.ref.name": tag}
        yield Placed(
            repository=sources[0].repository,
            tags=(tag,),
            image=index(children, annotations=annotations),
        )


def _platform_image(source: _Source, platform: str) -> BuiltImage:
    name = f"{source.repository}:{source.tags[0]}"
    return image(
        name,
        platform=platform,
        layers=_layers(source, platform),
        created=_created(name),
        os_version=_os_version(source) if platform.startswith("windows/") else None,
    )


def _layers(source: _Source, platform: str) -> list[Layer]:
    """A base that many repositories share, one of the repository, and its own."""
    base = _official_base(source)
    name = f"{source.repository}:{source.tags[0]} {platform}"
    own = 1 + hashlib.sha256(name.encode()).digest()[0] % _MAX_OWN_LAYERS
    return [
        layer(f"base {base} {platform}"),
        layer(f"{source.repository} on {base} {platform}"),
        *(layer(f"{name} {number}") for number in range(own)),
    ]


def _official_base(source: _Source) -> str:
    words = " ".join(source.tags)
    base = next((one for one in _BASES if one in words), "trixie")
    if base in {"nanoserver", "windowsservercore"}:
        return f"{base} {_os_version(source)}"
    return base


def _os_version(source: _Source) -> str:
    words = " ".join(source.tags)
    return next(version for release, version in _WINDOWS if release in words)


def _created(name: str) -> str:
    """A moment of the year 2026, from the name."""
    seed = hashlib.sha256(name.encode()).digest()
    month, day, hour, minute = (
        1 + seed[1] % 10,
        1 + seed[2] % 28,
        seed[3] % 24,
        seed[4] % 60,
    )
    return f"2026-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z"
