"""TLS: the CAs to trust and the client certificate to present.

`tls_files` collects the files of a registry, `tls_context` loads them. OpenSSL's
errors say little (`[X509] PEM lib (_ssl.c:4154)`), so `certificate_problem` and
`key_problem` look at a file that was refused and describe what is wrong with it.
"""

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

# Where containers/image and docker look after the user's folder: one folder per
# `host[:port]` (containers-certs.d(5); docs.docker.com, "Verify repository client with
# certificates").
_SYSTEM_FOLDERS = ("/etc/containers/certs.d", "/etc/docker/certs.d")

# OpenSSL's reasons (x509err.h, sslerr.h): a key of another certificate or type; a
# certificate below the system's security level (SSL_CTX_set_security_level).
_MISMATCHES = frozenset(
    {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
)
_TOO_WEAK = frozenset({"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: CAs to trust beside the system's, and a client certificate.

    Without a `key_file`, the key is in `cert_file`.
    """

    ca_files: tuple[str, ...] = ()
    cert_file: str | None = None
    key_file: str | None = None

    def without_certificate(self) -> TlsFiles:
        """The same for hosts that the client certificate is not presented to."""
        return replace(self, cert_file=None, key_file=None)


SYSTEM_TRUST = TlsFiles()


def tls_files(
    name: str | None,
    settings: RegistrySettings,
    environment: Mapping[str, str],
    *,
    use_certs_d: bool,
) -> TlsFiles:
    """The files of the settings and, with `use_certs_d`, of docker's certs.d folders.

    A certificate of the settings replaces one of certs.d; CAs add up. Files of certs.d
    that cannot be used are ignored with a warning: the user did not name them.
    """
    configured = TlsFiles(
        ca_files=() if settings.ca_file is None else (settings.ca_file,),
        cert_file=settings.cert_file,
        key_file=settings.key_file,
    )
    if name is None or not use_certs_d:
        return configured
    certs_d = _certs_d_files(name, environment)
    files = replace(
        configured if configured.cert_file is not None else certs_d,
        ca_files=(*configured.ca_files, *certs_d.ca_files),
    )
    try:
        check_files(files)
    except UsageError as error:
        if files != configured:
            log.warning("%s; ignoring the files of %s in certs.d", error, name)
        return configured
    return files


def _certs_d_files(name: str, environment: Mapping[str, str]) -> TlsFiles:
    """The files in the first certs.d folder of a registry that can be read."""
    folders = [Path(folder, name) for folder in _SYSTEM_FOLDERS]
    if home := environment.get("HOME"):
        folders.insert(0, Path(home, ".config", "containers", "certs.d", name))
    for folder in folders:
        try:
            paths = sorted(folder.iterdir())
        except OSError:
            continue
        cert = next((path for path in paths if path.suffix == ".cert"), None)
        return TlsFiles(
            ca_files=tuple(str(path) for path in paths if path.suffix == ".crt"),
            cert_file=None if cert is None else str(cert),
            key_file=None if cert is None else str(cert.with_suffix(".key")),
        )
    return SYSTEM_TRUST


def check_files(files: TlsFiles) -> None:
    """Raise the `UsageError` of files that cannot be used.

    Without files the system's certificates are not loaded: runs over plain HTTP do
    not need them.
    """
    if files != SYSTEM_TRUST:
        tls_context(files)


@functools.cache  # loading the system's certificates takes tens of milliseconds
def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """The context for connections. Raises `UsageError`, which names the file."""
    context = ssl.create_default_context()
    for ca_file in files.ca_files:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError):
            raise _unusable(ca_file, certificate_problem(ca_file)) from None
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
            raise _unusable(path, f"cannot be read: {error.strerror}") from None
    key = key_file or cert_file
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_passphrase)
    except _EncryptedKeyError:
        raise _unusable(
            key,
            "the private key is encrypted; give one without a passphrase"
            " (openssl pkey -in FILE -out FILE)",
        ) from None
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None)
        if reason in _MISMATCHES:
            raise _unusable(
                key,
                f"the private key does not belong to the certificate in {cert_file}",
            ) from None
        if reason in _TOO_WEAK:
            raise _unusable(
                cert_file,
                "the certificate is too weak for OpenSSL's security level on this"
                " system",
            ) from None
        if not _holds_certificates(cert_file):
            raise _unusable(cert_file, certificate_problem(cert_file)) from None
        problem = key_problem(key, in_cert_file=key_file is None)
        raise _unusable(key, problem) from None


def _unusable(path: str, problem: str) -> UsageError:
    return UsageError(f"{path}: {problem}")


def _holds_certificates(path: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError):
        return False
    return True


class _EncryptedKeyError(Exception):
    pass


def _no_passphrase() -> NoReturn:
    raise _EncryptedKeyError  # without it OpenSSL asks on the terminal


# -- what is wrong with a file that OpenSSL refused ------------------------------

# Some ten times the CA certificates of a system.
_MAX_READ_BYTES = 4 * 1024 * 1024
# RFC 7468 section 2 (textual encodings), with OpenSSL's older names.
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_CERTIFICATES = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"})
_PRIVATE_KEY = "PRIVATE KEY"
# OpenSSH's own format, which OpenSSL does not read.
_OPENSSH = "OPENSSH PRIVATE KEY"
# X.690: certificates and keys in DER begin with a SEQUENCE; PKCS #12 with a SEQUENCE
# and the INTEGER 3 (RFC 7292 section 4, "version").
_SEQUENCE = b"\x30"
_PKCS12 = re.compile(
    rb"\x30(?:[\x00-\x7f]|\x80|[\x81-\x84].{1,4})\x02\x01\x03", re.DOTALL
)


def certificate_problem(path: str) -> str:
    """Why no certificate can be read from a file, as the end of "FILE: ..."."""
    data = _read(path)
    if isinstance(data, str):
        return data
    labels = _labels(data)
    if _CERTIFICATES.intersection(labels):
        return "contains a damaged certificate: export or copy it again"
    return _other_content("certificate", "openssl x509", data, labels)


def key_problem(path: str, *, in_cert_file: bool) -> str:
    """Why no private key can be read from a file, as the end of "FILE: ...".

    `in_cert_file`: it is the `cert_file`, and there is no `key_file`.
    """
    data = _read(path)
    if isinstance(data, str):
        return data
    labels = _labels(data)
    if _OPENSSH in labels:
        return (
            "contains a private key in OpenSSH's format; PEM is required"
            " (ssh-keygen -p -m PEM -f FILE converts it)"
        )
    if any(label.endswith(_PRIVATE_KEY) for label in labels):
        return "contains a damaged private key: export or copy it again"
    if in_cert_file:
        return (
            "contains no private key in PEM; give its file with --key-file (key_file)"
        )
    return _other_content("private key", "openssl pkey", data, labels)


def _read(path: str) -> bytes | str:
    try:
        with Path(path).open("rb") as stream:
            return stream.read(_MAX_READ_BYTES)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _labels(data: bytes) -> list[str]:
    """The labels of the file's PEM blocks, each once."""
    return list(dict.fromkeys(label.decode() for label in _LABEL.findall(data)))


def _other_content(expected: str, program: str, data: bytes, labels: list[str]) -> str:
    if not data.strip():
        return f"is empty; it must contain a {expected} in PEM"
    if labels:
        # `_LABEL` only matches printable characters.
        return f"contains no {expected} in PEM, but {' and '.join(labels[:3])}"
    if _PKCS12.match(data):
        return (
            f"contains no {expected} in PEM, but PKCS #12"
            " (openssl pkcs12 -in FILE -nodes -out FILE.pem converts it)"
        )
    if data.startswith(_SEQUENCE):
        return (
            f"contains no {expected} in PEM, but DER"
            f" ({program} -inform DER -in FILE -out FILE.pem converts it)"
        )
    label = expected.upper()
    return f"contains no {expected} in PEM: no line -----BEGIN {label}-----"
