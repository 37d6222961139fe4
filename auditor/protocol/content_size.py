"""How large content is, by the header fields of an answer without it.

Content-Length = 1*DIGIT                                   (RFC 9110 section 8.6)
Content-Range  = "bytes" SP ( first "-" last / "*" ) "/" ( complete / "*" )
(RFC 9110 section 14.4)
"""

from __future__ import annotations

import re

from auditor.util.lazy_regex import Pattern

# Nineteen digits hold every int64, the largest size that a descriptor can say.
_LENGTH = Pattern(r"[0-9]{1,19}")
_RANGE = Pattern(r"bytes +(?:\*|[0-9]+-[0-9]+)/([0-9]{1,19})", re.IGNORECASE)


def content_length(value: str | None) -> int | None:
    """Bytes of the whole content, as an answer to HEAD says them; null if unsaid."""
    text = (value or "").strip()
    return int(text) if _LENGTH.fullmatch(text) else None


def complete_length(content_range: str | None) -> int | None:
    """Bytes of the whole content of which an answer holds a part; null if unsaid."""
    match = _RANGE.fullmatch((content_range or "").strip())
    return int(match[1]) if match else None
