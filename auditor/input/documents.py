"""Lists that are one document: Kubernetes, compose and skopeo files, Dockerfiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditor.errors import UsageError
from auditor.input.compose import is_compose, read_compose
from auditor.input.dockerfile import read_dockerfile
from auditor.input.document_format import DocumentFormat
from auditor.input.document_parser import (
    JsonElement,
    images_in,
    read_json_stream,
    read_yaml,
)
from auditor.input.input_items import InputItem
from auditor.input.kubernetes import (
    KubernetesImages,
    is_kubernetes,
    is_kubernetes_list,
)
from auditor.input.list_reader import ListReader


def read_document(reader: ListReader, form: DocumentFormat) -> Iterator[InputItem]:
    """The items of a list that is a document of this format."""
    if form is DocumentFormat.JSON:
        return _read_json(reader)
    if form is DocumentFormat.DOCKERFILE:
        return read_dockerfile(reader.text(), reader.name)
    return _read_yaml(reader)


def document_items(document: object, name: str) -> Iterator[InputItem] | None:
    """The items of a parsed document; `None` if its format is not known."""
    if is_kubernetes(document):
        return KubernetesImages(name).read(document)
    if is_compose(document):
        return read_compose(document, name)
    # Imports tag rules and version constraints, which no other format needs.
    from auditor.input.skopeo import is_skopeo, read_skopeo  # noqa: PLC0415

    if is_skopeo(document):
        return read_skopeo(document, name)
    return None


def _read_yaml(reader: ListReader) -> Iterator[InputItem]:
    images = KubernetesImages(reader.name)
    has_objects = False
    has_others = False
    for document in read_yaml(reader.text(), reader.name):
        if is_kubernetes(document):
            has_objects = True
            yield from images.read(document)
        elif (items := document_items(document, reader.name)) is not None:
            yield from items
        elif images_in(document):
            raise _unknown_format(reader.name)
        else:
            has_others |= document is not None
    # Among objects, a template of Helm may print anything; kubectl refuses it, but it
    # is no reason to audit nothing.
    if has_others and not has_objects:
        raise _unknown_format(reader.name)


def _read_json(reader: ListReader) -> Iterator[InputItem]:
    name = reader.name
    images = KubernetesImages(name)
    # Items of elements that do not say that they are Kubernetes objects: whether they
    # are is known at the end of the list.
    pending: list[InputItem] = []
    for part in read_json_stream(reader):
        if isinstance(part, JsonElement):
            items = images.read_object(part.value)
            if is_kubernetes(part.value):
                yield from items
            else:
                pending += items
            continue
        yield from pending if is_kubernetes_list(part) else _items(part, name)
        pending.clear()


def _items(document: Any, name: str) -> Iterator[InputItem]:
    items = document_items(document, name)
    if items is None:
        raise _unknown_format(name)
    return items


def _unknown_format(name: str) -> UsageError:
    return UsageError(
        f"{name}: unknown format: neither a list of references nor Kubernetes objects,"
        " a compose file or skopeo sync YAML; write one reference or JSON object"
        " (`jq -c`) a line"
    )
