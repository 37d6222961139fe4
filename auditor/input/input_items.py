"""What one line or entry of a list is: something to audit, or a malformed line."""

from __future__ import annotations

from collections.abc import Mapping

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import Selector, parse_selector
from auditor.util.masking import mask_userinfo
from auditor.util.text import safe_text

# Characters of a malformed line that are shown: a whole reference (255 characters of
# name, 128 of tag) fits.
MAX_TEXT_CHARS = 400
# The fields of a reference in JSON lines and CSV.
FIELDS = ("reference", "registry", "repository", "tag", "digest")

_NOT_IN_TAG = frozenset("/:@")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSelector:
    """A reference, tag pattern or repository pattern. `place` is `file:line`."""

    selector: Selector
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MalformedLine:
    """A line that cannot be audited: its text, safe to print, and why."""

    text: str
    place: str
    detail: str


InputItem = InputSelector | MalformedLine


class FieldError(ValueError):
    """A field with a wrong value; the message is one sentence."""


def parse_item(text: str, line: str, place: str) -> InputItem:
    """The item of `text`, a part of `line`."""
    try:
        return InputSelector(selector=parse_selector(text), place=place)
    except ProtocolError as error:
        return malformed_line(line, place, error.detail)


def item_from_fields(
    fields: Mapping[str, str | None], line: str, place: str
) -> InputItem:
    """The item of the `FIELDS` of a line; empty fields and `None` count as missing.

    `reference` is used alone if it is set; otherwise `repository` is required.
    """
    try:
        text = fields.get("reference") or _join_fields(fields)
    except FieldError as error:
        return malformed_line(line, place, str(error))
    return parse_item(text, line, place)


def malformed_line(line: str, place: str, detail: str) -> MalformedLine:
    """A malformed line; if it is not text at all, that replaces `detail`.

    Bytes that are not UTF-8 are lone surrogates in `line` (PEP 383).
    """
    if "\0" in line:
        detail = "the line contains a NUL byte"
    elif not _is_utf8(line):
        detail = "the line is not UTF-8 text"
    # Masked before it is cut, because a password that is cut is not recognised. Cut
    # before it is escaped, because a line can be long and escapes are longer.
    shown = mask_userinfo(line.strip())[:MAX_TEXT_CHARS]
    text = safe_text(shown, MAX_TEXT_CHARS)
    return MalformedLine(text=text, place=place, detail=detail)


def check_registry(registry: str) -> None:
    """Raise `FieldError` if this is not a registry's `host` or `host:port`."""
    # In a reference the first part is a registry only if it has a dot or a port
    # (distribution/reference): `dtr` and `team/app` would be `docker.io/dtr/team/app`.
    if "/" in registry or "@" in registry:
        raise FieldError("the registry must be a host or host:port")
    if not ("." in registry or ":" in registry or registry.lower() == "localhost"):
        raise FieldError("the registry has no dot and no port; write host:port")


def _join_fields(fields: Mapping[str, str | None]) -> str:
    """One reference of all fields. Each is checked first, so that it cannot become more
    than itself: tag `5000/x` of `app` would be repository `x` of `app:5000`."""
    text = fields.get("repository")
    if not text:
        raise FieldError("no reference and no repository is set")
    if registry := fields.get("registry"):
        check_registry(registry)
        text = f"{registry}/{text}"
    if tag := fields.get("tag"):
        if not _NOT_IN_TAG.isdisjoint(tag):
            raise FieldError("the tag must not contain / : or @")
        text = f"{text}:{tag}"
    if digest := fields.get("digest"):
        text = f"{text}@{digest}"
    return text


def _is_utf8(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True
