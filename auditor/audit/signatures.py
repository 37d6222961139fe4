"""Verifies the signatures of images that a signature policy names.

`SignatureVerifier.verify` reads the manifests of an image's signatures, fetches the
blobs that they name, and passes these to the formats' verifiers (oci/). It sends no
request for an image that the policy does not name, for an attachment, or for formats
that none of the image's keys can verify.

Only signatures of the manifest that the reference names count, as with cosign and
notation: with one of each platform a client still pulls an index that nobody signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from auditor.audit.content_cache import ContentCache
from auditor.config.signature_policy import SignaturePolicy
from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.model import (
    Attachment,
    ImageSignature,
    SignatureFormat,
    SignatureState,
    Warn,
    WarningCode,
)
from auditor.oci.attachments import may_be_signature
from auditor.oci.descriptor import Descriptor, essence
from auditor.oci.manifest import ImageManifest
from auditor.registry.client import Registry
from auditor.util.clock import Clock
from auditor.util.lru import Lru
from auditor.util.tasks import SingleFlight, bounded_gather
from auditor.util.text import format_count

if TYPE_CHECKING:
    from auditor.oci.signature_verdict import SignatureVerdict
    from auditor.oci.signing_keys import ImageSigningKey

# Requests for one image sent concurrently; the host's limit is the effective one.
CONCURRENT_REQUESTS = 8
# Signatures of one image that are verified: cosign adds one each time that an image is
# signed again. Each is tried with each key, some 0.1 ms.
MAX_SIGNATURES = 100
# Signatures in a record, verified ones first: some 500 bytes each.
MAX_RECORDED = 50
# cosign's payloads have 300 bytes; envelopes with three certificates have 8 KB.
MAX_BLOB_BYTES = 1024 * 1024
# Images whose result is kept, some 1 KB each; 50 signatures have some 60 KB.
MAX_IMAGES = 2048
MAX_RESULTS_BYTES = 16 * 1024 * 1024
_SIGNATURE_BYTES = 1200

# Failures of a blob that is not what its manifest says.
_DAMAGED = frozenset({FailureKind.TOO_LARGE, FailureKind.DIGEST_MISMATCH})
_SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning."
_BUNDLE = "application/vnd.dev.sigstore.bundle"
_NOTATION_TYPES = frozenset({"application/jose+json", "application/cose"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureSearch:
    """The image whose signatures are verified, and what was found attached to it.

    `is_complete`: everything that is attached was found.
    """

    registry: Registry
    repository: str
    digest: str
    media_type: str
    size: int
    attachments: Sequence[Attachment]
    is_complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSignatures:
    """What was found; the fields are those of the image's record."""

    verified_by: tuple[str, ...]
    not_verified_by: tuple[str, ...]
    signatures: tuple[ImageSignature, ...]
    signatures_left_out: int
    warnings: tuple[Warn, ...]


_Key = tuple[str, str, str, tuple[str, ...]]  # registry, repository, digest, keys


