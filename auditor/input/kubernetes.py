"""Kubernetes objects as a list: what `kubectl get pods -A -o json` prints.

Source: the Kubernetes API reference, "Pod v1 core" (PodSpec, PodStatus). Everything
that holds a pod's specification will do: `spec` of a pod, `spec.template.spec` of
what makes pods, `spec.jobTemplate` of a CronJob.

A container gives two references: the image that its specification names, and the
digest that a node says it runs (`imageID`). A node's own `image` is not read: of
several tags with one digest it shows any.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from auditor.input.items import Item, malformed, read_selector

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_STATUSES = (
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
)
# Where a pod's specification stands in the objects that make pods.
_TEMPLATES = (
    ("spec", "jobTemplate", "spec", "template", "spec"),
    ("spec", "template", "spec"),
    ("template", "spec"),
    ("spec",),
)
# What dockershim wrote before an image's digest.
_PULLABLE = "docker-pullable://"


def is_kubernetes(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether it is an object of the Kubernetes API, or a list of them."""
    return isinstance(document, dict) and all(
        isinstance(document.get(key), str) for key in ("apiVersion", "kind")
    )


def read_kubernetes(
    document: dict[str, Any], name: str, seen: set[str] | None = None
) -> Iterator[Item]:
    """The images of an object or of a list of objects, each once.

    `seen` are those of other objects of the same list. The place of an item is
    `name:namespace/pod/container`. What is not as the API has it is an item that says
    so.
    """
    seen = set() if seen is None else seen
    for found in _objects(document):
        if not isinstance(found, dict):
            yield malformed("", name, "an item of the list is not an object")
            continue
        place = f"{name}:{_name_of(found)}"
        for image, container in _images(found):
            here = f"{place}/{container}"
            if not isinstance(image, str):
                yield malformed(str(image), here, "the image is not a text")
            elif image and image not in seen:
                seen.add(image)
                yield read_selector(image, image, here)


def _objects(document: dict[str, Any]) -> list[Any]:
    items = document.get("items")
    is_list = document["kind"].endswith("List") and isinstance(items, list)
    return items if is_list and items else [] if is_list else [document]


def _name_of(found: dict[str, Any]) -> str:
    metadata = found.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    # An object in a file may leave its namespace, and a template its name, to others.
    parts = (metadata.get(key) for key in ("namespace", "name"))
    return "/".join(part if isinstance(part, str) else "-" for part in parts)


def _images(found: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """Images and the container that each belongs to."""
    spec = _pod_spec(found)
    for container in _entries(spec, _CONTAINERS):
        yield container.get("image") or "", _container(container)
    for volume in _entries(spec, ("volumes",)):
        if isinstance(source := volume.get("image"), dict):
            yield source.get("reference") or "", _container(volume)
    for status in _entries(found.get("status"), _STATUSES):
        image_id = status.get("imageID") or ""
        if not isinstance(image_id, str):
            yield image_id, _container(status)
        # Without a repository it is the ID of an image that was loaded, not pulled.
        elif "@" in image_id:
            yield image_id.removeprefix(_PULLABLE), _container(status)


def _pod_spec(found: dict[str, Any]) -> object:
    for path in _TEMPLATES:
        value: Any = found
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, dict):
            return value
    return None


def _entries(value: object, keys: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    if not isinstance(value, dict):
        return
    for key in keys:
        entries = value.get(key)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                yield entry


def _container(entry: dict[str, Any]) -> str:
    name = entry.get("name")
    return name if isinstance(name, str) else "-"
