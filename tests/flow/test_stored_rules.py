"""What the store keeps of an image changes only with the number of the rules: else a
warm night could say what an earlier program read, and a cold one something else."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.audit.image_cache import RULES, encode
from auditor.audit.image_metadata import Facts
from auditor.config import AttachmentMode, ImageConfigMode
from auditor.demo.images import (
    SIMPLE_SIGNING,
    SLSA,
    SPDX,
    BuiltImage,
    Family,
    Truth,
    artifact,
    blob_descriptor,
    distinct,
    image,
    json_blob,
    json_manifest,
    layer,
    layer_descriptor,
    manifest_descriptor,
    sha256,
)
from auditor.demo.registry import Content
from auditor.demo.signed_schema1 import schema1_image
from auditor.model import LayerTrait, WarningCode
from tests.flow.harness import lab
from tests.flow.test_audit import KINDS, REPOSITORY
from tests.flow.test_warm_nights import _night, _said

pytestmark = pytest.mark.anyio

# sha256 of the rows that the nights below leave under RULES. If it changes because the
# same manifests are now read otherwise, or because a row holds other fields, raise
# RULES in auditor/pipeline/imaging/stored_facts.py, and say here what the new ones
# give. If it changes because of other images or nights below, say so here.
OF_RULES = {1: "b767153468ca8f099c1dd70ac086963121d49da9574a3a91bba362e926143fdf"}

NIGHTS: list[dict[str, Any]] = [
    {},
    {"image_config": ImageConfigMode.ALWAYS},
    {"image_config": ImageConfigMode.NEVER},
    {"labels": ("*",)},
    {"labels": ("org.*.vendor",), "platforms": ("linux/arm64",)},
    {"platforms": ("linux/arm64", "windows/amd64")},
    {"attachments": AttachmentMode.NONE},
]


def _index(
    entries: Sequence[dict[str, Any]], parts: Collection[BuiltImage], **document: str
) -> BuiltImage:
    root = json_manifest(
        {**document, "manifests": list(entries)}, media_type=Family.OCI.index
    )
    return BuiltImage(
        manifests=(*distinct(one for part in parts for one in part.manifests), root),
        blobs=distinct(blob for part in parts for blob in part.blobs),
        truth=Truth(digest=root.digest, media_type=root.media_type, source="index"),
    )


def _child(built: BuiltImage, platform: str | None = None) -> dict[str, Any]:
    entry = manifest_descriptor(built.root)
    if platform is not None:
        os, architecture = platform.split("/")
        entry["platform"] = {"os": os, "architecture": architecture}
    return entry


def _attached(
    about: BuiltImage | None,
    predicate: str | None = None,
    artifact_type: str | None = None,
) -> dict[str, Any]:
    """An entry of what is attached to a platform, or (null) to the whole index."""
    annotations = {}
    if about is not None:
        annotations = {
            "vnd.docker.reference.digest": about.root.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        }
    if predicate is not None:
        annotations["in-toto.io/predicate-type"] = predicate
    entry: dict[str, Any] = {
        "mediaType": Family.OCI.manifest,
        "digest": sha256(orjson.dumps([annotations, artifact_type])),
        "size": 1000,
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": annotations,
    }
    return entry if artifact_type is None else entry | {"artifactType": artifact_type}


def _foreign() -> BuiltImage:
    """An image of which a layer is elsewhere, and that says which artifact it is."""
    config = json_blob({"os": "windows", "architecture": "amd64"}, Family.OCI.config)
    far = {**layer_descriptor(layer("far")), "urls": ["https://example.com/1"]}
    root = json_manifest(
        {
            "artifactType": "application/vnd.example.system",
            "config": blob_descriptor(config),
            "layers": [far, layer_descriptor(layer("near"))],
        },
        media_type=Family.OCI.manifest,
    )
    return BuiltImage(
        manifests=(root,),
        blobs=(config,),
        truth=Truth(digest=root.digest, media_type=root.media_type),
    )


def _unusual() -> dict[str, BuiltImage]:
    """What the usual kinds have not."""
    told = image(
        "told",
        platform="linux/arm64",
        user="1000:1000",
        history=7,
        annotations={"org.opencontainers.image.base.digest": sha256(b"base")},
        labels={
            "org.example.vendor": "Example",
            "org.opencontainers.image.base.name": "registry.example.com/base:1",
            "com.example.long": "x" * 70_000,
        },
    )
    packed = image(
        "packed",
        annotations={"org.opencontainers.image.base.digest": sha256(b"other base")},
        layers=[
            layer("z", media_type="application/vnd.oci.image.layer.v1.tar+zstd"),
            layer("t", media_type="application/vnd.oci.image.layer.v1.tar"),
        ],
        layer_traits=(LayerTrait.UNCOMPRESSED, LayerTrait.ZSTD),
    )
    both = [_child(told, "linux/arm64"), _child(packed, "linux/amd64")]
    return {
        "told": told,
        "foreign": _foreign(),
        "mixed": _index(
            [*map(_child, parts := [told, artifact("a"), schema1_image("m", "1")])],
            parts,
            artifactType="application/vnd.example.bundle",
        ),
        "misdescribed": _index([_child(told, "linux/s390x")], [told]),
        "signed": _index(
            [
                *both,
                _attached(None, artifact_type=SIMPLE_SIGNING),
                _attached(None, SLSA),
            ],
            [told, packed],
        ),
        "each-with-sbom": _index(
            [*both, _attached(told, SPDX), _attached(packed, SPDX)], [told, packed]
        ),
        "one-with-sbom": _index([*both, _attached(told, SPDX)], [told, packed]),
    }


# Their names are data.
_MAPPINGS = frozenset({"annotations", "labels"})


def _fields(value: Any, name: str = "") -> Iterator[tuple[str, bytes]]:
    """Every field of a row by its path, with its value."""
    if isinstance(value, list):
        for one in value:
            yield from _fields(one, name)
    elif isinstance(value, dict) and name.rpartition(".")[2] not in _MAPPINGS:
        for key, one in value.items():
            path = f"{name}.{key}" if name else key
            yield path, orjson.dumps(one)
            yield from _fields(one, path)


async def test_what_is_stored_of_the_same_manifests_changes_only_with_the_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[bytes] = []

    def recorded(
        facts: Facts, manifests: Collection[str], configs: Collection[str]
    ) -> bytes:
        rows.append(body := encode(facts, manifests, configs))
        return body

    monkeypatch.setattr("auditor.audit.image_cache.encode", recorded)
    content = Content()
    for tag, built in (KINDS | _unusual()).items():
        content.add(REPOSITORY, built, tag)
    whole = hashlib.sha256()
    values: defaultdict[str, set[bytes]] = defaultdict(set)
    for number, changes in enumerate(NIGHTS):
        store = tmp_path / str(number)
        rows.clear()
        async with lab(content) as here:
            cold = await _night(here, str(store), **changes)
            written = sorted(rows)
            warm = await _night(here, str(store), **changes)
        assert _said(warm) == _said(cold)
        assert len(written) == len(rows)  # the warm night had them all
        with closing(sqlite3.connect(store)) as connection:
            (held,) = connection.execute("SELECT count(*) FROM images").fetchone()
        assert held == len(written) > 0
        for row in written:
            whole.update(row + b"\n")
            for name, value in _fields(orjson.loads(row)):
                values[name].add(value)
    # Of a field that is always the same a change of the rules would not be seen.
    # Schema 1 has nothing below it that is to be read: it has no row of its own.
    assert [name for name, found in values.items() if len(found) < 2] == [
        "schema_version"
    ]
    for name in ("signed", "has_sbom", "has_provenance"):
        assert values[f"answers.{name}"] == {b"true", b"null"}
    assert {orjson.loads(one) for one in values["warnings.code"]} == {
        WarningCode.FOREIGN_LAYER,
        WarningCode.LABELS_LEFT_OUT,
        WarningCode.NO_WANTED_PLATFORM,
        WarningCode.PLATFORM_DIFFERS,
        WarningCode.PLATFORM_UNKNOWN,
    }
    assert whole.hexdigest() == OF_RULES[RULES]
