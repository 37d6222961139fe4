"""Images that cosign and notation have signed, and the policy with their keys.

`tests/golden/make_signed_images.py` made them, one case in each repository: what the
programs pushed, byte by byte. The keys are called as those of `KEYS` there.
"""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

from auditor.demo.demo_registry import DemoContent, DemoRepository
from auditor.demo.image_builder import BuiltBlob, BuiltManifest, image
from auditor.oci.signing_keys import (
    ImageSigningKey,
    read_certificates,
    read_public_keys,
)
from tests.golden.make_signed_images import FILE
from tests.support.attached_images import digest_tag

NAMES = ("p256", "p384", "p521", "rsa", "ed25519")
NOTATION_NAMES = ("p256", "p384", "p521", "rsa")
# When they were signed, to the minute.
SIGNED_AT = "2026-11-30T22:01"


@cache
def signed_images() -> dict[str, Any]:
    """The document of the golden file."""
    document: dict[str, Any] = json.loads(FILE.read_text())
    return document


@cache
def contents() -> dict[str, bytes]:
    """Manifests and blobs by digest."""
    texts = signed_images()["contents"]
    return {digest: base64.b64decode(text) for digest, text in texts.items()}


def image_digest() -> str:
    """The digest of the one image, an index, that all have signed."""
    return str(signed_images()["digest"])


@cache
def signing_keys(*names: str) -> tuple[ImageSigningKey, ...]:
    """The keys of these names, or all, for cosign and Notation."""
    document = signed_images()
    return tuple(
        ImageSigningKey(
            name=name,
            public_keys=read_public_keys(document["public_keys"][name].encode()),
            certificates=read_certificates(document["roots"][name].encode())
            if name in document["roots"]
            else (),
        )
        for name in names or NAMES
    )


def layer_of(repository: str, number: int = 0) -> tuple[bytes, dict[str, str]]:
    """The bytes and annotations of a signature in a repository."""
    manifests = signed_images()["repositories"][repository]["manifests"]
    layers = [
        layer
        for digest in dict.fromkeys(manifests)
        for layer in json.loads(contents()[digest]).get("layers", ())
        if "layer" not in layer["mediaType"]
    ]
    layer = layers[number]
    return contents()[layer["digest"]], layer.get("annotations", {})


def add_case(content: DemoContent, case: str, repository: str) -> DemoRepository:
    """Add what the registry of a case had to a repository."""
    document = signed_images()
    stored = document["repositories"][case]
    added = content.repository(repository)
    for digest in stored["manifests"]:
        raw = contents()[digest]
        parsed = json.loads(raw)
        added.manifests[digest] = BuiltManifest(
            raw=raw,
            digest=digest,
            media_type=document["types"][digest],
            payload=raw,
            artifact_type=parsed.get("artifactType")
            or parsed.get("config", {}).get("mediaType"),
            subject=stored["subjects"].get(digest),
            annotations=parsed.get("annotations", {}),
        )
        for blob in (parsed.get("config"), *parsed.get("layers", ())):
            if blob is not None and blob["digest"] in contents():
                added.blobs[blob["digest"]] = BuiltBlob(
                    digest=blob["digest"],
                    content=contents()[blob["digest"]],
                    media_type=blob["mediaType"],
                )
    added.tags.update(stored["tags"])
    return added


def signed_content(*cases: str) -> DemoContent:
    """A registry with these cases, or all, each in `signed/CASE`."""
    content = DemoContent()
    for case in cases or signed_images()["repositories"]:
        add_case(content, case, f"signed/{case}")
    return content


def write_policy(folder: Path, *names: str, more: str = "") -> Path:
    """Write a policy with these keys, or all, and their files; returns its path."""
    document = signed_images()
    lines = []
    for name in names or NAMES:
        (folder / f"{name}.pub").write_text(document["public_keys"][name])
        lines += [f"[keys.{name}]", f'cosign = "{name}.pub"']
        if name in document["roots"]:
            (folder / f"{name}.crt").write_text(document["roots"][name])
            lines.append(f'notation = ["{name}.crt"]')
    path = folder / "signatures.toml"
    path.write_text("\n".join([*lines, more, ""]))
    return path


def documented_signatures(folder: Path) -> DemoContent:
    """The registry of the pages about signatures; writes their keys and policy."""
    document = signed_images()
    (folder / "release.pub").write_text(document["public_keys"]["p256"])
    (folder / "partner.crt").write_text(document["roots"]["rsa"])
    (folder / "signatures.toml").write_text(
        '[keys.release]\ncosign = "release.pub"\n'
        '[keys.partner]\nnotation = "partner.crt"\n'
    )
    content = DemoContent()
    for repository, case in (
        ("shop", "cosign-p256"),
        ("web", "bundle-p256"),
        ("partner", "notation-rsa"),
    ):
        add_case(content, case, repository)
    content.add("plain", image("plain"), "1")
    copied = add_case(content, "cosign-p256", "copied")
    other = content.add("copied", image("copied"), "1").root
    (tag,) = [one for one in copied.tags if one.endswith(".sig")]
    copied.tags[digest_tag(other, ".sig")] = copied.tags.pop(tag)
    return content
