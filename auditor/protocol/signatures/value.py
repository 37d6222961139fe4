"""What a check of a signature found: apart from the check, which is slow to load."""

from __future__ import annotations

from auditor.fast_dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureCheck:
    """One signature. `valid` says that the key signed it, not who holds the key.

    `key_id` is the libtrust id computed from the key, not the one it claims.
    """

    valid: bool
    key_id: str | None
    algorithm: str | None
    reason: str
