"""libtrust's "pretty" signatures: a JWS inside the JSON document that it signs.

Source: distribution "Image Manifest Version 2, Schema 1", section "Signed Manifests",
and docker/libtrust (jsonsign.go). The payload is the document without `signatures`:
`body[:formatLength] + base64url(formatTail)`, both taken from the JWS protected
header (RFC 7515). Key and algorithm stand in the unprotected header.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from auditor.errors import ProtocolError
from auditor.protocol import base64url
from auditor.protocol.signatures.value import SignatureCheck

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
    from auditor.protocol.signatures.check import check_signature  # noqa: PLC0415

    encoded = base64url.encode(payload)
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
        header = orjson.loads(base64url.decode(protected))
        length, tail = header["formatLength"], base64url.decode(header["formatTail"])
    except (ValueError, TypeError, KeyError):
        raise ProtocolError(f"{where} has a damaged protected header") from None
    if isinstance(length, bool) or not isinstance(length, int) or length < 0:
        raise ProtocolError(f"{where} has a damaged protected header")
    return length, tail
