"""Images: of one and many platforms, nested, sparse, old, and with odd layers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.manifests import DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST
from tests.real.corpus_entry import Entry
from tests.real.layouts import (
    INDEX,
    LAYER,
    MANIFEST,
    Blob,
    Descriptor,
    Layout,
    files,
    sha256,
)

BASE = files({"etc/os-release": b"ID=corpus\n" * 300})
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NON_DISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
UNCOMPRESSED = "application/vnd.oci.image.layer.v1.tar"
LABELS = {
    "org.opencontainers.image.base.name": "registry.example.com/base:1",
    "org.opencontainers.image.source": "https://example.com/source",
}
ELSEWHERE = ["https://example.com/layer"]
TAGS = tuple(f"t{number:03}" for number in range(130))


def app(name: str, media_type: str = LAYER) -> Blob:
    """A layer that no other image has."""
    made = files({f"app/{name}": name.encode() * 50})
    return Blob(made.content, media_type, made.diff_id)


def opaque(name: str, media_type: str) -> Blob:
    """A layer that nobody can read."""
    content = b"\x28\xb5\x2f\xfd" + name.encode() * 30
    return Blob(content, media_type, sha256(name.encode()))


def platforms(layout: Layout, name: str, *names: str) -> list[Descriptor]:
    return [layout.image(one, [BASE, app(f"{name}-{one}")]) for one in names]


def images(layout: Layout) -> Iterator[Entry]:
    plain = layout.image(
        "linux/amd64",
        [BASE, app("plain"), BASE],
        labels=LABELS,
        annotations={"org.opencontainers.image.version": "1.0", "é": "ü"},
    )
    yield Entry(repository="corpus/plain", root=plain)
    yield Entry(
        repository="corpus/tags",
        root=layout.image("linux/amd64", [app("tags")]),
        tags=TAGS,
    )
    sixty = [app(f"layer-{number}") for number in range(60)]
    yield Entry(repository="corpus/sixty", root=layout.image("linux/riscv64", sixty))
    yield Entry(
        repository="corpus/a--b__c.d/e-1/f",
        root=layout.image("linux/amd64", [app("names")]),
        tags=("x" * 128, "V1.0_A-b", "_"),
    )
    # A child of many images that has nothing of its own.
    yield Entry(repository="corpus/scratch", root=layout.image("linux/amd64", []))
    yield from _indexes(layout)
    yield from _docker(layout)
    yield from _layers(layout)


def _indexes(layout: Layout) -> Iterator[Entry]:
    many = platforms(layout, "multi", "linux/amd64", "linux/arm/v7", "linux/arm64/v8")
    windows = layout.image(
        "windows/amd64", [app("windows")], os_version="10.0.20348.4052"
    )
    yield Entry(
        repository="corpus/multi", root=layout.index([*many, windows], {"a": "b"})
    )
    yield Entry(repository="corpus/empty", root=layout.index([]), content="unknown")
    inner = layout.index(many[1:])
    yield Entry(repository="corpus/nested", root=layout.index([inner, many[0]]))
    # The same platform in two places counts once.
    twice = layout.index([inner, *many, layout.index([layout.index(many[:1])])])
    yield Entry(repository="corpus/nested-twice", root=twice)
    levels = platforms(layout, "levels", "linux/amd64", "linux/amd64/v3")
    yield Entry(repository="corpus/levels", root=layout.index(levels))
    arm = many[1]["platform"]
    both = [{**many[1], "platform": {**arm, "variant": one}} for one in ("v6", "v7")]
    yield Entry(repository="corpus/one-for-two", root=layout.index(both))
    # image-spec image-index.md: `platform` is optional.
    bare = [{key: one[key] for key in ("mediaType", "digest", "size")} for one in many]
    yield Entry(repository="corpus/no-platform", root=layout.index(bare))
    # `mediaType` is optional in both (image-spec 1.0, "should").
    untyped = _without_type(layout, plain_of(layout, "untyped"), MANIFEST)
    yield Entry(repository="corpus/untyped", root=untyped)
    index = _without_type(layout, layout.index(many), INDEX)
    yield Entry(repository="corpus/untyped-index", root=index)
    gone = layout.image("linux/s390x", [app("gone")])
    yield Entry(
        repository="corpus/sparse",
        root=layout.index([many[0], gone]),
        deleted=gone["digest"],
        warnings=("child_missing",),
    )
    # image-index.md: a media type that is not known must be ignored.
    blob = layout.blob(b"{}", "application/vnd.example.unknown.v1+json")
    yield Entry(
        repository="corpus/unknown-child",
        root=layout.index([many[0], blob]),
        warnings=("child_unsupported",),
        left_out=frozenset({blob["digest"]}),
    )


def _docker(layout: Layout) -> Iterator[Entry]:
    amd64, arm64 = (
        docker_image(layout, one) for one in ("linux/amd64", "linux/arm64/v8")
    )
    yield Entry(repository="corpus/docker", root=amd64)
    docker_list = {"schemaVersion": 2, "mediaType": DOCKER_LIST}
    listed = layout.document({**docker_list, "manifests": [amd64, arm64]}, DOCKER_LIST)
    yield Entry(repository="corpus/docker-list", root=listed)
    (oci,) = platforms(layout, "mixed", "linux/ppc64le")
    mixed = layout.document({**docker_list, "manifests": [amd64, oci]}, DOCKER_LIST)
    yield Entry(repository="corpus/mixed-list", root=mixed)
    yield Entry(repository="corpus/mixed-index", root=layout.index([oci, arm64]))


def _layers(layout: Layout) -> Iterator[Entry]:
    def one(name: str, *layers: Blob) -> Descriptor:
        return layout.image("linux/amd64", [BASE, app(name), *layers])

    yield Entry(
        repository="corpus/zstd",
        root=one("zstd", opaque("zstd", ZSTD)),
        traits=frozenset({"zstd"}),
    )
    gzip = [
        layout.image(one, [BASE, app(f"both-{one}")])
        for one in ("linux/amd64", "linux/arm64")
    ]
    zstd = [
        layout.image(one, [opaque("base", ZSTD), opaque(f"both-{one}", ZSTD)])
        for one in ("linux/amd64", "linux/arm64")
    ]
    yield Entry(
        repository="corpus/two-compressions",
        root=layout.index([*gzip, *zstd]),
        alternatives=frozenset(one["digest"] for one in zstd),
    )
    yield Entry(
        repository="corpus/uncompressed",
        root=one("uncompressed", opaque("tar", UNCOMPRESSED)),
        traits=frozenset({"uncompressed"}),
    )
    chunked = _edited(
        layout,
        one("chunked", opaque("chunked", ZSTD)),
        annotations={"io.github.containers.zstd-chunked.manifest-checksum": "x"},
    )
    yield Entry(
        repository="corpus/zstd-chunked",
        root=chunked,
        traits=frozenset({"zstd", "zstd_chunked"}),
    )
    lazy = {"containerd.io/snapshot/stargz/toc.digest": "sha256:" + "0" * 64}
    yield Entry(
        repository="corpus/estargz",
        root=_edited(layout, one("estargz"), annotations=lazy),
        traits=frozenset({"estargz"}),
    )
    # ocicrypt: media-types "+encrypted".
    yield Entry(
        repository="corpus/encrypted",
        root=one("encrypted", opaque("encrypted", LAYER + "+encrypted")),
        traits=frozenset({"encrypted"}),
    )
    yield Entry(
        repository="corpus/foreign",
        root=_edited(
            layout, one("foreign", opaque("oci", NON_DISTRIBUTABLE)), urls=ELSEWHERE
        ),
        traits=frozenset({"non_distributable"}),
        warnings=("foreign_layer",),
    )
    windows = docker_image(layout, "windows/amd64", opaque("docker", FOREIGN))
    yield Entry(
        repository="corpus/foreign-docker",
        root=_edited(layout, windows, urls=ELSEWHERE),
        traits=frozenset({"non_distributable"}),
        warnings=("foreign_layer",),
    )


def plain_of(layout: Layout, name: str) -> Descriptor:
    """An image of linux/amd64."""
    return layout.image("linux/amd64", [BASE, app(name)])


def docker_image(layout: Layout, platform: str, *layers: Blob) -> Descriptor:
    """A Docker manifest, version 2, schema 2."""
    made = layout.image(platform, [BASE, app(f"docker-{platform}"), *layers])
    document = _read(layout, made)
    document["mediaType"] = DOCKER_MANIFEST
    document["config"]["mediaType"] = DOCKER_CONFIG
    for layer in document["layers"]:
        if layer["mediaType"] == LAYER:
            layer["mediaType"] = DOCKER_LAYER
    return {
        **layout.document(document, DOCKER_MANIFEST),
        "platform": made["platform"],
    }


def _without_type(layout: Layout, made: Descriptor, media_type: str) -> Descriptor:
    document = _read(layout, made)
    del document["mediaType"]
    return layout.document(document, media_type)


def _edited(layout: Layout, made: Descriptor, **more: Any) -> Descriptor:
    """With more in the descriptor of its last layer."""
    document = _read(layout, made)
    document["layers"][-1] |= more
    return layout.document(document, made["mediaType"])


def _read(layout: Layout, made: Descriptor) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(layout.content(made["digest"]))
    return document
