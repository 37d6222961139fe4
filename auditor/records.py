"""What a report line is.

Field order is key order in the report. Within one `SCHEMA` number a field is never
renamed or dropped; what is not known is `null`, never absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from auditor.errors import FailureKind, Stage

SCHEMA = 1


class AccessState(StrEnum):
    """What is known of the right to pull."""

    GRANTED = "granted"  # the token lists `pull` for the repository
    DENIED = "denied"  # the token does not
    UNVERIFIABLE = "unverifiable"  # an opaque token, or Basic: cannot be seen
    ANONYMOUS = "anonymous"  # the registry asked for no credential at all


class AttachmentKind(StrEnum):
    """What hangs on an image beside its platforms."""

    ATTESTATION = "attestation"
    SIGNATURE = "signature"
    SBOM = "sbom"
    ARTIFACT = "artifact"


class WarningCode(StrEnum):
    """What a reader should know that did not stop the record."""

    DIGEST_HEADER_DIFFERS = "digest_header_differs"
    NO_DIGEST_HEADER = "no_digest_header"
    MEDIA_TYPE_DIFFERS = "media_type_differs"
    CHILD_MISSING = "child_missing"
    CONFIG_MISSING = "config_missing"
    PLATFORM_UNKNOWN = "platform_unknown"
    PLATFORM_DIFFERS = "platform_differs"
    SIGNATURE_INVALID = "signature_invalid"
    FOREIGN_LAYER = "foreign_layer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warn:
    """One warning: a code for programs, a sentence for people."""

    code: WarningCode
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer as its manifest describes it. `size` is compressed bytes."""

    digest: str
    size: int | None
    media_type: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """One platform of an image. Layers stand base first.

    `layers` is null where the manifest could not be had (a sparse index).
    `size` is the sum of the distinct layers' compressed bytes.
    """

    os: str | None
    architecture: str | None
    variant: str | None
    os_version: str | None
    digest: str
    media_type: str | None
    config_digest: str | None
    created: str | None
    size: int | None
    layers: tuple[Layer, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A manifest about an image. `subject` is the digest of what it is about."""

    kind: AttachmentKind
    artifact_type: str | None
    digest: str
    subject: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the token that was used says of the right to pull.

    `actions` are those granted for the repository. `verified` says whether the
    token's signature was checked against keys the user gave.
    """

    state: AccessState
    actions: tuple[str, ...]
    subject: str | None
    issuer: str | None
    verified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """A reference that was audited. `audited_at` is RFC 3339, UTC, seconds."""

    schema: int = SCHEMA
    kind: str = "image"
    reference: str
    registry: str
    repository: str
    tag: str | None
    digest: str
    media_type: str | None
    schema_version: int
    artifact_type: str | None
    architectures: tuple[str, ...]
    platforms: tuple[Platform, ...]
    attachments: tuple[Attachment, ...]
    size: int | None
    annotations: dict[str, str]
    access: Access
    warnings: tuple[Warn, ...]
    audited_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRecord:
    """A reference that could not be audited, and why."""

    schema: int = SCHEMA
    kind: str = "failure"
    reference: str
    registry: str | None
    repository: str | None
    tag: str | None
    digest: str | None
    stage: Stage
    failure: FailureKind
    status: int | None
    detail: str
    attempts: int
    audited_at: str


Record = ImageRecord | FailureRecord
