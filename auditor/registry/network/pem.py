"""What is wrong with a PEM file that OpenSSL does not take, in words.

Only asked after that, so it need not be fast and never decides. OpenSSL's own words
are for its authors: `[X509] PEM lib (_ssl.c:4154)`.
"""

from __future__ import annotations

import re
from pathlib import Path

# Some ten times the CA certificates of a system.
_MAX_READ_BYTES = 4 * 1024 * 1024
# RFC 7468 section 2 (textual encodings), with OpenSSL's older names.
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_CERTIFICATES = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"})
_PRIVATE_KEY = "PRIVATE KEY"
# OpenSSH's own format, which OpenSSL does not read.
_OPENSSH = "OPENSSH PRIVATE KEY"
# X.690: a SEQUENCE, as certificates and keys begin in DER; with the INTEGER 3 first
# it is PKCS #12 (RFC 7292 section 4, "version").
_SEQUENCE = b"\x30"
_PKCS12 = re.compile(
    rb"\x30(?:[\x00-\x7f]|\x80|[\x81-\x84].{1,4})\x02\x01\x03", re.DOTALL
)


def wrong_with_certificates(path: str) -> str:
    """Why no certificate can be read out of a file: a clause about it."""
    data = _read(path)
    if isinstance(data, str):
        return data
    labels = _labels(data)
    if _CERTIFICATES.intersection(labels):
        return "holds a certificate that is damaged: export or copy it again"
    return _other_than("certificate", "openssl x509", data, labels)


def wrong_with_key(path: str, *, is_certificates: bool) -> str:
    """Why no private key can be read out of a file: a clause about it.

    `is_certificates`: it is the file of the certificate, and no other was named.
    """
    data = _read(path)
    if isinstance(data, str):
        return data
    labels = _labels(data)
    if _OPENSSH in labels:
        return (
            "holds a private key in OpenSSH's own format; one in PEM is wanted"
            " (ssh-keygen -p -m PEM -f FILE rewrites it)"
        )
    if any(label.endswith(_PRIVATE_KEY) for label in labels):
        return "holds a private key that is damaged: export or copy it again"
    if is_certificates:
        return "holds no private key in PEM; key_file (--key-file) names the key's file"
    return _other_than("private key", "openssl pkey", data, labels)


def _read(path: str) -> bytes | str:
    try:
        with Path(path).open("rb") as stream:
            return stream.read(_MAX_READ_BYTES)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _labels(data: bytes) -> list[str]:
    """What the file says that it holds, each once."""
    return list(dict.fromkeys(label.decode() for label in _LABEL.findall(data)))


def _other_than(wanted: str, program: str, data: bytes, labels: list[str]) -> str:
    if not data.strip():
        return f"is empty; a {wanted} in PEM is wanted"
    if labels:
        # The names of labels are the letters, digits and blanks of the expression.
        return f"holds no {wanted} in PEM, but {' and '.join(labels[:3])}"
    if _PKCS12.match(data):
        return (
            f"holds no {wanted} in PEM, it is PKCS #12"
            " (openssl pkcs12 -in FILE -nodes -out FILE.pem converts it)"
        )
    if data.startswith(_SEQUENCE):
        return (
            f"holds no {wanted} in PEM, it is DER"
            f" ({program} -inform DER -in FILE -out FILE.pem converts it)"
        )
    label = wanted.upper()
    return f"holds no {wanted} in PEM: no line -----BEGIN {label}-----"