class SignatureVerifier:
    """Verifies signatures with the keys of a policy, once for each image.

    `named` and `unnamed` count the images that the policy names, and the others.
    """

    def __init__(
        self, content: ContentCache, policy: SignaturePolicy, clock: Clock
    ) -> None:
        self._content = content
        self._policy = policy
        self._clock = clock
        self._results: Lru[_Key, VerifiedSignatures] = Lru(
            MAX_IMAGES, MAX_RESULTS_BYTES
        )
        self._flights: SingleFlight[_Key, VerifiedSignatures] = SingleFlight()
        self.named = 0
        self.unnamed = 0

    def keys_for(self, registry: str, repository: str) -> tuple[ImageSigningKey, ...]:
        """The keys that may sign the images of a repository; none: do not verify."""
        keys = self._policy.keys_for(registry, repository)
        if keys:
            self.named += 1
        else:
            self.unnamed += 1
        return keys

    async def verify(
        self, search: SignatureSearch, keys: Sequence[ImageSigningKey]
    ) -> VerifiedSignatures:
        """The signatures of an image, and which keys made them. Never fails."""
        names = tuple(key.name for key in keys)
        key = (search.registry.name, search.repository, search.digest, names)
        known = self._results.get(key)
        if known is None:
            known = await self._flights.run(
                key,
                lambda: self._verify(search, keys),
                is_certain=lambda result: not result.warnings,
            )
            if not known.warnings and search.is_complete:
                size = _SIGNATURE_BYTES * (1 + len(known.signatures or ()))
                self._results.put(key, known, size)
        return known

    async def _verify(
        self, search: SignatureSearch, keys: Sequence[ImageSigningKey]
    ) -> VerifiedSignatures:
        candidates = _candidates(search)
        manifests = await bounded_gather(
            lambda one: self._read_manifest(search, one),
            candidates[:MAX_SIGNATURES],
            limit=CONCURRENT_REQUESTS,
        )
        found = [one for one in manifests if isinstance(one, ImageSignature)]
        layers = [
            (digest, layer)
            for one in manifests
            if not isinstance(one, ImageSignature)
            for digest, layer in one
        ]
        found += await bounded_gather(
            lambda one: self._layer_signature(search, *one, keys),
            layers[:MAX_SIGNATURES],
            limit=CONCURRENT_REQUESTS,
        )
        # Verified ones first: others can be added by anyone who may push.
        found.sort(key=lambda one: one.state is not SignatureState.VERIFIED)
        unread = [one for one in found if one.state is SignatureState.UNKNOWN]
        too_many = len(candidates) > MAX_SIGNATURES or len(layers) > MAX_SIGNATURES
        is_complete = search.is_complete and not unread and not too_many
        verified = {name for one in found for name in one.keys}
        return VerifiedSignatures(
            verified_by=tuple(key.name for key in keys if key.name in verified),
            not_verified_by=tuple(
                key.name for key in keys if is_complete and key.name not in verified
            ),
            signatures=tuple(found[:MAX_RECORDED]),
            signatures_left_out=max(0, len(found) - MAX_RECORDED),
            warnings=_warnings(unread, len(found), too_many=too_many),
        )

    async def _read_manifest(
        self, search: SignatureSearch, attachment: Attachment
    ) -> ImageSignature | list[tuple[str, Descriptor]]:
        """The signatures in one manifest: cosign adds one for each further one."""
        # cryptography is slow to import, and few runs verify signatures.
        from auditor.oci.signature_verdict import (  # noqa: PLC0415
            unread,
            unverifiable,
        )

        digest = attachment.digest
        verified = await self._content.manifest(
            search.registry, search.repository, digest
        )
        if isinstance(verified, Failure):
            format_ = _format_of(attachment.artifact_type)
            return _signature(digest, format_, unread(verified.detail))
        manifest = verified.manifest
        if not isinstance(manifest, ImageManifest) or not manifest.layers:
            verdict = unverifiable("its manifest is of a form that is not known")
            return _signature(digest, SignatureFormat.OTHER, verdict)
        return [(digest, layer) for layer in manifest.layers]

    async def _layer_signature(
        self,
        search: SignatureSearch,
        digest: str,
        layer: Descriptor,
        keys: Sequence[ImageSigningKey],
    ) -> ImageSignature:
        format_ = _format_of(layer.media_type)
        verdict = await self._layer_verdict(search, format_, layer, keys)
        return _signature(digest, format_, verdict)

    async def _layer_verdict(
        self,
        search: SignatureSearch,
        format_: SignatureFormat,
        layer: Descriptor,
        keys: Sequence[ImageSigningKey],
    ) -> SignatureVerdict:
        from auditor.oci import signature_verdict as verdicts  # noqa: PLC0415

        if verdict := _without_content(format_, layer, keys):
            return verdict
        raw = await self._content.blob(
            search.registry, search.repository, layer, max_bytes=MAX_BLOB_BYTES
        )
        if isinstance(raw, Failure):
            is_damaged = raw.kind in _DAMAGED
            return (verdicts.invalid if is_damaged else verdicts.unread)(raw.detail)
        return self._content_verdict(search, format_, layer, raw, keys)

    def _content_verdict(
        self,
        search: SignatureSearch,
        format_: SignatureFormat,
        layer: Descriptor,
        raw: bytes,
        keys: Sequence[ImageSigningKey],
    ) -> SignatureVerdict:
        from auditor.oci import (  # noqa: PLC0415
            cosign_signature,
            notation_signature,
        )

        match format_:
            case SignatureFormat.COSIGN:
                return cosign_signature.verify_simple_signing(
                    raw, layer.annotations, digest=search.digest, keys=keys
                )
            case SignatureFormat.BUNDLE:
                return cosign_signature.verify_bundle(
                    raw, digest=search.digest, keys=keys
                )
        target = notation_signature.SignedTarget(
            digest=search.digest, media_type=search.media_type, size=search.size
        )
        return notation_signature.verify_notation_jws(
            raw, target, keys=keys, now=self._clock.epoch()
        )


