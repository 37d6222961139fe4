"""An image with SBOMs in each way in which tools attach them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import BuiltImage, Family, image, index
from tests.support import sboms
from tests.support.attached_images import (
    BUNDLE,
    DSSE,
    SPDX_TEXT,
    digest_tag,
    documents,
)
from tests.support.sboms import Package

SPDX_JSON = "application/spdx+json"
CYCLONEDX_JSON = "application/vnd.cyclonedx+json"
IN_TOTO = "application/vnd.in-toto+json"
_PREDICATE = "in-toto.io/predicate-type"

AMD64 = [
    Package("libssl3", "3.0.7-1", "pkg:deb/debian/libssl3@3.0.7-1?upstream=openssl"),
    Package("bash", "5.2-1", "pkg:deb/debian/bash@5.2-1", "GPL-3.0-or-later"),
]
ARM64 = [
    Package("libssl3", "3.0.9-1", "pkg:deb/debian/libssl3@3.0.9-1?upstream=openssl"),
]
NODE = [Package("openssl", "2.0.0", "pkg:npm/openssl@2.0.0")]
GO = [Package("github.com/a/b", "v1.2.3", "pkg:golang/github.com/a/b@v1.2.3")]


@dataclass(frozen=True, slots=True)
class SbomImages:
    """The content of a registry, and the image of each tag."""

    content: DemoContent
    buildkit: BuiltImage
    referred: BuiltImage
    cosign: BuiltImage
    plain: BuiltImage


def buildkit_attestation(
    subject: BuiltImage, packages: Sequence[Package] | None
) -> BuiltImage:
    """BuildKit's attestation manifest: an SBOM unless there is none, a provenance."""
    digest = subject.root.digest
    slsa = "https://slsa.dev/provenance/v1"
    made = {slsa: sboms.statement(b"{}", digest, predicate_type=slsa)}
    if packages is not None:
        made[sboms.SPDX_PREDICATE] = sboms.statement(sboms.spdx(packages), digest)
    return documents(
        subject.root,
        [(IN_TOTO, text, {_PREDICATE: predicate}) for predicate, text in made.items()],
        config=Family.OCI.config,
    )


def sbom_images() -> SbomImages:
    """Tags `buildkit`, `referred`, `cosign` and `plain` of team/app.

    `buildkit` has an SBOM for each platform, in its index; `referred` a CycloneDX
    document; `cosign` a bundle, and tags `.att` and `.sbom`; `plain` has none.
    """
    children = [image("app", platform=one) for one in ("linux/amd64", "linux/arm64")]
    buildkit = index(
        children,
        attestations=[
            buildkit_attestation(child, packages)
            for child, packages in zip(children, (AMD64, ARM64), strict=True)
        ],
    )
    referred, cosign, plain = (image(name) for name in ("referred", "cosign", "plain"))
    content = DemoContent()
    for tag, built in {
        "buildkit": buildkit,
        "referred": referred,
        "cosign": cosign,
        "plain": plain,
    }.items():
        content.add("team/app", built, tag)
    content.add(
        "team/app",
        documents(
            referred.root,
            [(CYCLONEDX_JSON, sboms.cyclonedx(NODE), {})],
            artifact_type=CYCLONEDX_JSON,
            refers=True,
        ),
    )
    statement = sboms.statement(sboms.spdx(GO), cosign.root.digest)
    content.add(
        "team/app",
        documents(
            cosign.root,
            [(BUNDLE, sboms.sigstore_bundle(statement), {})],
            artifact_type=BUNDLE,
            refers=True,
        ),
    )
    content.add(
        "team/app",
        documents(
            cosign.root,
            [
                (
                    DSSE,
                    sboms.envelope(statement),
                    {"predicateType": sboms.SPDX_PREDICATE},
                )
            ],
            config=Family.OCI.config,
        ),
        digest_tag(cosign.root, ".att"),
    )
    content.add(
        "team/app",
        documents(
            cosign.root,
            [(SPDX_TEXT, sboms.tag_value(GO), {})],
            config=Family.OCI.config,
        ),
        digest_tag(cosign.root, ".sbom"),
    )
    return SbomImages(content, buildkit, referred, cosign, plain)
