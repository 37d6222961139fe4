"""The items of the input (what each line or entry of a list is), and the entries that
they expand to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.fast_dataclass import dataclass
from auditor.model import Source
from auditor.oci.reference import (
    Reference,
    RepositoryPattern,
    Selector,
    TagPattern,
    parse_reference,
    parse_registry,
    parse_selector,
)
from auditor.oci.reference_grammar import SCHEME, transport_of
from auditor.registry.listing.interface import ListedTag
from auditor.report.listing_stats import Listings
from auditor.util.lazy_regex import LazyPattern
from auditor.util.secret import mask_userinfo
from auditor.util.text import safe_text

# Characters of a malformed line that are shown: a whole reference (255 characters of
# name, 128 of tag) fits.
MAX_TEXT_CHARS = 400
# The fields of a reference in JSON lines and CSV.
FIELDS = ("reference", "registry", "repository", "tag", "digest")

_NOT_IN_TAG = frozenset("/:@")
_NOT_IN_NAME = frozenset(":@")
_SURROGATE = LazyPattern(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOrigin:
    """What a list says about an item besides the reference: who uses it.

    `place` replaces that of the item; the next three are as in `Source`. `labels` are
    names and values (input_labels.py), `labels_left_out` is the number of others.
    `sources` are those of a record of an earlier report, in place of the item's own,
    and `sources_left_out` the number of others that it had. A repeat names a reference
    that an earlier item of the list named: it is not an item of its own.
    """

    place: str | None = None
    namespace: str | None = None
    workload: str | None = None
    container: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    labels_left_out: int = 0
    sources: tuple[Source, ...] = ()
    sources_left_out: int = 0
    is_repeat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSelector:
    """A reference, tag pattern or repository pattern. `place` is `file:line`."""

    selector: Selector
    place: str
    origin: InputOrigin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceEntry:
    """A reference to audit.

    `listed_tag` is set if the tag comes from a listing; `digest` is the tag's digest
    according to that listing. `age_unknown`: the age must be checked after the image is
    fetched (`Selection.is_image_too_old`). `untagged`: the listing has no tag of it.
    """

    reference: Reference
    listed_tag: ListedTag | None = None
    digest: str | None = None
    age_unknown: bool = False
    untagged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedEntry:
    """A line or a listing that gives no reference, and the failure for its record.

    `text` is safe to print.
    """

    text: str
    place: str
    failure: Failure
    pattern: TagPattern | RepositoryPattern | None = None
    origin: InputOrigin | None = None


InputItem = InputSelector | RejectedEntry
InputEntry = ReferenceEntry | RejectedEntry


@dataclass(slots=True)
class ExpansionCounts:
    """Counts of an expansion so far. `cut_off`: the deadline ended the input early."""

    entries: int = 0
    duplicates: int = 0
    cut_off: bool = False
    listings: Listings = field(default_factory=Listings)


def with_origin(item: InputItem, origin: InputOrigin | None) -> InputItem:
    """The item with its origin."""
    if origin is None:
        return item
    if isinstance(item, InputSelector):  # each row of a list: `replace` is slower
        return InputSelector(selector=item.selector, place=item.place, origin=origin)
    return replace(item, origin=origin)


class FieldError(ValueError):
    """A field with a wrong value; the message is one sentence."""


def parse_item(text: str, line: str, place: str) -> InputItem:
    """The item of `text`, a part of `line`."""
    try:
        return InputSelector(selector=parse_selector(text), place=place)
    except ProtocolError as error:
        return malformed_line(line, place, error.detail)


def parse_image(text: str, line: str, place: str) -> InputItem:
    """The item of an image that a program runs or builds from, which is no pattern."""
    try:
        return InputSelector(selector=parse_reference(text), place=place)
    except ProtocolError as error:
        return malformed_line(line, place, error.detail)


def item_from_fields(
    fields: Mapping[str, str | None], line: str, place: str
) -> InputItem:
    """The item of the `FIELDS` of a line; empty fields and `None` count as missing.

    `reference` is used if it is set, with `registry` if it has no host, and with `tag`
    and `digest` if it has neither of its own; otherwise `repository` is required. A
    reference by tag, with a digest beside it, is the tag: in a report the digest is
    what the tag named.
    """
    try:
        if reference := fields.get("reference"):
            text = _complete_reference(reference, fields)
        else:
            text = _join_fields(fields)
    except FieldError as error:
        return malformed_line(line, place, str(error))
    return parse_item(text, line, place)


def malformed_line(line: str, place: str, detail: str) -> RejectedEntry:
    """The entry of a malformed line; `detail` is replaced if the line is not text.

    Bytes that are not UTF-8 are lone surrogates in `line` (PEP 383).
    """
    if "\0" in line:
        detail = "the line contains a NUL byte"
    elif _SURROGATE.search(line):
        detail = "the line is not UTF-8 text"
    # Masked before it is cut, because a password that is cut is not recognised. Cut
    # before it is escaped, because a line can be long and escapes are longer.
    shown = mask_userinfo(line.strip())[:MAX_TEXT_CHARS]
    return RejectedEntry(
        text=safe_text(shown, MAX_TEXT_CHARS),
        place=place,
        failure=Failure(
            kind=FailureKind.INVALID_REFERENCE,
            stage=Stage.INPUT,
            detail=f"{place}: {detail}",
            attempts=0,
        ),
    )


def is_host(text: str) -> bool:
    """Whether the first part of a reference is a host, by distribution/reference."""
    return "." in text or ":" in text or text.lower() == "localhost"


def check_registry(registry: str) -> None:
    """Raise `FieldError` if this is not a registry's `host` or `host:port`."""
    # In a reference the first part is a registry only if it has a dot or a port
    # (distribution/reference): `dtr` and `team/app` would be `docker.io/dtr/team/app`.
    if "/" in registry or "@" in registry:
        raise FieldError("the registry must be a host or host:port")
    if not is_host(registry):
        raise FieldError("the registry has no dot and no port; write host:port")


