"""Builds images as OCI layouts (image-spec image-layout.md) with real layers.

The same calls build the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OCI = "application/vnd.oci.image."
INDEX = _OCI + "index.v1+json"
MANIFEST = _OCI + "manifest.v1+json"
CONFIG = _OCI + "config.v1+json"
LAYER = _OCI + "layer.v1.tar+gzip"
IN_TOTO = "application/vnd.in-toto+json"
CREATED = "2026-08-05T10:00:00.123456789Z"
Descriptor = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Blob:
    """A layer's bytes. `diff_id` is the digest of the uncompressed bytes."""

    content: bytes
    media_type: str
    diff_id: str


def files(contents: Mapping[str, bytes]) -> Blob:
    """A layer of these files."""
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    raw = tape.getvalue()
    return Blob(gzip.compress(raw, mtime=0), LAYER, sha256(raw))


def statement(subject: str) -> Blob:
    """An in-toto statement, the layer of an attestation."""
    content = json.dumps({"_type": "in-toto", "subject": subject}).encode()
    return Blob(content, IN_TOTO, sha256(content))


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Layout:
    """An OCI layout in a directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tagged: list[Descriptor] = []
        (root / "blobs" / "sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def image(
        self,
        platform: str,
        layers: Sequence[Blob],
        *,
        os_version: str | None = None,
        created: str | None = CREATED,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Descriptor:
        """One platform's image; the descriptor is as an index lists it.

        Each layer's step is followed by one that changed no file.
        """
        os, architecture, *variant = platform.split("/")
        described = {"os": os, "architecture": architecture}
        described |= {"variant": variant[0]} if variant else {}
        described |= {"os.version": os_version} if os_version else {}
        steps: list[dict[str, Any]] = []
        for number, _ in enumerate(layers):
            stamp = {"created": created} if created else {}
            steps += [
                {**stamp, "created_by": f"COPY {number} /"},
                {**stamp, "created_by": f"ENV STEP={number}", "empty_layer": True},
            ]
        config: dict[str, Any] = {
            **described,
            "config": {"Cmd": ["/bin/true"], "Labels": dict(labels or {})},
            "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in layers]},
            "history": steps,
        }
        config |= {"created": created} if created else {}
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._add(json.dumps(config).encode(), CONFIG),
            "layers": [self._add(one.content, one.media_type) for one in layers],
        }
        manifest |= {"annotations": dict(annotations)} if annotations else {}
        descriptor = self._add(json.dumps(manifest).encode(), MANIFEST)
        return {**descriptor, "platform": described}

    def index(
        self,
        children: Sequence[Descriptor],
        annotations: Mapping[str, str] | None = None,
    ) -> Descriptor:
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": list(children),
        }
        document |= {"annotations": dict(annotations)} if annotations else {}
        return self._add(json.dumps(document).encode(), INDEX)

    def attested(self, image: Descriptor) -> Descriptor:
        """BuildKit's attestation manifest of an image, as an index lists it."""
        about = image["digest"]
        made = self.image("unknown/unknown", [statement(about)], created=None)
        annotations = {
            "vnd.docker.reference.digest": about,
            "vnd.docker.reference.type": "attestation-manifest",
        }
        return {**made, "annotations": annotations}

    def tag(self, name: str, descriptor: Descriptor) -> str:
        """Name a manifest; returns what skopeo calls it."""
        plain = {key: descriptor[key] for key in ("mediaType", "digest", "size")}
        annotations = {"org.opencontainers.image.ref.name": name}
        self._tagged.append({**plain, "annotations": annotations})
        index = {"schemaVersion": 2, "manifests": self._tagged}
        (self.root / "index.json").write_text(json.dumps(index))
        return f"oci:{self.root}:{name}"

    def blob(self, content: bytes, media_type: str) -> Descriptor:
        """Any blob."""
        return self._add(content, media_type)

    def document(self, document: Mapping[str, Any], media_type: str) -> Descriptor:
        """Any manifest, as it is."""
        return self._add(json.dumps(document).encode(), media_type)

    def content(self, digest: str) -> bytes:
        """The bytes of a blob."""
        return self._path(digest).read_bytes()

    def _add(self, content: bytes, media_type: str) -> Descriptor:
        digest = sha256(content)
        self._path(digest).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def _path(self, digest: str) -> Path:
        return self.root / "blobs" / digest.replace(":", "/")
