"""Records to encode, count and validate in tests."""

from __future__ import annotations

from typing import Any

from auditor.errors import FailureKind, Stage
from auditor.model import (
    Access,
    AccessState,
    Attachment,
    AttachmentKind,
    BaseCheck,
    BaseImage,
    ConfigDetails,
    ContentKind,
    FailureRecord,
    ImageRecord,
    ImageSignature,
    Layer,
    LayerTrait,
    PlatformRecord,
    SignatureFormat,
    SignatureState,
    Warn,
    WarningCode,
)
from tests.manifests import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, digest

AT = "2026-11-24T02:00:00Z"
ACCESS = Access(
    state=AccessState.GRANTED,
    actions=("pull",),
    subject="admin",
    issuer="auth.example.com",
    verified=False,
    credential=None,
)


def layer(digit: str = "1", size: int | None = 100) -> Layer:
    return Layer(digest=digest(digit), size=size, media_type=OCI_LAYER)


def platform(digit: str = "a", **more: Any) -> PlatformRecord:
    fields: dict[str, Any] = {
        "os": "linux",
        "architecture": "amd64",
        "variant": None,
        "os_version": None,
        "digest": digest(digit),
        "media_type": OCI_MANIFEST,
        "config_digest": digest("c"),
        "created": None,
        "config": None,
        "base": None,
        "size": 300,
        "layers": (layer("1", 100), layer("2", 200)),
        "layer_traits": (),
    }
    return PlatformRecord(**(fields | more))


def image(**more: Any) -> ImageRecord:
    fields: dict[str, Any] = {
        "reference": "r.example.com/team/app:1",
        "registry": "r.example.com",
        "repository": "team/app",
        "tag": "1",
        "digest": digest("e"),
        "media_type": OCI_INDEX,
        "schema_version": 2,
        "artifact_type": None,
        "content": ContentKind.IMAGE,
        "architectures": ("linux/amd64",),
        "platforms": (platform(),),
        "platforms_left_out": 0,
        "attachments": (),
        "signed": None,
        "has_sbom": None,
        "has_provenance": None,
        "size": 300,
        "annotations": {},
        "access": ACCESS,
        "warnings": (),
        "audited_at": AT,
    }
    return ImageRecord(**(fields | more))


def failure(**more: Any) -> FailureRecord:
    fields: dict[str, Any] = {
        "reference": "r.example.com/team/gone:1",
        "registry": "r.example.com",
        "repository": "team/gone",
        "tag": "1",
        "digest": None,
        "stage": Stage.MANIFEST,
        "failure": FailureKind.NOT_FOUND,
        "status": 404,
        "detail": "not found, or not visible to this account (404)",
        "attempts": 1,
        "audited_at": AT,
    }
    return FailureRecord(**(fields | more))


# One of everything that a record can hold.
EVERYTHING = image(
    artifact_type="application/x",
    architectures=("linux/amd64", "linux/arm64"),
    platforms=(
        platform("a", created="2026-08-05T10:00:00Z",
                 config=ConfigDetails(user="app", history=7, labels={"a": "\u202eb"}),
                 base=BaseImage(name="docker.io/library/alpine:3", digest=digest("7")),
                 layer_traits=(LayerTrait.ESTARGZ, LayerTrait.ZSTD)),
        platform("b", architecture="arm64", variant="v8", size=7,
                 layers=(layer("3", 7),)),
        platform("d", os="windows", os_version="10.0.1", layers=None, size=None,
                 config_digest=None),
        platform("f", os=None, architecture=None, media_type=OCI_CONFIG, layers=()),
    ),
    bases=(
        BaseCheck(name="docker.io/library/alpine:3", digest=digest("7"),
                  reference="docker.io/library/alpine:3", current_digest=digest("8"),
                  is_stale=True, platforms=("linux/amd64",), detail=None),
    ),
    attachments=(
        Attachment(
            kind=AttachmentKind.ATTESTATION,
            artifact_type=None,
            digest=digest("9"),
            subject=digest("a"),
            predicates=("https://slsa.dev/provenance/v1",),
        ),
    ),
    platforms_left_out=2,
    signed=False,
    has_provenance=True,
    verified_by=("release",),
    not_verified_by=(),
    signatures=(
        ImageSignature(
            digest=digest("8"),
            format=SignatureFormat.COSIGN,
            state=SignatureState.VERIFIED,
            keys=("release",),
            reason=None,
            identity="r.example.com/team/app",
            signed_at=AT,
        ),
    ),
    size=None,
    annotations={"org.opencontainers.image.title": "\u202eevil\x1b"},
    warnings=(Warn(code=WarningCode.CHILD_MISSING, detail="one is missing"),),
)  # fmt: skip
REFUSED = failure(
    reference="no reference",
    registry=None,
    repository=None,
    tag=None,
    stage=Stage.INPUT,
    failure=FailureKind.INVALID_REFERENCE,
    status=None,
    detail="list.txt:3: blanks are not allowed in a reference",
)
RECORDS = (image(), EVERYTHING, failure(), REFUSED)
