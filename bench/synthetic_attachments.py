"""What is attached to the images of a synthetic report, and the SBOM file.

Everything follows from the names, so that the report and the file agree.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from auditor.model import (
    Attachment,
    AttachmentKind,
    ImageSignature,
    Layer,
    SignatureFormat,
    SignatureState,
)
from auditor.oci.attachments import END_OF_LIFE, LIFECYCLE_TYPE
from auditor.oci.sbom_packages import SbomPackage
from auditor.report.sbom_file import SbomRecord

KEY = "release"  # in the signature policy
PACKAGE_NAMES = 5000
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SPDX = "application/spdx+json"
PROVENANCE = "https://slsa.dev/provenance/v1"


@lru_cache(maxsize=8)  # the tags of one version are neighbours
def attachments(
    name: str,
    version: int,
    subject: str,
    *,
    signed: bool,
    has_sbom: bool,
    end_of_life: str | None,
) -> tuple[Attachment, ...]:
    """What is attached to a version of a repository: its signature comes first."""
    made = []
    if signed:
        made += [
            _attachment(name, version, subject, AttachmentKind.SIGNATURE, BUNDLE),
            _attachment(
                name,
                version,
                subject,
                AttachmentKind.ATTESTATION,
                BUNDLE,
                predicates=(PROVENANCE,),
            ),
        ]
    if has_sbom:
        made.append(_attachment(name, version, subject, AttachmentKind.SBOM, SPDX))
    if end_of_life is not None:
        made.append(
            _attachment(
                name,
                version,
                subject,
                AttachmentKind.ARTIFACT,
                LIFECYCLE_TYPE,
                annotations={END_OF_LIFE: end_of_life},
            )
        )
    return tuple(made)


def signatures(attached: tuple[Attachment, ...]) -> tuple[ImageSignature, ...]:
    """The signatures among these; the key of the policy verifies them."""
    return tuple(
        ImageSignature(
            digest=one.digest,
            format=SignatureFormat.BUNDLE,
            state=SignatureState.VERIFIED,
            keys=(KEY,),
            reason=None,
            identity=None,
            signed_at="2026-10-01T10:00:00Z",
        )
        for one in attached
        if one.kind is AttachmentKind.SIGNATURE
    )


def sbom_of(name: str, version: int, packages: int) -> SbomRecord:
    """The SBOM of a version; neighbouring versions have most packages in common."""
    first = chance_of(name)
    listed = tuple(
        _package((first + version + place) % PACKAGE_NAMES, (version + place) % 100)
        for place in range(packages)
    )
    return SbomRecord(
        attachment=_manifest_digest(name, version, AttachmentKind.SBOM),
        digest=digest_of(f"{name}/{version}/sbom document"),
        media_type=SPDX,
        size=400 * packages,
        format="spdx",
        format_version="2.3",
        subjects=(),
        packages=listed,
        packages_left_out=0,
        failure=None,
        detail=None,
        warnings=(),
    )


@lru_cache(maxsize=100_000)
def _package(number: int, minor: int) -> SbomPackage:
    return SbomPackage(
        name=f"package-{number}",
        version=f"1.{minor}.0-1",
        type="deb",
        purl=f"pkg:deb/debian/package-{number}@1.{minor}.0-1",
        license="MIT",
        source=f"source-{number // 4}",
        source_version=None,
    )


def _attachment(
    name: str,
    version: int,
    subject: str,
    kind: AttachmentKind,
    artifact_type: str,
    *,
    predicates: tuple[str, ...] | None = None,
    annotations: dict[str, str] | None = None,
) -> Attachment:
    digest = _manifest_digest(name, version, kind)
    blob = Layer(digest=digest_of(f"{digest}/blob"), size=7000, media_type=None)
    return Attachment(
        kind=kind,
        artifact_type=artifact_type,
        digest=digest,
        subject=subject,
        predicates=predicates,
        size=900,
        blobs=(blob,),
        annotations=annotations or {},
    )


def _manifest_digest(name: str, version: int, kind: AttachmentKind) -> str:
    return digest_of(f"{name}/{version}/{kind}")


def digest_of(text: str) -> str:
    """A digest that stands for a document with this name."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def chance_of(text: str) -> int:
    """A pseudo-random number below 2**64."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
