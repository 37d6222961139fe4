"""The values that a token's reading is made of.

Sources: RFC 7515 sections 3 and 7.1 (three parts), RFC 7516 section 3 (five parts:
encrypted), RFC 7519.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from auditor.fast_dataclass import dataclass
from auditor.oci.jws import Verification
from auditor.wire.token import Claims


class Form(StrEnum):
    """What kind of text a token is."""

    JWT = "jwt"
    ENCRYPTED = "encrypted"
    OPAQUE = "opaque"
    EMPTY = "empty"


class FindingCode(StrEnum):
    """What a finding is about, for programs."""

    PASTED = "pasted"
    FORM = "form"
    HEADER = "header"
    HEADER_DAMAGED = "header_damaged"
    KEY_ID_MATCHES = "key_id_matches"
    KEY_ID_DIFFERS = "key_id_differs"
    KEY_NAMED = "key_named"
    KEY_DAMAGED = "key_damaged"
    PAYLOAD = "payload"
    PAYLOAD_DAMAGED = "payload_damaged"
    GRANTS = "grants"
    EXPIRY = "expiry"
    NOT_YET_VALID = "not_yet_valid"
    SIGNATURE_MATCHES = "signature_matches"
    SIGNATURE_DIFFERS = "signature_differs"
    SIGNATURE_DAMAGED = "signature_damaged"
    SIGNATURE_UNCHECKED = "signature_unchecked"
    VERIFIED = "verified"
    NOT_VERIFIED = "not_verified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found out, as a sentence that is safe to print."""

    code: FindingCode
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A header or payload. `members` are those that can be read.

    `size_bytes` is the length of what could be decoded. `error` is a clause (None:
    intact), `error_at` the byte where the damage begins, where that is known.
    """

    size_bytes: int
    members: Mapping[str, Any]
    error: str | None
    error_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedKey:
    """The key in the header, which the token's author put there.

    `claimed_id` is what the header calls it, `computed_id` its libtrust id (None: the
    key is damaged), `matches` whether the one is a true name of the other (None: it
    is a name of the issuer's own making). `signed` says whether this key made the
    signature, which proves nothing about who issued the token.
    """

    claimed_id: str | None
    computed_id: str | None
    matches: bool | None
    signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReading:
    """Everything that a token tells. Parts are None where the token has none.

    `read_at` is the time (epoch s) that the findings are about.
    """

    form: Form
    header: Part | None
    payload: Part | None
    signature_bytes: int | None
    embedded_key: EmbeddedKey | None
    claims: Claims | None
    verification: Verification | None
    findings: tuple[Finding, ...]
    read_at: float

    @property
    def intact(self) -> bool:
        """Whether it is a JWT whose three parts can be read."""
        return (
            self.form is Form.JWT
            and self.header is not None
            and self.header.error is None
            and self.payload is not None
            and self.payload.error is None
            and self.signature_bytes is not None
        )
