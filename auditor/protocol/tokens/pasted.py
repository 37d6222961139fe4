"""The token in what somebody pasted: a header field, a shell line, a JSON answer."""

from __future__ import annotations

import re

from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import Pattern

# What stands before a token in curl commands, shell lines and configuration files.
_BEFORE = Pattern(
    r"""\s*(?:-H\s+|authorization\s*:|bearer(?:\s|$)|(?:export\s+)?\w*token\s*[:=]|["'`]+)\s*""",
    re.IGNORECASE,
)
_AFTER = "\"'`;,"
_IN_JSON = Pattern(r'"(?:access_)?token"\s*:\s*"([^"]*)"?')
# Blanks, and what web pages and word processors put into long words without showing
# it: soft hyphen, zero-width space and joiners, byte order mark.
_INVISIBLE = Pattern("[\\s\u00ad\u200b-\u200d\u2060\ufeff]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pasted:
    """A token without its surroundings. `notes` say what was left out, as sentences."""

    token: str
    notes: tuple[str, ...]


def find_token(text: str) -> Pasted:
    """The token in `text`, empty if there is none. Never raises."""
    notes = []
    found = text.strip("\ufeff \t\r\n")
    if found.startswith("{") and (match := _IN_JSON.search(found)):
        found = match[1].replace("\\/", "/")
        notes.append("The token was taken out of a JSON answer.")
    else:
        bare = _without_surroundings(found)
        if bare != found:
            notes.append("What stood around the token was left out.")
        found = bare
    token = _INVISIBLE.sub("", found)
    if token != found:
        notes.append("Blanks and line breaks inside the token were left out.")
    return Pasted(token=token, notes=tuple(notes))


def _without_surroundings(text: str) -> str:
    while match := _BEFORE.match(text):
        text = text[match.end() :]
    return text.rstrip().rstrip(_AFTER).rstrip()
