"""A reference that is told in parts: registry, repository, tag, digest.

The parts are joined and parsed as one text, so each is first kept from being more
than itself: `5000/x` is no tag, though `app:5000/x` is a reference.
"""

from __future__ import annotations

from collections.abc import Mapping

from auditor.input.items import Item, malformed, read_selector

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
