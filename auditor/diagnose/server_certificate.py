"""What a server's certificate says, for people who wonder why it is not trusted.

Nothing here decides: TLS itself does (RFC 5280, RFC 9525).
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID

from auditor.fast_dataclass import dataclass

# More names than a person reads; certificates of large hosters have a hundred.
MAX_NAMES = 100
_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """Who it is about (`names` are its DNS names and addresses), and who says so.

    Times are seconds since the epoch. `self_issued`: it says so itself.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: float
    not_after: float
    self_issued: bool

    def days_left(self, now: float) -> int:
        """Whole days until it expires; negative: since it has."""
        return int((self.not_after - now) // _DAY_S)


def read_certificate(der: bytes) -> ServerCertificate | None:
    """The facts of a certificate; None for what is none, or is damaged."""
    try:
        found = x509.load_der_x509_certificate(der)
        return ServerCertificate(
            subject=_common_name(found.subject),
            issuer=_common_name(found.issuer),
            names=_names(found),
            not_before=found.not_valid_before_utc.timestamp(),
            not_after=found.not_valid_after_utc.timestamp(),
            self_issued=found.subject == found.issuer,
        )
    except (ValueError, OverflowError, x509.DuplicateExtension):
        return None


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        said = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        return ()
    names = [
        *said.get_values_for_type(x509.DNSName),
        *map(str, said.get_values_for_type(x509.IPAddress)),
    ]
    return tuple(names[:MAX_NAMES])


def _common_name(name: x509.Name) -> str:
    """The common name, or everything where there is none."""
    for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME):
        return str(attribute.value)
    return name.rfc4514_string()
