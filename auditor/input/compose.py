"""Compose files as a list: the images of their services (compose-spec, "image").

Variables are replaced by their defaults only. The environment, `.env` files, `extends`
and `include` are resolved by `docker compose config`, which prints the same format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from auditor.input.input_items import InputItem, malformed_line, parse_item
from auditor.input.variables import VariableError, substitute
from auditor.input.yaml_tree import place_of

_RESOLVE = "; give the output of `docker compose config` instead"


def is_compose(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether this document has the services of a compose file."""
    return isinstance(document, dict) and isinstance(document.get("services"), dict)


def read_compose(document: dict[str, Any], name: str) -> Iterator[InputItem]:
    """An item for each service that has an image.

    A service with only a `build` has none. An image that the file alone does not
    determine is a malformed item.
    """
    if document.get("include"):
        yield malformed_line("include", name, f"other files are included{_RESOLVE}")
    for service, content in document["services"].items():
        yield from _read_service(service, content, name)


def _read_service(service: str, content: object, name: str) -> Iterator[InputItem]:
    if not isinstance(content, dict):
        place = place_of(name, service)
        yield malformed_line(service, place, "the service is not a mapping")
        return
    image = content.get("image")
    place = place_of(name, image, service)
    if image is None:
        if "extends" in content:
            detail = f"the service extends another one{_RESOLVE}"
            yield malformed_line(service, place, detail)
        elif "build" not in content:
            detail = "the service has no image and no build"
            yield malformed_line(service, place, detail)
    elif not isinstance(image, str):
        yield malformed_line(service, place, "the image of the service is not a string")
    else:
        try:
            yield parse_item(substitute(image, {}), image, place)
        except VariableError as error:
            yield malformed_line(image, place, f"{error}{_RESOLVE}")
