"""Kubernetes objects as a list: what `kubectl get pods -A -o json` prints.

Source: the Kubernetes API reference, "Pod v1 core" (PodSpec, PodStatus). Every object
with a pod specification is read: `spec` of a pod, `spec.template.spec` of workloads,
`spec.jobTemplate` of a CronJob.

A container gives two references: the image in its specification, and the digest that
the node runs (`imageID`). The `image` of a container status is not read: if several
tags have one digest, the node reports any of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from auditor.input.input_items import InputItem, malformed_line, parse_item

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_STATUSES = (
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
)
# The paths of the pod specification in workloads and pods.
_POD_SPEC_PATHS = (
    ("spec", "jobTemplate", "spec", "template", "spec"),
    ("spec", "template", "spec"),
    ("template", "spec"),
    ("spec",),
)
# The prefix that dockershim wrote before the digest of an image.
_PULLABLE = "docker-pullable://"


def is_kubernetes(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether this is an object of the Kubernetes API, or a list of them."""
    return isinstance(document, dict) and all(
        isinstance(document.get(key), str) for key in ("apiVersion", "kind")
    )


def is_kubernetes_list(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether this is a list of objects of the Kubernetes API."""
    return (
        is_kubernetes(document)
        and document["kind"].endswith("List")
        and isinstance(document.get("items"), list)
    )


def read_kubernetes(document: dict[str, Any], name: str) -> Iterator[InputItem]:
    """The images of an object or of a list of objects, each once."""
    seen: set[str] = set()
    for item in document["items"] if is_kubernetes_list(document) else [document]:
        yield from read_object(item, name, seen)


def read_object(value: object, name: str, seen: set[str]) -> Iterator[InputItem]:
    """The images of one object that are not in `seen`, which is updated.

    The location of an item is `name:namespace/pod/container`. Values that do not
    conform to the API are malformed items.
    """
    if not isinstance(value, dict):
        yield malformed_line("", name, "an item of the list is not an object")
        return
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    # An object in a file may have no namespace, and a template no name.
    object_name = f"{_name(metadata, 'namespace')}/{_name(metadata)}"
    for image, container in _images(value):
        place = f"{name}:{object_name}/{_name(container)}"
        if not isinstance(image, str):
            yield malformed_line(str(image), place, "the image is not a string")
        elif image and image not in seen:
            seen.add(image)
            yield parse_item(image, image, place)


def _images(value: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Images and the container or volume that each belongs to."""
    spec = _pod_spec(value)
    for container in _entries(spec, _CONTAINERS):
        yield container.get("image") or "", container
    for volume in _entries(spec, ("volumes",)):
        if isinstance(source := volume.get("image"), dict):
            yield source.get("reference") or "", volume
    for status in _entries(value.get("status"), _STATUSES):
        image_id = status.get("imageID") or ""
        if not isinstance(image_id, str):
            yield image_id, status
        # Without a repository it is the ID of an image that was loaded, not pulled.
        elif "@" in image_id:
            yield image_id.removeprefix(_PULLABLE), status


def _pod_spec(value: dict[str, Any]) -> object:
    for path in _POD_SPEC_PATHS:
        node: Any = value
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict):
            return node
    return None


def _entries(value: object, keys: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    if not isinstance(value, dict):
        return
    for key in keys:
        entries = value.get(key)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                yield entry


def _name(entry: dict[str, Any], key: str = "name") -> str:
    name = entry.get(key)
    return name if isinstance(name, str) else "-"
