"""Tokens and signed schema 1 manifests, made without any of auditor's own code.

Signing is `cryptography` and PyJWT; the manifest format is that of docker/libtrust
(jsonsign.go) as distribution's "Image Manifest Version 2, Schema 1" describes it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from jwt.algorithms import get_default_algorithms

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
NOW = 1_795_479_600.0  # 2026-11-24
NOON = datetime.fromtimestamp(NOW, UTC)


@cache
def key_for(algorithm: str, number: int = 0) -> PrivateKey:
    """One private key per algorithm and number, the same within a run."""
    if algorithm.startswith("ES"):
        curve = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "512": ec.SECP521R1()}
        return ec.generate_private_key(curve[algorithm[2:]])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def libtrust_id(key: PrivateKey) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode()
    return ":".join(text[at : at + 4] for at in range(0, 48, 4))


def jwk(key: PrivateKey, **more: Any) -> dict[str, Any]:
    kind = "EdDSA"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        kind = "ES256"
    elif isinstance(key, rsa.RSAPrivateKey):
        kind = "RS256"
    made = dict(get_default_algorithms()[kind].to_jwk(key.public_key(), as_dict=True))
    made.pop("key_ops", None)
    return made | more


def pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )


def token(
    claims: Mapping[str, Any],
    key: PrivateKey,
    *,
    algorithm: str = "ES256",
    **header: Any,
) -> str:
    return jwt.encode(dict(claims), key, algorithm=algorithm, headers=header)


def unsigned_token(header: object, payload: object, signature: str = "c2ln") -> str:
    parts = [b64(json.dumps(part).encode()) for part in (header, payload)]
    return ".".join([*parts, signature])


def claims(**changes: Any) -> dict[str, Any]:
    made = {
        "access": [{"type": "repository", "name": "a/b", "actions": ["pull"]}],
        "aud": "registry.example.com",
        "exp": int(NOW) + 300,
        "iat": int(NOW),
        "iss": "auth.example.com",
        "jti": "1",
        "nbf": int(NOW),
        "sub": "admin",
    }
    return {name: value for name, value in (made | changes).items() if value != "-"}


def certificate(
    key: PrivateKey,
    name: str,
    *,
    issuer: tuple[PrivateKey, str] | None = None,
    ca: bool = False,
    from_: datetime = NOON - timedelta(days=1),
    until: datetime = NOON + timedelta(days=1),
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    signer, signer_name = issuer or (key, name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, signer_name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(from_)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    for extension, critical in more:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer, hashes.SHA256())


def x5c(*chain: x509.Certificate) -> list[str]:
    return [base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in chain]


def schema1_document(**changes: Any) -> dict[str, Any]:
    """Three layers, the middle one throwaway, newest first."""
    made: dict[str, Any] = {
        "schemaVersion": 1,
        "name": "a/b",
        "tag": "1",
        "architecture": "arm64",
        "fsLayers": [{"blobSum": "sha256:" + digit * 64} for digit in "cba"],
        "history": [
            {
                "v1Compatibility": json.dumps(
                    {
                        "id": "c",
                        "parent": "b",
                        "os": "linux",
                        "architecture": "arm64",
                        "variant": "v8",
                        "created": "2026-08-05T10:00:00Z",
                        "Size": 5,
                    }
                )
            },
            {"v1Compatibility": '{"id":"b","parent":"a","throwaway":true}'},
            {"v1Compatibility": '{"id":"a"}'},
        ],
    }
    return {name: value for name, value in (made | changes).items() if value != "-"}


def sign_schema1(
    payload: bytes, *signers: PrivateKey, algorithm: str = "ES256", chain: Any = None
) -> bytes:
    """The document with its signatures, in libtrust's "pretty" form."""
    end = payload.rstrip().rfind(b"}")
    length = len(payload[:end].rstrip())
    protected = b64(
        json.dumps(
            {
                "formatLength": length,
                "formatTail": b64(payload[length:]),
                "time": "2026-08-05T10:00:00Z",
            }
        ).encode()
    )
    signatures = []
    for key in signers:
        signed = f"{protected}.{b64(payload)}".encode()
        made = get_default_algorithms()[algorithm].sign(signed, key)
        header = {"alg": algorithm, "jwk": jwk(key, kid=libtrust_id(key))}
        if chain is not None:
            header = {"alg": algorithm, "x5c": chain}
        signatures.append(
            {"header": header, "signature": b64(made), "protected": protected}
        )
    block = json.dumps(signatures, indent=3).replace("\n", "\n   ").encode()
    return payload[:length] + b',\n   "signatures": ' + block + b"\n}"


def thumbprint(key: PrivateKey) -> str:
    """RFC 7638, for a P-256 key."""
    members = {name: jwk(key)[name] for name in ("crv", "kty", "x", "y")}
    canonical = json.dumps(members, separators=(",", ":")).encode()
    return b64(hashlib.sha256(canonical).digest())
