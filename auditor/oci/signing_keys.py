"""Keys that may sign images: public keys for cosign, trust stores for Notation.

`read_public_keys` and `read_certificates` read the files that a signature policy names.
`is_signed_by` checks a signature of cosign, which does not say its algorithm: the key
decides (RFC 8725 section 3.1).

Sources: RFC 7468 (PEM); cosign specs/SIGNATURE_SPEC.md ("Signature Schemes"); sigstore
protobuf-specs, `PublicKeyDetails`; notation specs/trust-store-trust-policy.md.

cryptography is slow to import: nothing that a command imports at its start may import
this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509.oid import NameOID

from auditor.fast_dataclass import dataclass
from auditor.oci.jws import (
    MIN_RSA_BITS,
    JwsError,
    PublicKey,
    certificate_public_key,
    supported_key,
)

# RFC 7468: text between blocks is ignored.
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----[^-]*-----END \1-----", re.ASCII)
_DER_SEQUENCE = b"\x30"
_HASHES = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
# An unescaped comma between attributes, with the spaces that people write after it.
_COMMA = re.compile(r"(?<!\\),\s+")
# Short names besides those of RFC 4514: Notation's alias of ST, and an address.
_MORE_NAMES = {
    "S": NameOID.STATE_OR_PROVINCE_NAME,
    "emailAddress": NameOID.EMAIL_ADDRESS,
    "E": NameOID.EMAIL_ADDRESS,
}

# The attributes of a certificate's subject, by object identifier.
Subject = Mapping[x509.ObjectIdentifier, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSigningKey:
    """A signer that a policy trusts, under the name that records have.

    `public_keys` are for cosign, `certificates` are a trust store for Notation. With
    `subjects`, a signing certificate must have all attributes of one of them. The
    certificates of a `signing_authority` vouch for signing times.
    """

    name: str
    public_keys: tuple[PublicKey, ...] = ()
    certificates: tuple[x509.Certificate, ...] = ()
    subjects: tuple[Subject, ...] = ()
    signing_authority: bool = False


class SigningKeyError(ValueError):
    """A key or certificate file that cannot be used; the message is a clause."""


def read_public_keys(data: bytes) -> tuple[PublicKey, ...]:
    """The public keys of a PEM file, at least one. Raises `SigningKeyError`."""
    keys = []
    for label, block in _pem_blocks(data):
        if not label.endswith("PUBLIC KEY"):
            raise SigningKeyError(f"it contains a {label}, not a public key")
        try:
            key = supported_key(load_pem_public_key(block))
        except JwsError as error:
            raise SigningKeyError(str(error)) from None
        except (ValueError, UnsupportedAlgorithm):
            raise SigningKeyError("it contains a key that cannot be read") from None
        if isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS:
            raise SigningKeyError(f"its RSA key of {key.key_size} bits is too weak")
        keys.append(key)
    if not keys:
        raise SigningKeyError("it contains no public key in PEM")
    return tuple(keys)


def read_certificates(data: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM or DER file, at least one. Raises `SigningKeyError`."""
    blocks = list(_pem_blocks(data))
    for label, _ in blocks:
        if label != "CERTIFICATE":
            raise SigningKeyError(f"it contains a {label}, not a certificate")
    try:
        found = [x509.load_pem_x509_certificate(block) for _, block in blocks]
        if data.startswith(_DER_SEQUENCE):
            found.append(x509.load_der_x509_certificate(data))
        for certificate in found:
            certificate_public_key(certificate)
    except ValueError:
        reason = "it contains a certificate that cannot be read"
        raise SigningKeyError(reason) from None
    if not found:
        raise SigningKeyError("it contains no certificate")
    return tuple(found)


def _pem_blocks(data: bytes) -> Iterator[tuple[str, bytes]]:
    for block in _PEM_BLOCK.finditer(data):
        label = block[1].decode("ascii")
        if label.endswith("PRIVATE KEY"):
            raise SigningKeyError("it contains a private key; only give public ones")
        yield label, block[0]


def parse_subject(text: str) -> Subject:
    """The attributes in `C=US, ST=WA, O=Acme` (RFC 4514). Raises `SigningKeyError`."""
    try:
        name = x509.Name.from_rfc4514_string(
            _COMMA.sub(",", text.strip()), attr_name_overrides=_MORE_NAMES
        )
    except (ValueError, KeyError):
        raise SigningKeyError("expected attributes as in C=US, ST=WA, O=Acme") from None
    subject = subject_of(name)
    if subject is None or not subject:
        raise SigningKeyError("each attribute of a subject must be there once")
    return subject


def subject_of(name: x509.Name) -> Subject | None:
    """The attributes of a subject; None if one is there twice, or is not text."""
    subject: dict[x509.ObjectIdentifier, str] = {}
    for attribute in name:
        if attribute.oid in subject or not isinstance(attribute.value, str):
            return None
        subject[attribute.oid] = attribute.value
    return subject


def is_signed_by(key: PublicKey, signed: bytes, signature: bytes) -> bool:
    """Whether the key signed these bytes, by one of cosign's algorithms.

    ECDSA signatures are DER; RSA is PKCS #1 v1.5 or PSS; hashes are of SHA-2.
    """
    if isinstance(key, Ed25519PublicKey):
        return _verifies(lambda: key.verify(signature, signed))
    return any(_is_signed_with(key, hash_, signed, signature) for hash_ in _HASHES)


def is_digest_signed_by(key: PublicKey, sha256: bytes, signature: bytes) -> bool:
    """Whether the key signed the content with this SHA-256, without the content.

    Ed25519 needs the content: False.
    """
    if isinstance(key, Ed25519PublicKey):
        return False
    return _is_signed_with(key, Prehashed(hashes.SHA256()), sha256, signature)


def _is_signed_with(
    key: RSAPublicKey | ec.EllipticCurvePublicKey,
    algorithm: hashes.HashAlgorithm | Prehashed,
    signed: bytes,
    signature: bytes,
) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _verifies(lambda: key.verify(signature, signed, ec.ECDSA(algorithm)))
    hash_ = hashes.SHA256() if isinstance(algorithm, Prehashed) else algorithm
    pss = padding.PSS(padding.MGF1(hash_), padding.PSS.AUTO)
    return _verifies(
        lambda: key.verify(signature, signed, padding.PKCS1v15(), algorithm)
    ) or _verifies(lambda: key.verify(signature, signed, pss, algorithm))


def _verifies(verify: Callable[[], None]) -> bool:
    try:
        verify()
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True
