"""TLS: the CAs to trust and the client certificate to present.

`tls_files` collects the files of a registry, `tls_context` loads them. OpenSSL's
errors say little (`[X509] PEM lib (_ssl.c:4154)`), so `_problem` looks at a file that
was refused and describes what is wrong with it.
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

# Where containers/image and docker look, in the home and in the system: one folder per
# `host[:port]` (containers-certs.d(5); docs.docker.com, "Verify repository client with
# certificates", "Rootless mode" and, for ~/.docker, Docker Desktop).
_HOME_FOLDERS = (
    ".config/containers/certs.d",
    ".docker/certs.d",
    ".config/docker/certs.d",
)
_SYSTEM_FOLDERS = ("/etc/containers/certs.d", "/etc/docker/certs.d")

# OpenSSL's reasons (x509err.h, sslerr.h): a key of another certificate or type; a
# certificate below the system's security level (SSL_CTX_set_security_level).
_MISMATCHES = frozenset(
    {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
)
_TOO_WEAK = frozenset({"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"})
# Some ten times the CA certificates of a system.
_MAX_READ_BYTES = 4 * 1024 * 1024
# RFC 7468 section 2 (textual encodings); only printable characters.
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
# X.690: certificates and keys in DER begin with a SEQUENCE; PKCS #12 with a SEQUENCE
# and the INTEGER 3 (RFC 7292 section 4, "version").
_PKCS12 = re.compile(
    rb"\x30(?:[\x00-\x7f]|\x80|[\x81-\x84].{1,4})\x02\x01\x03", re.DOTALL
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: CAs to trust beside the system's, and a client certificate.

    Without a `key_file`, the key is in `cert_file`.
    """

    ca_files: tuple[str, ...] = ()
    cert_file: str | None = None
    key_file: str | None = None

    def without_certificate(self) -> TlsFiles:
        """These files without the certificate, for hosts that must not receive it."""
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
    found = certs_d_files(name, environment)
    files = replace(
        configured if configured.cert_file is not None else found,
        ca_files=(*configured.ca_files, *found.ca_files),
    )
    try:
        check_files(files)
    except UsageError as error:
        if files != configured:
            log.warning("%s; ignoring the files of %s in certs.d", error, name)
        return configured
    return files


def certs_d_files(name: str, environment: Mapping[str, str]) -> TlsFiles:
    """The files in the first certs.d folder of a registry; they may be unusable.

    A folder that cannot be read is skipped with a warning.
    """
    folders = [Path(folder, name) for folder in _SYSTEM_FOLDERS]
    if home := environment.get("HOME"):
        folders = [*(Path(home, folder, name) for folder in _HOME_FOLDERS), *folders]
    for folder in folders:
        try:
            paths = sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            log.warning("%s: cannot be read: %s; ignoring it", folder, error.strerror)
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

    Without files nothing is loaded: plain HTTP does not need the system's CAs.
    """
    if files != SYSTEM_TRUST:
        tls_context(files)


@functools.cache  # loading the system's certificates takes tens of milliseconds
def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """The context for connections. Raises `UsageError`, which names the file."""
    context = ssl.create_default_context()
    for ca_file in files.ca_files:
        if not _has_certificates(ca_file, context):
            raise UsageError(f"{ca_file}: {_problem(ca_file)}")
    if files.cert_file is not None:
        _load_certificate(context, files.cert_file, files.key_file)
    return context


def _has_certificates(path: str, context: ssl.SSLContext) -> bool:
    """Trust the certificates of a file; false if it contains no certificate."""
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError):
        return False
    return True


def _load_certificate(
    context: ssl.SSLContext, cert_file: str, key_file: str | None
) -> None:
    path, problem = key_file or cert_file, ""
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_passphrase)
    except _EncryptedKeyError:
        problem = (
            "the private key is encrypted; give one without a passphrase"
            " (openssl pkey -in FILE -out FILE)"
        )
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None)
        if reason in _MISMATCHES:
            problem = (
                f"the private key does not belong to the certificate in {cert_file}"
            )
        elif reason in _TOO_WEAK:
            path = cert_file
            problem = (
                "the certificate is too weak for OpenSSL's security level on this"
                " system"
            )
        elif _has_certificates(cert_file, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)):
            problem = _problem(path, key=True, is_cert_file=key_file is None)
        else:
            path, problem = cert_file, _problem(cert_file)
    if problem:
        raise UsageError(f"{path}: {problem}")


class _EncryptedKeyError(Exception):
    pass


def _no_passphrase() -> NoReturn:
    raise _EncryptedKeyError  # without it OpenSSL asks on the terminal


def _problem(path: str, *, key: bool = False, is_cert_file: bool = False) -> str:
    """The error in a file that OpenSSL refused, as the end of "FILE: ...".

    `key`: the file must contain a private key, else a certificate. `is_cert_file`: it
    must contain both, because there is no `key_file`.
    """
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(_MAX_READ_BYTES)
    except OSError as error:
        option = "key_file" if key else "cert_file" if is_cert_file else "ca_file"
        flag = f"--{option.replace('_', '-')}"
        return f"cannot be read: {error.strerror}; check {flag} ({option})"
    expected, program = ("private key", "pkey") if key else ("certificate", "x509")
    labels = [label.decode() for label in dict.fromkeys(_LABEL.findall(data))]
    if key and "OPENSSH PRIVATE KEY" in labels:  # OpenSSL does not read that format
        return (
            "contains a private key in OpenSSH's format; PEM is required"
            " (ssh-keygen -p -m PEM -f FILE converts it)"
        )
    if any(label.endswith(expected.upper()) for label in labels):
        return f"contains a damaged {expected}: export or copy it again"
    if is_cert_file:
        return (
            "contains no private key in PEM; give its file with --key-file (key_file)"
        )
    if not data.strip():
        return f"is empty; it must contain a {expected} in PEM"
    absent = f"contains no {expected} in PEM"
    if labels:
        return f"{absent}, but {' and '.join(labels[:3])}"
    if _PKCS12.match(data):
        return (
            f"{absent}, but PKCS #12"
            " (openssl pkcs12 -in FILE -nodes -out FILE.pem converts it)"
        )
    if data.startswith(b"\x30"):
        return (
            f"{absent}, but DER"
            f" (openssl {program} -inform DER -in FILE -out FILE.pem converts it)"
        )
    return f"{absent}: no line -----BEGIN {expected.upper()}-----"
