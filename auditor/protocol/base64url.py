"""Base64url without padding (RFC 7515 section 2), decoded strictly.

Python's decoder skips characters outside the alphabet, so that different texts would
decode to the same bytes.
"""

from __future__ import annotations

import base64
import re

_TEXT = re.compile(r"[A-Za-z0-9_-]*")


def decode(text: str) -> bytes:
    """The bytes, or `ValueError` with a clause that says what is wrong."""
    if _TEXT.fullmatch(text) is None:
        raise ValueError("it holds characters that are not base64url")
    if len(text) % 4 == 1:
        raise ValueError(f"{len(text)} base64url characters cannot be whole bytes")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(data: bytes) -> str:
    """The text, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
