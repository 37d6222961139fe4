r"""Text from elsewhere, made fit for a terminal, a log or a report.

What moves the cursor, changes the direction of writing or cannot be seen becomes a
visible escape (`\x1b`, `\u202e`): everything that is "other" or "separator" in the
Unicode database but the space. See Unicode TR 36, "Bidirectional Text Spoofing".
"""

from __future__ import annotations

from urllib.parse import urlsplit

_ELLIPSIS = "…"
_UNREADABLE_URL = "(unreadable URL)"


def safe_text(text: str, limit_chars: int = 200) -> str:
    """One printable line of at most `limit_chars` (>= 1) characters.

    A longer text ends in an ellipsis. Encodable as UTF-8; safe to apply twice.
    """
    shown = text[: limit_chars + 1]
    if not shown.isprintable():
        shown = "".join(map(_visible, shown))
    if len(shown) <= limit_chars:
        return shown
    return shown[: limit_chars - 1] + _ELLIPSIS


def safe_url(url: str) -> str:
    """`scheme://host[:port]/path` of a URL, through `safe_text`.

    No userinfo, query or fragment: they hold passwords, tokens and the signatures of
    presigned URLs. A URL in which these parts cannot be told apart is not shown.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # a password with a slash in it looks like a bad port
    except ValueError:
        return _UNREADABLE_URL
    host = parts.netloc.rpartition("@")[2]
    # Without an authority, userinfo can stand in what looks like the path.
    path = parts.path if host else parts.path.rpartition("@")[2]
    prefix = f"{parts.scheme}:" if parts.scheme else ""
    return safe_text(f"{prefix}//{host}{path}" if host else f"{prefix}{path}")


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    return char.encode("unicode_escape").decode("ascii")
