"""What a line of a list is, once it was read."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

from auditor.errors import ProtocolError, UsageError
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


# -- fields --
# A reference that is told in parts: registry, repository, tag, digest.
#
# The parts are joined and parsed as one text, so each is first kept from being more
# than itself: `5000/x` is no tag, though `app:5000/x` is a reference.

COLUMNS = ("reference", "registry", "repository", "tag", "digest")

_NOT_IN_TAG = frozenset("/:@")


class FieldError(ValueError):
    """A field that is not what its name says: one sentence."""


def read_fields(fields: Mapping[str, str | None], line: str, place: str) -> Item:
    """What the fields of `line` name.

    A `reference` says everything; otherwise a `repository` is needed. Empty and
    null fields say nothing.
    """
    try:
        text = fields.get("reference") or _joined(fields)
    except FieldError as error:
        return malformed(line, place, str(error))
    return read_selector(text, line, place)


def _joined(fields: Mapping[str, str | None]) -> str:
    text = fields.get("repository")
    if not text:
        raise FieldError("neither a reference nor a repository is given")
    if registry := fields.get("registry"):
        check_registry(registry)
        text = f"{registry}/{text}"
    if tag := fields.get("tag"):
        if not _NOT_IN_TAG.isdisjoint(tag):
            raise FieldError("the tag holds one of / : @ and is not a tag")
        text = f"{text}:{tag}"
    if digest := fields.get("digest"):
        text = f"{text}@{digest}"
    return text


def check_registry(registry: str) -> None:
    """Raise `FieldError` for what would not be a registry at a reference's start."""
    # Otherwise `dtr` and `team/app` would be `docker.io/dtr/team/app`: in
    # distribution/reference the first part is a domain only if it looks like one.
    if "/" in registry or "@" in registry:
        raise FieldError("the registry is not a host or host:port alone")
    if not ("." in registry or ":" in registry or registry.lower() == "localhost"):
        raise FieldError("the registry has neither a dot nor a port")


# -- lines --
# The lines of a byte stream, decoded, in bounded memory.

# A line can be a line of our own report, whose length is that of the manifests it
# tells: at most 4 MiB each by default. Four of the largest are allowed for.
MAX_LINE_CHARS = 16 * 1024 * 1024
# RFC 3629: so a line that is longer in bytes is too long in characters.
_MAX_BYTES_A_CHAR = 4
# Large enough that a read costs nothing per line, small beside everything else.
BLOCK_BYTES = 256 * 1024

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# How compressed files begin (RFC 1952 section 2.3.1, RFC 8878 section 3.1.1, the .xz
# file format section 2.1.1.1), and what makes text of them. No text begins so.
_COMPRESSED = {
    b"\x1f\x8b\x08": ("gzip", "gzip -dc"),
    b"\x28\xb5\x2f": ("Zstandard", "zstd -dc"),
    b"\xfd7z": ("xz", "xz -dc"),
}


def read_lines(
    stream: io.BufferedIOBase, name: str, *, max_line_chars: int = MAX_LINE_CHARS
) -> Iterator[str]:
    """Lines without their line feed, as soon as they have come in.

    Bytes that are not UTF-8 become lone surrogates (PEP 383). Of a line longer than
    `max_line_chars` at least one character more than that is kept, so that it can
    be told. A byte order mark is dropped; that of UTF-16, which some shells write,
    is a `UsageError`, as is what is compressed.
    """
    max_line_bytes = max_line_chars * _MAX_BYTES_A_CHAR
    pieces: list[bytes] = []  # of the line that has not ended yet
    held = 0
    for block in _blocks(stream, name):
        head, feed, tail = block.rpartition(b"\n")
        if feed:
            pieces.append(head)
            yield from _decode(pieces).split("\n")
            pieces, held = [], 0
        if held <= max_line_bytes:
            pieces.append(tail)
            held += len(tail)
    if held:
        yield _decode(pieces)


def _blocks(stream: io.BufferedIOBase, name: str) -> Iterator[bytes]:
    block = stream.read1(BLOCK_BYTES)
    while 0 < len(block) < len(_UTF8_MARK) and (more := stream.read1(BLOCK_BYTES)):
        block += more
    if block.startswith(_UTF16_MARKS):
        raise UsageError(f"{name}: the list is UTF-16; save it as UTF-8")
    for start, (how, command) in _COMPRESSED.items():
        if block.startswith(start):
            raise UsageError(
                f"{name}: the list is compressed ({how}); give its text, as in"
                f" {command} FILE | auditor audit -f -"
            )
    block = block.removeprefix(_UTF8_MARK) or stream.read1(BLOCK_BYTES)
    while block:
        yield block
        block = stream.read1(BLOCK_BYTES)


def _decode(pieces: list[bytes]) -> str:
    return b"".join(pieces).decode("utf-8", "surrogateescape")
