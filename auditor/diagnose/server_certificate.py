"""The certificate that a server sent, read for display.

TLS itself decides whether it is trusted (RFC 5280, RFC 9525).
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID

from auditor.fast_dataclass import dataclass

# Names that are read; certificates of large hosters have a hundred.
MAX_NAMES = 100
_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """A certificate; `names` are its DNS names and addresses, times are epoch seconds.

    `self_issued` is whether subject and issuer are the same.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: float
    not_after: float
    self_issued: bool

    def days_left(self, now: float) -> int:
        """Whole days until the certificate expires; negative after that."""
        return int((self.not_after - now) // _DAY_S)


def read_certificate(der: bytes) -> ServerCertificate | None:
    """The certificate in `der`; None if it is damaged."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        return ServerCertificate(
            subject=_common_name(certificate.subject),
            issuer=_common_name(certificate.issuer),
            names=_names(certificate),
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
            self_issued=certificate.subject == certificate.issuer,
        )
    except (ValueError, OverflowError, x509.DuplicateExtension):
        return None


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        return ()
    names = [
        *extension.get_values_for_type(x509.DNSName),
        *map(str, extension.get_values_for_type(x509.IPAddress)),
    ]
    return tuple(names[:MAX_NAMES])


def _common_name(name: x509.Name) -> str:
    """The common name, or the whole name without one."""
    for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME):
        return str(attribute.value)
    return name.rfc4514_string()
