"""Certificates for tests: a CA, and server and client certificates signed by it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

AN_HOUR = timedelta(hours=1)

_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


# Whether this Python requires all of RFC 5280: from 3.13 on.
STRICT = bool(ssl.create_default_context().verify_flags & ssl.VERIFY_X509_STRICT)


class Authority:
    """A CA with a folder for its certificates; `file` is its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("an authority of the tests")
        certificate = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .add_extension(_usage(signs=True), True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), False
            )
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "ca.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def pair(
        self,
        *hosts: str,
        passphrase: bytes | None = None,
        lasts: timedelta = AN_HOUR,
        self_signed: bool = False,
        names_the_key: bool = True,
        key: _Key | None = None,
    ) -> Pair:
        """A certificate for servers with these names, or for a client of this name.

        Valid since an hour ago, and for `lasts` from now on. Without `names_the_key` it
        has no Authority Key Identifier, which RFC 5280 requires and `openssl x509 -req`
        leaves out.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = _name(hosts[0])
        issuer = key if self_signed else self._key
        builder = (
            _builder(subject, subject if self_signed else self._name, key, lasts)
            .add_extension(
                x509.SubjectAlternativeName(map(_general_name, hosts)), False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        )
        if names_the_key:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key
            builder = builder.add_extension(identifier(issuer.public_key()), False)
        certificate = builder.sign(issuer, hashes.SHA256())
        stem = f"{hosts[0].replace(':', '_')}-{certificate.serial_number:x}"
        pair = Pair(self._folder / f"{stem}.cert", self._folder / f"{stem}.key")
        pair.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(passphrase)
                if passphrase
                else serialization.NoEncryption(),
            )
        )
        return pair

    def server(self, *hosts: str, clients: bool = False, **more: Any) -> ssl.SSLContext:
        """The TLS context of a server; with `clients` it requires client certificates.

        `more` are arguments of `pair`.
        """
        pair = self.pair(*hosts, **more)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.cert, pair.key)
        if clients:
            context.load_verify_locations(self.file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: _Key, lasts: timedelta = AN_HOUR
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + lasts)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
