"""Whom we trust, and with which certificate we show ourselves."""

from __future__ import annotations

import functools
import logging
import re
import ssl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from auditor.config import RegistrySettings
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass

log = logging.getLogger("auditor.registry")

# Where docker and containers/image look, the nearest first: a folder for each
# `host[:port]` (containers-certs.d(5); docs.docker.com, "Verify repository client with
# certificates").
_SYSTEM_FOLDERS = ("/etc/containers/certs.d", "/etc/docker/certs.d")

# OpenSSL's reasons (x509err.h, sslerr.h): another key, or one of another kind; less
# than the security level of the system wants (SSL_CTX_set_security_level).
_MISMATCHES = frozenset(
    {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
)
_TOO_WEAK = frozenset({"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: CAs to trust beside the system's, and a certificate with its key.

    Where `key_file` is null, the key stands in `cert_file`.
    """

    ca_files: tuple[str, ...] = ()
    cert_file: str | None = None
    key_file: str | None = None

    def without_certificate(self) -> TlsFiles:
        """The same for hosts that have no business with our certificate."""
        return replace(self, cert_file=None, key_file=None)


SYSTEM_TRUST = TlsFiles()


def tls_files(
    name: str | None,
    settings: RegistrySettings,
    environment: Mapping[str, str],
    *,
    found: bool,
) -> TlsFiles:
    """What the settings say of a registry and, where `found`, docker's folders hold.

    A certificate of the settings takes the place of one that is found; CAs add up.
    Nobody asked for what is found: what of it cannot be used is told and left out.
    """
    said = TlsFiles(
        ca_files=() if settings.ca_file is None else (settings.ca_file,),
        cert_file=settings.cert_file,
        key_file=settings.key_file,
    )
    if name is None or not found:
        return said
    beside = _in_folder(name, environment)
    files = replace(
        said if said.cert_file is not None else beside,
        ca_files=(*said.ca_files, *beside.ca_files),
    )
    try:
        check_files(files)
    except UsageError as error:
        if files != said:
            log.warning("%s; going without what certs.d has for %s", error, name)
        return said
    return files


def _in_folder(name: str, environment: Mapping[str, str]) -> TlsFiles:
    folders = [Path(folder, name) for folder in _SYSTEM_FOLDERS]
    if home := environment.get("HOME"):
        folders.insert(0, Path(home, ".config", "containers", "certs.d", name))
    for folder in folders:
        try:
            held = sorted(folder.iterdir())
        except OSError:
            continue
        pairs = [
            (path, path.with_suffix(".key")) for path in held if path.suffix == ".cert"
        ]
        cert_file, key_file = map(str, pairs[0]) if pairs else (None, None)
        return TlsFiles(
            ca_files=tuple(str(path) for path in held if path.suffix == ".crt"),
            cert_file=cert_file,
            key_file=key_file,
        )
    return SYSTEM_TRUST


def check_files(files: TlsFiles) -> None:
    """Raise the `UsageError` of what cannot be used. Without files there is nothing to
    check, and the system's certificates are not read for who only speaks HTTP."""
    if files != SYSTEM_TRUST:
        tls_context(files)


@functools.cache  # reading the system's certificates takes tens of milliseconds
def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """What connections are made with; `UsageError` names the file that is wrong."""
    context = ssl.create_default_context()
    for ca_file in files.ca_files:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError):
            raise _no_certificates(ca_file) from None
    if files.cert_file is not None:
        _load_certificate(context, files.cert_file, files.key_file)
    return context


def _load_certificate(
    context: ssl.SSLContext, cert_file: str, key_file: str | None
) -> None:
    for path in filter(None, (cert_file, key_file)):
        try:
            Path(path).open("rb").close()
        except OSError as error:
            raise _wrong(path, f"cannot be read: {error.strerror}") from None
    key = key_file or cert_file
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_passphrase)
    except _EncryptedKeyError:
        raise _wrong(
            key,
            "the private key is encrypted, and there is nobody to ask for its"
            " passphrase; give one that is not (openssl pkey -in FILE -out FILE)",
        ) from None
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None)
        if reason in _MISMATCHES:
            raise _wrong(
                key,
                f"the private key does not belong to the certificate in {cert_file}",
            ) from None
        if reason in _TOO_WEAK:
            raise _wrong(
                cert_file, "the certificate is weaker than OpenSSL takes here"
            ) from None
        if not _holds_certificates(cert_file):
            raise _no_certificates(cert_file) from None

        why = wrong_with_key(key, is_certificates=key_file is None)
        raise _wrong(key, why) from None


def _no_certificates(path: str) -> UsageError:

    return _wrong(path, wrong_with_certificates(path))


def _wrong(path: str, why: str) -> UsageError:
    return UsageError(f"{path}: {why}")


def _holds_certificates(path: str) -> bool:
    """Whether it is the key that was wrong."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError):
        return False
    return True


class _EncryptedKeyError(Exception):
    pass


def _no_passphrase() -> NoReturn:
    raise _EncryptedKeyError  # else OpenSSL asks on the terminal


# -- pem --
# What is wrong with a PEM file that OpenSSL does not take, in words.
#
# Only asked after that, so it need not be fast and never decides. OpenSSL's own words
# are for its authors: `[X509] PEM lib (_ssl.c:4154)`.

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
