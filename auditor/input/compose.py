"""Compose files as a list: the images of their services (compose-spec, "image").

Variables are taken with their defaults only. What this machine's environment, `.env`
files, `extends` and `include` would add is in what `docker compose config` prints,
which is the same format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from auditor.input.items import Item, malformed, read_selector
from auditor.sources.lists.places import place_of
from auditor.sources.lists.variables import VariableError, substitute

_RESOLVED = "; `docker compose config` prints the file with everything filled in"


def is_compose(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether it has the services of a compose file."""
    return isinstance(document, dict) and isinstance(document.get("services"), dict)


def read_compose(document: dict[str, Any], name: str) -> Iterator[Item]:
    """An item for each service that has an image.

    A service that is only built has none. What cannot be known from the file alone
    is an item that says so.
    """
    if document.get("include"):
        yield malformed("include", name, f"other files are included{_RESOLVED}")
    for service, content in document["services"].items():
        yield from _service(service, content, name)


def _service(service: str, content: object, name: str) -> Iterator[Item]:
    if not isinstance(content, dict):
        here = place_of(name, service)
        yield malformed(service, here, "the service is not a mapping")
        return
    image = content.get("image")
    here = place_of(name, image, service)
    if image is None:
        if "extends" in content:
            detail = f"the service extends another one{_RESOLVED}"
            yield malformed(service, here, detail)
        elif "build" not in content:
            detail = "the service has neither an image nor a build"
            yield malformed(service, here, detail)
    elif not isinstance(image, str):
        yield malformed(service, here, "the image of the service is not a text")
    else:
        try:
            yield read_selector(substitute(image, {}), image, here)
        except VariableError as error:
            yield malformed(image, here, f"{error}{_RESOLVED}")