def is_complete(reference: str) -> bool:
    """Whether a reference has a tag or a digest of its own, or is a store on disk."""
    return transport_of(reference) is not None or not _NOT_IN_NAME.isdisjoint(
        reference.rpartition("/")[2]
    )


def _complete_reference(reference: str, fields: Mapping[str, str | None]) -> str:
    """The reference, with what it lacks from the fields beside it.

    Raises `FieldError` if they contradict it: one of the two is not what is meant.
    """
    if transport_of(reference) is not None:
        return reference  # names in a store have slashes and colons
    registry = fields.get("registry")
    if registry and not reference.startswith(f"{registry}/"):
        reference = _at_registry(reference, registry)
    tag, digest = fields.get("tag"), fields.get("digest")
    if not is_complete(reference):
        return _with_tag_and_digest(reference, tag, digest)
    name, _, own_digest = reference.rpartition("/")[2].partition("@")
    own_tag = name.partition(":")[2]
    for what, own, other in (("tag", own_tag, tag), ("digest", own_digest, digest)):
        if own and other and own != other:
            raise FieldError(f"the {what} is not the one in the reference")
    return reference


def _at_registry(reference: str, registry: str) -> str:
    """A reference with this registry if it has none; it would be one of Docker Hub."""
    name = reference.removeprefix(SCHEME)
    host, slash, _ = name.partition("/")
    if not slash or not is_host(host):
        check_registry(registry)
        return f"{registry}/{name}"
    try:
        is_same = parse_registry(host) == parse_registry(registry)
    except ProtocolError:
        return reference  # the name that people gave it, or an error in the reference
    if not is_same:
        raise FieldError("the registry is not the one in the reference")
    return reference


def _join_fields(fields: Mapping[str, str | None]) -> str:
    """One reference from all fields.

    Each field is checked first: tag `5000/x` of `app` would otherwise become repository
    `x` of registry `app:5000`.
    """
    text = fields.get("repository")
    if not text:
        raise FieldError("no reference and no repository is set")
    if registry := fields.get("registry"):
        check_registry(registry)
        text = f"{registry}/{text}"
    return _with_tag_and_digest(text, fields.get("tag"), fields.get("digest"))


def _with_tag_and_digest(text: str, tag: str | None, digest: str | None) -> str:
    if tag:
        if not _NOT_IN_TAG.isdisjoint(tag):
            raise FieldError("the tag must not contain / : or @")
        text = f"{text}:{tag}"
    if digest:
        text = f"{text}@{digest}"
    return text
