"""Whom we trust, and with which certificate we show ourselves."""

from __future__ import annotations

import functools
import logging
import ssl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from auditor.config import RegistrySettings
from auditor.errors import UsageError
from auditor.values import dataclass

log = logging.getLogger("auditor.registry")

# Where docker and containers/image look, the nearest first: a folder for each
# `host[:port]` (containers-certs.d(5); docs.docker.com, "Verify repository client with
# certificates").
_SYSTEM_FOLDERS = ("/etc/containers/certs.d", "/etc/docker/certs.d")


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
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"{ca_file}: not a readable PEM file of CA certificates ({error})"
            ) from None
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
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    key = key_file or cert_file
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_passphrase)
    except _EncryptedKeyError:
        raise UsageError(
            f"{key}: the private key is encrypted, and there is nobody to ask for its"
            " passphrase; give one that is not (openssl pkey -in FILE -out FILE)"
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UsageError(
                f"{key}: the private key does not belong to the certificate in"
                f" {cert_file}"
            ) from None
        if _holds_certificate(cert_file):
            hint = "" if key_file else "; key_file (--key-file) names the key's file"
            raise UsageError(f"{key}: holds no private key in PEM{hint}") from None
        raise UsageError(f"{cert_file}: holds no certificate in PEM") from None


def _holds_certificate(path: str) -> bool:
    return b"-----BEGIN CERTIFICATE-----" in Path(path).read_bytes()


class _EncryptedKeyError(Exception):
    pass


def _no_passphrase() -> NoReturn:
    raise _EncryptedKeyError  # else OpenSSL asks on the terminal
