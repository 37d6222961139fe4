"""Compose files as lists: the images of their services (compose-spec, "image").

The environment, `.env` files, `extends` and `include` are resolved by `docker compose
config`, which prints the same format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from auditor.input.document_parser import place_of
from auditor.input.input_items import InputItem, malformed_line, parse_image
from auditor.input.variables import VariableError, interpolate

_RESOLVE = "; give the output of `docker compose config` instead"


def is_compose(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether this document has the services of a compose file."""
    return isinstance(document, dict) and isinstance(document.get("services"), dict)


def read_compose(document: dict[str, Any], name: str) -> Iterator[InputItem]:
    """An item for each service that has an image.

    A service with only a `build` has none. An image with a variable that the file does
    not define is a malformed item.
    """
    if document.get("include"):
        yield malformed_line("include", name, f"other files are included{_RESOLVE}")
    for service, content in document["services"].items():
        is_mapping = isinstance(content, dict)
        image = content.get("image") if is_mapping else None
        place = place_of(name, image, service)
        if not is_mapping:
            yield malformed_line(service, place, "the service is not a mapping")
        elif image is None:
            if "extends" in content:
                detail = f"the service extends another one{_RESOLVE}"
                yield malformed_line(service, place, detail)
            elif "build" not in content:
                detail = "the service has no image and no build"
                yield malformed_line(service, place, detail)
        elif not isinstance(image, str):
            detail = "the image of the service is not a string"
            yield malformed_line(service, place, detail)
        else:
            try:
                yield parse_image(interpolate(image), image, place)
            except VariableError as error:
                yield malformed_line(image, place, f"{error}{_RESOLVE}")
