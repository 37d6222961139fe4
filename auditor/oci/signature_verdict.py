"""The verdict on one signature: its state, the keys, and the reason."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace

from auditor.fast_dataclass import dataclass
from auditor.model import SignatureState
from auditor.util.text import safe_text

# Names in a reason or identity; a subject of a certificate has some 100 characters.
MAX_TEXT_CHARS = 300
# The signature of an RSA key with 16,384 bits has 2,048 bytes.
MAX_SIGNATURE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureVerdict:
    """The state of a signature; the other fields are those of `ImageSignature`."""

    state: SignatureState
    keys: tuple[str, ...] = ()
    reason: str | None = None
    identity: str | None = None
    signed_at: str | None = None

    def from_(self, identity: str | None) -> SignatureVerdict:
        """The same verdict with an identity that the signature states."""
        return replace(self, identity=short_text(identity))


class InvalidSignatureError(ValueError):
    """A signature that no key can make valid; the message is a clause."""


def verified(names: Sequence[str]) -> SignatureVerdict:
    """The verdict on a signature by the keys of these names."""
    return SignatureVerdict(state=SignatureState.VERIFIED, keys=tuple(names))


def invalid(reason: object) -> SignatureVerdict:
    """The verdict on a signature that is damaged, expired or of something else."""
    return _other(SignatureState.INVALID, reason)


def untrusted(reason: object) -> SignatureVerdict:
    """The verdict on a signature by none of the keys."""
    return _other(SignatureState.UNTRUSTED, reason)


def unverifiable(reason: object) -> SignatureVerdict:
    """The verdict on a signature that needs more than keys."""
    return _other(SignatureState.UNVERIFIABLE, reason)


def unread(reason: object) -> SignatureVerdict:
    """The verdict on a signature that could not be fetched."""
    return _other(SignatureState.UNKNOWN, reason)


def _other(state: SignatureState, reason: object) -> SignatureVerdict:
    return SignatureVerdict(state=state, reason=short_text(str(reason)))


def short_text(text: str | None) -> str | None:
    """A text from a signature, safe for a terminal and cut; None if there is none."""
    return None if not text else safe_text(text, MAX_TEXT_CHARS)


def decode_base64(text: object, what: str, *, max_bytes: int) -> bytes:
    """Decode base64 with padding. Raises `InvalidSignatureError`."""
    if not isinstance(text, str) or not text:
        raise InvalidSignatureError(f"it has no {what}")
    if len(text) > 4 * (max_bytes // 3 + 1):
        raise InvalidSignatureError(f"its {what} has more than {max_bytes} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidSignatureError(f"its {what} is not base64") from None
