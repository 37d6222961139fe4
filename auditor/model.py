"""The records of a report, and the values in them.

One record is one line of the report; field order is key order. Within a `SCHEMA` number
no field is renamed or removed, and unknown values are None (JSON `null`), not absent.
What each field means, with its unit, is in `report/field_help.py`.

Records have no slots: orjson serialises an instance's dictionary three times as fast.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from auditor.errors import FailureKind, Stage
from auditor.fast_dataclass import dataclass

SCHEMA = 1
# Numbers of entries at which registries are known to truncate a listing silently.
SUSPICIOUS_COUNTS = frozenset({100, 1000})

# Where a reference comes from: the number of an input item, and of a repository in the
# catalog that the item stands for (0 for the item itself).
InputPosition = tuple[int, int]


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
    """What is known about the right to pull."""

    GRANTED = "granted"  # the token lists `pull` for the repository
    DENIED = "denied"  # the token does not
    UNVERIFIABLE = "unverifiable"  # an opaque token or Basic authentication
    ANONYMOUS = "anonymous"  # the registry requires no authentication


class CredentialSource(StrEnum):
    """The source of the credential that was used."""

    CONFIG = "config"  # the configuration of auditor
    FILE = "file"  # docker's config.json or podman's auth.json
    HELPER = "helper"  # a credential helper
    COMMAND = "command"  # a password command of the configuration
    AWS = "aws"  # the identity of this machine, as for the next two
    GOOGLE = "google"
    AZURE = "azure"


class ContentKind(StrEnum):
    """What a manifest is (auditor.oci.content_kind)."""

    IMAGE = "image"
    ATTACHMENT = "attachment"  # a signature, an attestation, ... of an image
    ARTIFACT = "artifact"  # anything else, such as a Helm chart
    UNKNOWN = "unknown"  # nothing that could be read


class AttachmentKind(StrEnum):
    """Kinds of manifests that are attached to an image."""

    ATTESTATION = "attestation"
    SIGNATURE = "signature"
    SBOM = "sbom"
    ARTIFACT = "artifact"


class SignatureState(StrEnum):
    """What verification found about one signature."""

    VERIFIED = "verified"  # by a key of the policy, for this image
    INVALID = "invalid"  # damaged, expired, or of another image
    UNTRUSTED = "untrusted"  # by no key that the policy names for the image
    UNVERIFIABLE = "unverifiable"  # of a kind that is not verified, such as keyless
    UNKNOWN = "unknown"  # it could not be fetched


class SignatureFormat(StrEnum):
    """The formats of signatures."""

    COSIGN = "cosign"  # a simple signing payload
    BUNDLE = "bundle"  # a sigstore bundle, which cosign writes, too
    NOTATION = "notation"
    OTHER = "other"


class LayerTrait(StrEnum):
    """How a layer differs from the usual gzip-compressed tar archive."""

    UNCOMPRESSED = "uncompressed"
    ZSTD = "zstd"
    ZSTD_CHUNKED = "zstd_chunked"  # supports partial reads
    ESTARGZ = "estargz"  # gzip with partial reads
    ENCRYPTED = "encrypted"
    NON_DISTRIBUTABLE = "non_distributable"  # also called foreign


class WarningCode(StrEnum):
    """Findings that did not prevent the record."""

    DIGEST_HEADER_DIFFERS = "digest_header_differs"
    NO_DIGEST_HEADER = "no_digest_header"
    MEDIA_TYPE_DIFFERS = "media_type_differs"
    CHILD_MISSING = "child_missing"
    CHILD_UNSUPPORTED = "child_unsupported"
    CHILD_SIZE_DIFFERS = "child_size_differs"
    CONFIG_MISSING = "config_missing"
    CONFIG_UNREADABLE = "config_unreadable"
    PLATFORM_UNKNOWN = "platform_unknown"
    PLATFORM_DIFFERS = "platform_differs"
    SIGNATURE_INVALID = "signature_invalid"
    FOREIGN_LAYER = "foreign_layer"
    LABELS_LEFT_OUT = "labels_left_out"
    PARTS_LEFT_OUT = "parts_left_out"
    BLOB_MISSING = "blob_missing"
    BLOB_SIZE_DIFFERS = "blob_size_differs"
    BLOB_UNVERIFIED = "blob_unverified"
    NO_WANTED_PLATFORM = "no_wanted_platform"
    ATTACHMENTS_UNKNOWN = "attachments_unknown"
    SIGNATURES_UNKNOWN = "signatures_unknown"
    NOT_AT_MIRROR = "not_at_mirror"
    AGE_UNKNOWN = "age_unknown"
    BASE_UNKNOWN = "base_unknown"


@dataclass(frozen=True, kw_only=True)
class Warn:
    """A warning: a code for programs and a sentence for people."""

    code: WarningCode
    detail: str


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer as described by its manifest."""

    digest: str
    size: int | None
    media_type: str | None


