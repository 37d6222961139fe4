"""The signature check of schema 1 manifests: libtrust's signatures, a form of JWS.

Sources: docker/libtrust (jsonsign.go, ec_key.go, rsa_key.go), RFC 7515 section 5.2.
Imported only when a manifest has signatures: cryptography is slow to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auditor.oci import jws
from auditor.oci.encoding import decode_base64url


def check_signature(
    encoded_payload: str, signature: object
) -> tuple[str | None, str | None, str | None]:
    """Check an entry of `signatures` with the key in its header.

    Returns the key's libtrust id, the algorithm and the error, None if the signature is
    valid. Never raises.
    """
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
        return key_id, algorithm, str(error)
    return key_id, algorithm, None


def _key(header: Mapping[str, Any]) -> jws.PublicKey:
    # libtrust: a certificate chain replaces the key.
    if header.get("x5c"):
        return jws.certificate_public_key(jws.parse_x5c(header["x5c"])[0])
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        raise jws.JwsError("the signature has no key")
    return jws.public_key(jwk)


def _check_claimed_id(header: Mapping[str, Any], key_id: str) -> None:
    # libtrust refuses a key with the id of another one.
    jwk = header.get("jwk")
    claimed = jwk.get("kid") if isinstance(jwk, dict) else None
    if claimed is not None and claimed != key_id:
        raise jws.JwsError("the key id in the JWK is not the id of its key")


def _decode(text: object, what: str) -> bytes:
    if not isinstance(text, str):
        raise jws.JwsError(f"the {what} is missing")
    try:
        return decode_base64url(text)
    except ValueError as error:
        raise jws.JwsError(f"the {what} is not base64url: {error}") from None
