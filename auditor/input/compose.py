"""Compose files as lists: the images of their services (compose-spec, "image"), of
image volumes, and of builds that the file itself describes (`dockerfile_inline`,
`additional_contexts`).

The environment, `.env` files, `extends` and `include` are resolved by `docker compose
config`, which prints the same format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeGuard

from auditor.input.dockerfile import read_dockerfile
from auditor.input.document_parser import place_of
from auditor.input.input_items import (
    InputItem,
    InputOrigin,
    malformed_line,
    parse_image,
)
from auditor.input.input_labels import clean_text
from auditor.input.variables import VariableError, interpolate

_RESOLVE = "; give the output of `docker compose config` instead"
_IMAGE_CONTEXT = "docker-image://"


def is_compose(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether this document has the services of a compose file."""
    return isinstance(document, dict) and isinstance(document.get("services"), dict)


def read_compose(document: dict[str, Any], name: str) -> Iterator[InputItem]:
    """The images of each service.

    A service with only a `build` has none, unless the build is in the file. An image
    with a variable that the file does not define is a malformed item.
    """
    if document.get("include"):
        yield malformed_line("include", name, f"other files are included{_RESOLVE}")
    project = document.get("name")
    for service, content in document["services"].items():
        if isinstance(content, dict):
            origin = InputOrigin(
                namespace=clean_text(project) if isinstance(project, str) else None,
                workload=clean_text(f"service/{service}"),
            )
            for item in _service_images(service, content, name):
                yield replace(item, origin=origin)
        else:
            place = place_of(name, service)
            yield malformed_line(service, place, "the service is not a mapping")


def _service_images(
    service: str, content: dict[str, Any], name: str
) -> Iterator[InputItem]:
    image = content.get("image")
    if image is not None:
        place = place_of(name, image, service)
        yield from _image(image, place, is_optional="build" in content)
    elif "extends" in content:
        place = place_of(name, service)
        yield malformed_line(
            service, place, f"the service extends another one{_RESOLVE}"
        )
    elif not content.keys() & {"build", "provider"}:
        place = place_of(name, service)
        yield malformed_line(service, place, "the service has no image and no build")
    volumes = content.get("volumes")
    for volume in volumes if isinstance(volumes, list) else ():
        if isinstance(volume, dict) and volume.get("type") == "image":
            source = volume.get("source")
            yield from _image(source, place_of(name, source, service))
    if isinstance(build := content.get("build"), dict):
        yield from _build_images(service, build, name)


def _image(
    image: object, place: str, *, is_optional: bool = False
) -> Iterator[InputItem]:
    """The item of an image; of an empty text none, if there is a build instead."""
    if not isinstance(image, str):
        detail = "the image of the service is not a string"
        yield malformed_line(str(image), place, detail)
        return
    try:
        text = interpolate(image)
    except VariableError as error:
        yield malformed_line(image, place, f"{error}{_RESOLVE}")
    else:
        if text or not is_optional:
            yield parse_image(text, image, place)


def _build_images(
    service: str, build: dict[str, Any], name: str
) -> Iterator[InputItem]:
    """The images of a build whose Dockerfile is in the file, and of its contexts.

    A context replaces the image or the stage of its name (Dockerfile reference,
    "Named contexts"); a build argument replaces the default of an `ARG`.
    """
    contexts = _pairs(build.get("additional_contexts"))
    for value in contexts.values():
        if isinstance(value, str) and value.startswith(_IMAGE_CONTEXT):
            place = place_of(name, value, service)
            yield from _image(value.removeprefix(_IMAGE_CONTEXT), place)
    inline = build.get("dockerfile_inline")
    if not isinstance(inline, str):
        return
    place = place_of(name, inline, service)
    try:
        arguments = {
            key: interpolate(value)
            for key, value in _pairs(build.get("args")).items()
            if isinstance(value, str)
        }
        text = interpolate(inline)
    except VariableError as error:
        yield malformed_line("dockerfile_inline", place, f"{error}{_RESOLVE}")
    else:
        yield from read_dockerfile(
            text,
            f"{place}:dockerfile_inline",
            build_arguments=arguments,
            contexts=contexts,
        )


def _pairs(value: object) -> dict[str, Any]:
    """A mapping, or a list of `key=value` (compose-spec, "args")."""
    if isinstance(value, dict):
        return value
    texts = value if isinstance(value, list) else []
    return {
        key: rest
        for key, equals, rest in (
            text.partition("=") for text in texts if isinstance(text, str)
        )
        if equals
    }
