"""The keys that a user trusts to sign tokens, read from a file's bytes.

Sources: RFC 7468 (PEM), RFC 7517 section 5 (JWK sets), RFC 7638 (thumbprints),
distribution's access controller (`rootcertbundle`, `jwks`, libtrust key ids).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci import jws
from auditor.oci.jws import JwsError, PublicKey, libtrust_key_id, rfc7638_thumbprint
from auditor.protocol.signatures import certificates

# RFC 7468: text between blocks is allowed and says nothing.
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----[^-]*-----END \1-----", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A key of the set and every name it may be called by, libtrust's id first."""

    key: PublicKey
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """The trusted keys, and the certificates that `x5c` chains may lead to."""

    keys: tuple[TrustedKey, ...]
    certificates: tuple[x509.Certificate, ...] = ()

    @classmethod
    def from_bytes(cls, data: bytes) -> KeySet:
        """Read a PEM bundle (public keys, certificates), a JWKS or a single JWK.

        Raises `ProtocolError` with a sentence: nothing usable in it, a damaged block,
        or a private key, which does not belong where tokens are only checked.
        """
        try:
            if data.lstrip()[:1] == b"{":
                return cls(keys=tuple(_from_json(data)))
            return _from_pem(data)
        except JwsError as error:
            raise ProtocolError(f"the token keys cannot be used: {error}") from None

    def named(self, name: object) -> tuple[TrustedKey, ...]:
        """The keys with this libtrust id, RFC 7638 thumbprint or own `kid`."""
        return tuple(trusted for trusted in self.keys if name in trusted.names)


def _from_json(data: bytes) -> Iterator[TrustedKey]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise JwsError(f"it is not JSON: {error.msg} at byte {error.pos}") from None
    jwks = document.get("keys", [document])
    if not isinstance(jwks, list):
        raise JwsError('its "keys" is not a list')
    # RFC 7517 section 5: keys of unknown types are passed over, and so are those that
    # are not for signatures.
    usable = [
        jwk
        for jwk in jwks
        if isinstance(jwk, dict)
        and jwk.get("kty") in jws.KEY_TYPES
        and jwk.get("use", "sig") == "sig"
    ]
    if not usable:
        raise JwsError("it holds no public key that signs")
    for jwk in usable:
        if "d" in jwk:
            raise JwsError("it holds a private key; only public keys belong there")
        yield _trusted(jws.public_key(jwk), jwk.get("kid"))


def _from_pem(data: bytes) -> KeySet:
    keys: dict[str, TrustedKey] = {}
    anchors = []
    for block in _PEM_BLOCK.finditer(data):
        if block[1].endswith(b"PRIVATE KEY"):
            raise JwsError("it holds a private key; only public keys belong there")
        try:
            if block[1] == b"CERTIFICATE":
                anchors.append(x509.load_pem_x509_certificate(block[0]))
                key = certificates.public_key(anchors[-1])
            elif block[1].endswith(b"PUBLIC KEY"):
                key = jws.supported_key(load_pem_public_key(block[0]))
            else:
                continue
        except (ValueError, UnsupportedAlgorithm) as error:
            shown = error if isinstance(error, JwsError) else "it cannot be read"
            label = block[1].decode("ascii")
            raise JwsError(f"its {label} at byte {block.start()}: {shown}") from None
        trusted = _trusted(key)
        keys[trusted.names[0]] = trusted
    if not keys:
        raise JwsError("it is neither PEM with public keys or certificates nor a JWKS")
    return KeySet(keys=tuple(keys.values()), certificates=tuple(anchors))


def _trusted(key: PublicKey, own_name: object = None) -> TrustedKey:
    names = [libtrust_key_id(key), rfc7638_thumbprint(jws.jwk_of(key))]
    if isinstance(own_name, str) and own_name and own_name not in names:
        names.append(own_name)
    return TrustedKey(key=key, names=tuple(names))