def _candidates(search: SignatureSearch) -> list[Attachment]:
    """The attachments that are, or may be, signatures of the image itself."""
    return [
        one
        for one in search.attachments
        if one.subject in {None, search.digest} and may_be_signature(one)
    ]


def _without_content(
    format_: SignatureFormat, layer: Descriptor, keys: Sequence[ImageSigningKey]
) -> SignatureVerdict | None:
    """The verdict on a signature whose blob need not be fetched."""
    from auditor.oci.notation_signature import COSE, COSE_TYPE  # noqa: PLC0415
    from auditor.oci.signature_verdict import (  # noqa: PLC0415
        untrusted,
        unverifiable,
    )

    if format_ is SignatureFormat.OTHER:
        return unverifiable(f"its format is not known: {layer.media_type}")
    if essence(layer.media_type) == COSE_TYPE:
        return unverifiable(COSE)
    if not layer.is_verifiable:
        return unverifiable("the algorithm of its digest is not supported")
    is_notation = format_ is SignatureFormat.NOTATION
    if not any(key.certificates if is_notation else key.public_keys for key in keys):
        program = "notation" if is_notation else "cosign"
        return untrusted(f"the policy has no key of {program} for this image")
    if layer.size > MAX_BLOB_BYTES:
        return unverifiable(f"it has more than {MAX_BLOB_BYTES} bytes")
    return None


def _format_of(media_type: str | None) -> SignatureFormat:
    name = essence(media_type) or ""
    if name.startswith(_SIMPLE_SIGNING):
        return SignatureFormat.COSIGN
    if name.startswith(_BUNDLE):
        return SignatureFormat.BUNDLE
    if name in _NOTATION_TYPES:
        return SignatureFormat.NOTATION
    return SignatureFormat.OTHER


def _signature(
    digest: str, format_: SignatureFormat, verdict: SignatureVerdict
) -> ImageSignature:
    return ImageSignature(
        digest=digest,
        format=format_,
        state=verdict.state,
        keys=verdict.keys,
        reason=verdict.reason,
        identity=verdict.identity,
        signed_at=verdict.signed_at,
    )


def _warnings(
    unread: Sequence[ImageSignature], count: int, *, too_many: bool
) -> tuple[Warn, ...]:
    details = []
    if unread:
        details.append(
            f"{len(unread)} of {format_count(count, 'signature')} could not be read,"
            f" for example {unread[0].digest}: {unread[0].reason}"
        )
    if too_many:
        details.append(
            f"the image has more than {MAX_SIGNATURES} signatures; the others are not"
            " verified"
        )
    return tuple(
        Warn(code=WarningCode.SIGNATURES_UNKNOWN, detail=detail) for detail in details
    )
