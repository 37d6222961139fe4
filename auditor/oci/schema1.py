"""Docker image manifests version 2, schema 1 ("Image Manifest Version 2, Schema 1").

Layers stand newest first in the document, base first in the value. There are no
sizes. Platform and creation time are those of `history[0].v1Compatibility`, a JSON
document inside a JSON string.

A signed manifest is its payload: that is what is signed, what the digest is over, and
so it is also what is read. Keys that stand in the document but not in the payload
have no say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci import encoding, jws
from auditor.oci import jws as certificates
from auditor.oci.encoding import check_key_case, parse_json_object
from auditor.oci.jws import PublicKey
from auditor.oci.reference import is_digest

# -- value --
# What a check of a signature found: apart from the check, which is slow to load.


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureCheck:
    """One signature. `valid` says that the key signed it, not who holds the key.

    `key_id` is the libtrust id computed from the key, not the one it claims.
    """

    valid: bool
    key_id: str | None
    algorithm: str | None
    reason: str


# -- check --
# One signature of a manifest, checked with the key that stands in its header.
#
# Sources: docker/libtrust (jsonsign.go, ec_key.go, rsa_key.go), RFC 7515 section 5.2.


def check_signature(encoded_payload: str, signature: object) -> SignatureCheck:
    """Check one entry of `signatures` over the base64url payload. Never raises."""
    fields = signature if isinstance(signature, dict) else {}
    header = fields.get("header")
    header = header if isinstance(header, dict) else {}
    algorithm = header.get("alg")
    algorithm = algorithm if isinstance(algorithm, str) else None
    key_id = None
    try:
        key = _key(header)
        key_id = jws.libtrust_key_id(key)
        _check_claimed_id(header, key_id)
        signature_bytes = _decode(fields.get("signature"), "signature")
        protected = fields.get("protected")
        _decode(protected, "protected header")
        signed = f"{protected}.{encoded_payload}".encode("ascii")
        jws.verify_signature(key, algorithm, signed, signature_bytes)
    except jws.JwsError as error:
        return SignatureCheck(
            valid=False, key_id=key_id, algorithm=algorithm, reason=str(error)
        )
    return SignatureCheck(
        valid=True, key_id=key_id, algorithm=algorithm, reason="the signature is valid"
    )


def _key(header: Mapping[str, Any]) -> PublicKey:
    # libtrust: a certificate chain takes the place of the key, its leaf first.
    if header.get("x5c"):
        return certificates.certificate_public_key(
            certificates.parse_x5c(header["x5c"])[0]
        )
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        raise jws.JwsError("the signature names no key")
    return jws.public_key(jwk)


def _check_claimed_id(header: Mapping[str, Any], key_id: str) -> None:
    # libtrust refuses a key that stands beside another key's id.
    jwk = header.get("jwk")
    claimed = jwk.get("kid") if isinstance(jwk, dict) else None
    if claimed is not None and claimed != key_id:
        raise jws.JwsError("the key id is not that of the key it stands beside")


def _decode(text: object, what: str) -> bytes:
    if not isinstance(text, str):
        raise jws.JwsError(f"the {what} is missing")
    try:
        return encoding.decode_base64url(text)
    except ValueError as error:
        raise jws.JwsError(f"the {what} is damaged: {error}") from None


# -- pretty --
# libtrust's "pretty" signatures: a JWS inside the JSON document that it signs.
#
# Source: distribution "Image Manifest Version 2, Schema 1", section "Signed Manifests",
# and docker/libtrust (jsonsign.go). The payload is the document without `signatures`:
# `body[:formatLength] + base64url(formatTail)`, both taken from the JWS protected
# header (RFC 7515). Key and algorithm stand in the unprotected header.

# A registry may keep the signatures of several pushes of the same content. Each check
# hashes the whole payload: a hundred of them over 4 MiB take about half a second.
MAX_SIGNATURES = 100


def signed_payload(raw: bytes, document: Mapping[str, Any]) -> bytes:
    """The bytes that are signed in `raw`, which `document` was parsed from.

    Raises `ProtocolError` where they cannot be told, or where two signatures say
    that they sign different bytes.
    """
    payload = None
    for number, signature in enumerate(_signatures(document.get("signatures"))):
        where = f"the manifest's signatures[{number}]"
        length, tail = _format(signature, where)
        if length > len(raw):
            raise ProtocolError(
                f"{where} signs {length} bytes of a document of {len(raw)}"
            )
        signed = raw[:length] + tail
        if payload is not None and signed != payload:
            raise ProtocolError(f"{where} signs other content than the ones before it")
        payload = signed
    if payload is None:
        raise ProtocolError("the manifest is not signed")
    return payload


def check_signatures(
    payload: bytes, signatures: Sequence[object]
) -> tuple[SignatureCheck, ...]:
    """Each signature checked over the payload, in their order. Never raises."""
    if not signatures:
        return ()
    # Imported here: manifests without signatures need no cryptography.

    encoded = encoding.encode_base64url(payload)
    return tuple(check_signature(encoded, signature) for signature in signatures)


def _signatures(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ProtocolError('the manifest\'s "signatures" is not a list')
    if len(value) > MAX_SIGNATURES:
        raise ProtocolError(f"the manifest has more than {MAX_SIGNATURES} signatures")
    return value


def _format(signature: object, where: str) -> tuple[int, bytes]:
    protected = signature.get("protected") if isinstance(signature, dict) else None
    if not isinstance(protected, str):
        raise ProtocolError(f"{where} has no protected header")
    try:
        header = orjson.loads(encoding.decode_base64url(protected))
        length, tail = (
            header["formatLength"],
            encoding.decode_base64url(header["formatTail"]),
        )
    except (ValueError, TypeError, KeyError):
        raise ProtocolError(f"{where} has a damaged protected header") from None
    if isinstance(length, bool) or not isinstance(length, int) or length < 0:
        raise ProtocolError(f"{where} has a damaged protected header")
    return length, tail


__all__ = [
    "EMPTY_LAYER",
    "Schema1Manifest",
    "SignatureCheck",
    "parse_schema1",
    "signed_payload",
]

# The gzipped tar file of nothing, which docker lists for steps without a file system.
EMPTY_LAYER = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
# A layer takes at least 111 bytes of the document, 86 in fsLayers and 25 in history:
# `{"blobSum":"sha256:<64 hex>"},` and `{"v1Compatibility":"{}"},`. More than fit into
# 4 MiB, what distribution accepts as a manifest, are refused even where the
# configuration allows larger documents.
MAX_LAYERS = 4 * 1024 * 1024 // 111


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema1Manifest:
    """A schema 1 manifest. `layers` are blob digests, base first, as many as it lists.

    `throwaway[i]` is the flag of the history entry for `layers[i]`: the step changed
    no file. `payload` is what the digest is over: all bytes of an unsigned manifest.
    """

    name: str | None
    tag: str | None
    architecture: str | None
    os: str | None
    variant: str | None
    created: str | None
    layers: tuple[str, ...]
    throwaway: tuple[bool, ...]
    signed: bool
    payload: bytes
    signatures: tuple[SignatureCheck, ...]


def parse_schema1(raw: bytes, document: Mapping[str, Any]) -> Schema1Manifest:
    """The manifest in `raw`, which `document` was parsed from.

    An invalid signature is a value in `signatures`. Raises `ProtocolError` for a
    document that breaks the format or whose payload cannot be cut out.
    """
    signatures = document.get("signatures") or ()
    signed = bool(signatures)
    payload = raw
    if signed:
        payload = signed_payload(raw, document)
        document = parse_json_object(payload, "signed manifest")
        check_key_case((document,), "signed manifest")
    if document.get("schemaVersion") != 1:
        raise ProtocolError("the manifest's schemaVersion is not 1")
    layers = _layers(document)
    history = _history(document, expected=len(layers))
    newest = history[0]
    return Schema1Manifest(
        name=_text(document.get("name")),
        tag=_text(document.get("tag")),
        # The image's own word goes before the manifest's copy of it.
        architecture=_text(newest.get("architecture"))
        or _text(document.get("architecture")),
        os=_text(newest.get("os")),
        variant=_text(newest.get("variant")),
        created=_text(newest.get("created")),
        layers=tuple(reversed(layers)),
        throwaway=tuple(entry.get("throwaway") is True for entry in reversed(history)),
        signed=signed,
        payload=payload,
        signatures=check_signatures(payload, signatures),
    )


def _layers(document: Mapping[str, Any]) -> list[str]:
    entries = _objects(document, "fsLayers")
    check_key_case(entries, "manifest's fsLayers")
    if len(entries) > MAX_LAYERS:
        raise ProtocolError(f"the manifest lists more than {MAX_LAYERS} layers")
    layers = []
    for number, entry in enumerate(entries):
        layer = entry.get("blobSum")
        if not isinstance(layer, str) or not is_digest(layer):
            raise ProtocolError(
                f"the manifest's fsLayers[{number}] has no valid blobSum"
            )
        layers.append(layer)
    return layers


def _history(document: Mapping[str, Any], *, expected: int) -> list[dict[str, Any]]:
    entries = _objects(document, "history")
    if len(entries) != expected:
        raise ProtocolError(
            f"the manifest has {expected} fsLayers but {len(entries)} history entries"
        )
    return [
        _compatibility(entry.get("v1Compatibility"), number)
        for number, entry in enumerate(entries)
    ]


def _compatibility(text: object, number: int) -> dict[str, Any]:
    where = f"the manifest's history[{number}].v1Compatibility"
    if not isinstance(text, str):
        raise ProtocolError(f"{where} is not a string")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ProtocolError(f"{where} is not JSON") from None
    if not isinstance(value, dict):
        raise ProtocolError(f"{where} is JSON but not an object")
    return value


def _objects(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = document.get(key)
    if not isinstance(value, list) or not value:
        raise ProtocolError(f'the manifest\'s "{key}" is not a list with entries')
    for number, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise ProtocolError(f"the manifest's {key}[{number}] is not an object")
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