@dataclass(frozen=True, kw_only=True)
class ConfigDetails:
    """Fields of an image config besides its platform and creation time."""

    user: str | None
    history: int
    labels: dict[str, str] | None


@dataclass(frozen=True, kw_only=True)
class BaseImage:
    """The base image, from the annotations (OCI image-spec annotations.md)."""

    name: str | None
    digest: str | None


@dataclass(frozen=True, kw_only=True)
class BaseCheck:
    """A base image that `platforms` of an image name, as its registry has it now."""

    name: str | None
    reference: str | None
    digest: str | None
    current_digest: str | None
    is_stale: bool | None
    platforms: tuple[str, ...]
    detail: str | None


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A platform in another format, for clients that search for it."""

    digest: str
    media_type: str | None
    config_digest: str | None
    size: int | None
    layers: tuple[Layer, ...]
    layer_traits: tuple[LayerTrait, ...]
    manifest_size: int | None = None
    config_size: int | None = None


# The media types of schema 1, signed or not.
SCHEMA1_TYPES = "application/vnd.docker.distribution.manifest.v1+"


@dataclass(frozen=True, kw_only=True)
class PlatformRecord:
    """One platform of an image."""

    os: str | None
    architecture: str | None
    variant: str | None
    os_version: str | None
    digest: str
    media_type: str | None
    config_digest: str | None = None
    created: str | None = None
    config: ConfigDetails | None = None
    base: BaseImage | None = None
    size: int | None = None
    layers: tuple[Layer, ...] | None = None
    layer_traits: tuple[LayerTrait, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    manifest_size: int | None = None
    config_size: int | None = None

    @property
    def is_present(self) -> bool:
        """Whether the registry has the manifest, even if its layers were left out."""
        # A schema 1 manifest, which has no config, is never the child of an index.
        is_schema1 = (self.media_type or "").startswith(SCHEMA1_TYPES)
        return self.layers is not None or self.config_digest is not None or is_schema1


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A manifest attached to an image."""

    kind: AttachmentKind
    artifact_type: str | None
    digest: str
    subject: str | None
    predicates: tuple[str, ...] | None
    size: int | None = None
    blobs: tuple[Layer, ...] | None = None
    tag: str | None = None
    in_index: bool = False
    annotations: dict[str, str] = field(default_factory=dict)
    annotations_left_out: int = 0

    def __hash__(self) -> int:
        """Without the annotations, which cannot be hashed."""
        return hash((self.digest, self.kind, self.subject, self.predicates))


@dataclass(frozen=True, kw_only=True)
class ChildManifest:
    """A manifest below an index."""

    digest: str
    media_type: str | None
    size: int


@dataclass(frozen=True, kw_only=True)
class ImageSignature:
    """A signature of the manifest that the reference names, and what is known of it."""

    digest: str
    format: SignatureFormat
    state: SignatureState
    keys: tuple[str, ...]
    reason: str | None
    identity: str | None
    signed_at: str | None


@dataclass(frozen=True, kw_only=True)
class Access:
    """The right to pull, as stated by the token that was used."""

    state: AccessState
    actions: tuple[str, ...] = ()
    subject: str | None = None
    issuer: str | None = None
    verified: bool = False
    credential: CredentialSource | None = None
    login_unused: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the input names a reference: who uses it."""

    list: str | None
    place: str
    namespace: str | None = None
    workload: str | None = None
    container: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """An audited reference."""

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
    content: ContentKind
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
    location: str | None = None
    pushed_at: str | None = None
    pulled_at: str | None = None
    subject: str | None = None
    manifest_size: int | None = None
    other_children: tuple[ChildManifest, ...] = ()
    bases: tuple[BaseCheck, ...] | None = None
    bases_left_out: int = 0
    untagged: bool | None = None
    sources: tuple[Source, ...] | None = None
    sources_left_out: int = 0
    input_labels: dict[str, tuple[str, ...]] | None = None
    input_labels_left_out: int = 0
    verified_by: tuple[str, ...] | None = None
    not_verified_by: tuple[str, ...] | None = None
    signatures: tuple[ImageSignature, ...] | None = None
    signatures_left_out: int = 0
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
    sources: tuple[Source, ...] | None = None
    sources_left_out: int = 0
    input_labels: dict[str, tuple[str, ...]] | None = None
    input_labels_left_out: int = 0
    audited_at: str


Record = ImageRecord | FailureRecord
