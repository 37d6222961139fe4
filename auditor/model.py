"""The records of a report, and the values in them.

One record is one line of the report; field order is key order. Within a `SCHEMA` number
no field is renamed or removed, and unknown values are None (JSON `null`), not absent.

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
    """A layer as described by its manifest. `size` is in compressed bytes."""

    digest: str
    size: int | None
    media_type: str | None


@dataclass(frozen=True, kw_only=True)
class ConfigDetails:
    """Fields of an image config besides its platform and creation time.

    `user` is None if the config sets none: the image runs as root. `history` is the
    number of build steps. `labels` are the requested ones, None if none were requested.
    """

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
    """A base image that `platforms` of an image name, as its registry has it now.

    `name` and `digest` are those of the build, `reference` is what was asked (None if
    nothing was), and `current_digest` what it points at now. `is_stale`: the base has
    other content for these platforms now, so that a rebuild would change them; None if
    that is not known, and `detail` says why.
    """

    name: str | None
    reference: str | None
    digest: str | None
    current_digest: str | None
    is_stale: bool | None
    platforms: tuple[str, ...]
    detail: str | None


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A platform in another compression, for clients that search for it.

    The fields are those of `PlatformRecord`.
    """

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
    """One platform of an image.

    `layers` are base first, or None if the manifest is missing (a sparse index), or if
    they are too many for a record: then `is_present` is true. `size` is the compressed
    bytes of the distinct layers. `config` is None if no config was fetched, `base` if
    neither the image nor its index names one. `layer_traits` are sorted. `variant` is
    what the registry returned; `architectures` of the record is normalised.
    `alternatives` are the same platform in other compressions: they do not count in
    sizes. `manifest_size` and `config_size` are the bytes of the two documents; None if
    the registry does not have the manifest, `config_size` also for schema 1, which has
    no config.
    """

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
    """A manifest attached to an image. `subject` is the digest it is attached to.

    `predicates` are the predicate types of its in-toto statements, sorted; None if they
    are not known. `size` is the bytes of its manifest, None if nothing states it.
    `blobs` are its config and its layers; None if its manifest was not read. `tag` is
    the tag that names it (cosign's) or lists it (the fallback tag); None if it was
    found in the index of the image or by the referrers API. `in_index`: the index of
    the image lists it, which is then incomplete without it. `annotations` are those
    of its manifest, as `auditor.oci.attachments` chooses them; `annotations_left_out`
    counts those that are too many or too long for a record.
    """

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
    """A manifest below an index. `size` is the bytes that the index states."""

    digest: str
    media_type: str | None
    size: int


@dataclass(frozen=True, kw_only=True)
class ImageSignature:
    """A signature of the manifest that the reference names, and what is known of it.

    `digest` is the manifest that contains it. `keys` are the names that the signature
    policy has for the keys that verify it; empty unless it is verified. `reason` says
    why it is not. `identity` is who the signature says it is from or for: cosign's
    docker-reference, or the subject of the certificate. `signed_at` is the signer's
    claim, RFC 3339 in UTC. Neither is verified unless the signature is.
    """

    digest: str
    format: SignatureFormat
    state: SignatureState
    keys: tuple[str, ...]
    reason: str | None
    identity: str | None
    signed_at: str | None


@dataclass(frozen=True, kw_only=True)
class Access:
    """The right to pull, as stated by the token that was used.

    `actions` are those granted for the repository. `verified` is True if the signature
    of the token was checked with the user's keys. `credential` is where the credential
    comes from; None for anonymous access. `login_unused`: a login is configured, and
    was not sent, because the registry did not ask for one.
    """

    state: AccessState
    actions: tuple[str, ...] = ()
    subject: str | None = None
    issuer: str | None = None
    verified: bool = False
    credential: CredentialSource | None = None
    login_unused: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the input names a reference: who uses it.

    `list` is the list as it was given, None for an argument or a key of the
    configuration; `place` is the list with the line or the object. `namespace` is that
    of Kubernetes, or the project of a compose file. `workload` is `KIND/NAME`, such as
    `Deployment/web`; `service/NAME` in a compose file, `stage/NAME` in a Dockerfile.
    Pods are listed as the workload that owns them, `place` is the first one.
    `container` is the name of the container, or of the volume.
    """

    list: str | None
    place: str
    namespace: str | None = None
    workload: str | None = None
    container: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """An audited reference. `audited_at` is RFC 3339 in UTC, to the second.

    `architectures` are normalised (`auditor.oci.platform.platform_text`) and sorted.
    `content` is what the reference names; `architectures` can be those of an artifact.
    `platforms_left_out` is the number of platforms removed by the platform filter.
    `signed`, `has_sbom` and `has_provenance` state what is attached, not whether it is
    valid; None if attachments were not, or not completely, fetched.
    `verified_by` and `not_verified_by` are the keys that a signature policy names for
    the image, by whether they verify one of its `signatures`; a key in neither is
    unknown, because not all signatures could be read. All three are None if no policy
    names the image. A record has the first 50 signatures, verified ones first;
    `signatures_left_out` is the number of the others.
    `location` is `registry/repository` that was asked instead: a mirror, or where
    registries.conf moves the name; None if the registry itself was asked.
    `pushed_at` and `pulled_at` are when the tag was last pushed and pulled, RFC 3339 in
    UTC to the second, by the listing that the tag is from, which was read before the
    manifest. None if there was no listing, or if it has no such time: a product that
    has pull times gives none for an image that it has not seen being pulled.
    `subject` is the digest that the manifest names as its subject. `manifest_size` is
    the bytes of the manifest. `other_children` are the manifests below an index that
    are neither in `platforms` nor in `attachments`: nested indexes, and what was left
    out or could not be read; sorted.
    `bases` are the base images that its platforms name, with what their names point at
    now; None if they were not asked for, empty if none is named. `bases_left_out`
    counts those beyond the limit.
    `untagged`: the listing has the manifest without a tag (`--untagged`); it may be a
    child of an index, or be attached to an image. False for a tag, None for a digest
    that the input names.
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
    """A reference that could not be audited, and why.

    `sources` and `input_labels` are as in `ImageRecord`.
    """

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
