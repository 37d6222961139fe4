"""What a line of a list is, once it was read."""

from __future__ import annotations

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import Selector, parse_selector
from auditor.util.masking import mask_userinfo
from auditor.util.text import safe_text

# As much of a malformed line as shows which one it is: a whole reference (255
# characters of name, 128 of tag) fits.
MAX_TEXT_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A reference or tag pattern, and where it stands: `file:line`."""

    selector: Selector
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A line that names nothing that can be audited.

    `text` is what it says, safe to print; `detail` is one sentence: why not.
    """

    text: str
    place: str
    detail: str


Item = Listed | Malformed


def read_selector(text: str, line: str, place: str) -> Item:
    """What `text` names, which stands in `line`."""
    try:
        return Listed(selector=parse_selector(text), place=place)
    except ProtocolError as error:
        return malformed(line, place, error.detail)


def malformed(line: str, place: str, detail: str) -> Malformed:
    """The item for a line with a mistake; damage to the line itself explains it.

    Bytes that are not UTF-8 are lone surrogates here (PEP 383).
    """
    if "\0" in line:
        detail = "the line holds a NUL byte"
    elif not _is_text(line):
        detail = "the line is not UTF-8 text"
    # Cut first: a line may be long, and what is escaped grows. But a password that is
    # cut cannot be told from a name.
    shown = mask_userinfo(line.strip())[:MAX_TEXT_CHARS]
    text = safe_text(shown, MAX_TEXT_CHARS)
    return Malformed(text=text, place=place, detail=detail)


def _is_text(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True
