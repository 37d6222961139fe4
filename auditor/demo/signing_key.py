"""ES256 keys as registries use them: libtrust key ids, JWKs, signatures.

RFC 7515 (JWS), RFC 7517 (JWK). The key id of libtrust is
`base32(sha256(DER SubjectPublicKeyInfo)[:30])` in 12 groups of 4.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cached_property

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from auditor.fast_dataclass import dataclass
from auditor.oci.encoding import encode_base64url

# FIPS 186-5, P-256: the order of the base point.
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_COORDINATE_BYTES = 32
_LIBTRUST_ID_BYTES = 30
_LIBTRUST_GROUP_CHARS = 4


@dataclass(frozen=True, eq=False)
class SigningKey:
    """A P-256 private key that signs tokens and schema 1 manifests."""

    private: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> SigningKey:
        """A new random key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_seed(cls, seed: str) -> SigningKey:
        """The same key for the same seed: for reproducible images, not for secrets."""
        number = int.from_bytes(hashlib.sha512(seed.encode()).digest())
        return cls(
            ec.derive_private_key(number % (_P256_ORDER - 1) + 1, ec.SECP256R1())
        )

    @cached_property
    def key_id(self) -> str:
        """The libtrust key id: `ABCD:EFGH:...`, 12 groups."""
        spki = self.private.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        digest = hashlib.sha256(spki).digest()[:_LIBTRUST_ID_BYTES]
        text = base64.b32encode(digest).decode()
        return ":".join(
            text[start : start + _LIBTRUST_GROUP_CHARS]
            for start in range(0, len(text), _LIBTRUST_GROUP_CHARS)
        )

    @cached_property
    def jwk(self) -> dict[str, str]:
        """The public key as libtrust embeds it: its `kid` is the libtrust id."""
        numbers = self.private.public_key().public_numbers()
        return {
            "crv": "P-256",
            "kid": self.key_id,
            "kty": "EC",
            "x": encode_base64url(numbers.x.to_bytes(_COORDINATE_BYTES)),
            "y": encode_base64url(numbers.y.to_bytes(_COORDINATE_BYTES)),
        }

    def sign(self, data: bytes) -> bytes:
        """An ES256 signature in the form of JWS: `r || s`, 64 bytes (RFC 7518 3.4)."""
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(_COORDINATE_BYTES) + s.to_bytes(_COORDINATE_BYTES)
