"""One signature of a manifest, checked with the key that stands in its header.

Sources: docker/libtrust (jsonsign.go, ec_key.go, rsa_key.go), RFC 7515 section 5.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auditor.oci import jws
from auditor.oci.jws import PublicKey
from auditor.protocol import base64url
from auditor.protocol.signatures import certificates
from auditor.protocol.signatures.value import SignatureCheck


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
        jws.verify(key, algorithm, signed, signature_bytes)
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
        return certificates.public_key(certificates.from_x5c(header["x5c"])[0])
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
        return base64url.decode(text)
    except ValueError as error:
        raise jws.JwsError(f"the {what} is damaged: {error}") from None
