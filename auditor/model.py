"""What a report line is.

Field order is key order in the report. Within one `SCHEMA` number a field is never
renamed or dropped; what is not known is `null`, never absent.

The records have no slots: orjson writes the dictionary of an instance three times as
fast as it looks up slots one by one.
"""

from __future__ import annotations

from enum import StrEnum

from auditor.errors import FailureKind, Stage
from auditor.fast_dataclass import dataclass

SCHEMA = 1
# Numbers of entries at which registries are known to truncate a listing silently.
SUSPICIOUS_COUNTS = frozenset({100, 1000})


class Shape(StrEnum):
    """What one report line describes."""

    IMAGE = "image"
    PLATFORM = "platform"
    LAYER = "layer"


class Order(StrEnum):
    """The order of the report's lines."""

    INPUT = "input"
    COMPLETION = "completion"


class AccessState(StrEnum):
    """What is known of the right to pull."""

    GRANTED = "granted"  # the token lists `pull` for the repository
    DENIED = "denied"  # the token does not
    UNVERIFIABLE = "unverifiable"  # an opaque token, or Basic: cannot be seen
    ANONYMOUS = "anonymous"  # the registry asked for no credential at all


class CredentialSource(StrEnum):
    """Where the credential that was used stood."""

    CONFIG = "config"  # the configuration of auditor names it
    FILE = "file"  # docker's config.json or podman's auth.json holds it
    HELPER = "helper"  # a credential helper gave it


class AttachmentKind(StrEnum):
    """What hangs on an image beside its platforms."""

    ATTESTATION = "attestation"
    SIGNATURE = "signature"
    SBOM = "sbom"
    ARTIFACT = "artifact"


class LayerTrait(StrEnum):
    """What sets a layer apart from the usual one, a tar archive in gzip."""

    UNCOMPRESSED = "uncompressed"
    ZSTD = "zstd"
    ZSTD_CHUNKED = "zstd_chunked"  # can be read in parts
    ESTARGZ = "estargz"  # gzip that can be read in parts
    ENCRYPTED = "encrypted"
    NON_DISTRIBUTABLE = "non_distributable"  # also called foreign


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
    LABELS_LEFT_OUT = "labels_left_out"
    BLOB_MISSING = "blob_missing"
    BLOB_SIZE_DIFFERS = "blob_size_differs"
    BLOB_UNVERIFIED = "blob_unverified"
    NO_WANTED_PLATFORM = "no_wanted_platform"
    ATTACHMENTS_UNKNOWN = "attachments_unknown"
    NOT_AT_MIRROR = "not_at_mirror"


@dataclass(frozen=True, kw_only=True)
class Warn:
    """One warning: a code for programs, a sentence for people."""

    code: WarningCode
    detail: str


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer as its manifest describes it. `size` is compressed bytes."""

    digest: str
    size: int | None
    media_type: str | None


@dataclass(frozen=True, kw_only=True)
class ConfigDetails:
    """What an image's config says beside its platform and creation.

    `user` is null where the config names none: the image runs as root. `history` is
    the number of build steps. `labels` are those that were asked for, or null where
    none were.
    """

    user: str | None
    history: int
    labels: dict[str, str] | None


@dataclass(frozen=True, kw_only=True)
class BaseImage:
    """The image that this one was built on, as it says itself (annotations.md)."""

    name: str | None
    digest: str | None


@dataclass(frozen=True, kw_only=True)
class PlatformRecord:
    """One platform of an image. Layers stand base first.

    `layers` is null where the manifest could not be had (a sparse index).
    `size` is the sum of the distinct layers' compressed bytes. `config` is null where
    no config was fetched, `base` where nothing that was fetched names one.
    `layer_traits` are those of any of its layers, sorted.
    """

    os: str | None
    architecture: str | None
    variant: str | None
    os_version: str | None
    digest: str
    media_type: str | None
    config_digest: str | None
    created: str | None
    config: ConfigDetails | None
    base: BaseImage | None
    size: int | None
    layers: tuple[Layer, ...] | None
    layer_traits: tuple[LayerTrait, ...]


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A manifest about an image. `subject` is the digest of what it is about.

    `predicates` are the types of in-toto statements that it holds, sorted; null where
    nothing that was fetched says them.
    """

    kind: AttachmentKind
    artifact_type: str | None
    digest: str
    subject: str | None
    predicates: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class Access:
    """What the token that was used says of the right to pull.

    `actions` are those granted for the repository. `verified` says whether the
    token's signature was checked against keys the user gave. `credential` says where
    the login stood that was used; null: nobody's, the anonymous user's.
    """

    state: AccessState
    actions: tuple[str, ...]
    subject: str | None
    issuer: str | None
    verified: bool
    credential: CredentialSource | None


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """A reference that was audited. `audited_at` is RFC 3339, UTC, seconds.

    `platforms_left_out` counts those that a platform filter kept out of the record.
    `signed`, `has_sbom` and `has_provenance` say what is attached, not whether it is
    valid; null where it was not looked for, or not everywhere.
    """

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
    platforms: tuple[PlatformRecord, ...]
    platforms_left_out: int
    attachments: tuple[Attachment, ...]
    signed: bool | None
    has_sbom: bool | None
    has_provenance: bool | None
    size: int | None
    annotations: dict[str, str]
    access: Access
    warnings: tuple[Warn, ...]
    audited_at: str


@dataclass(frozen=True, kw_only=True)
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
