"""Kubernetes objects as a list: what `kubectl get pods -A -o json` prints.

Source: the Kubernetes API reference, "Pod v1 core" (PodSpec, PodStatus). Every object
with a pod specification is read: `spec` of a pod, `spec.template.spec` of workloads,
`spec.jobTemplate` of a CronJob. custom_resources.py reads the objects of other kinds.

A container gives two references: the image in its specification, and the digest that
the node runs (`imageID`). The `image` of a container status is not read: if several
tags have one digest, the node reports any of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from auditor.input.custom_resources import (
    ParameterError,
    expand_parameters,
    images_of,
    template_parameters,
    unread_image_fields,
)
from auditor.input.document_parser import TaggedScalar, YamlString, place_of
from auditor.input.input_items import InputItem, malformed_line, parse_image
from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_text

log = logging.getLogger("auditor.input")

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
# The kinds of Kubernetes itself that have a pod specification and no other images.
_WORKLOADS = frozenset(
    {
        "CronJob", "DaemonSet", "Deployment", "Job", "Pod", "PodTemplate", "ReplicaSet",
        "ReplicationController", "StatefulSet",
    }
)  # fmt: skip
# The prefix that dockershim wrote before the digest of an image.
_PULLABLE = "docker-pullable://"
# Names of images that were loaded into a node and that no registry has: containerd's
# for an archive without names (client/import.go; kind#4184), nerdctl's (nerdctl#304),
# docker's (moby#53561), and podman's.
_LOADED = LazyPattern(
    r"(?:docker\.io/library/)?"
    r"(?:import-[0-9]{4}-[0-9]{2}-[0-9]{2}|overlayfs|moby-dangling)@.*|localhost/.*"
)
# Kinds that are named in warnings; a list can have any number.
_MAX_WARNINGS = 20


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


class KubernetesImages:
    """The images of the objects of a list, each once; `name` is that of the list."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen: set[str] = set()
        self._warned: set[str] = set()

    def read(self, document: dict[str, Any]) -> Iterator[InputItem]:
        """The images of an object or of a list of objects."""
        if is_kubernetes_list(document):
            for item in document["items"]:
                yield from self.read_object(item)
        else:
            yield from self.read_object(document)

    def read_object(
        self, value: object, parameters: Mapping[str, str] | None = None
    ) -> Iterator[InputItem]:
        """The images of one object.

        The location of an item is `name:namespace/pod/container`. Values that do not
        conform to the API are malformed items. `parameters` are those of the template
        that contains the object.
        """
        if not isinstance(value, dict):
            yield malformed_line("", self._name, "an item of the list is not an object")
            return
        objects = value.get("objects") if value.get("kind") == "Template" else None
        if parameters is None and isinstance(objects, list):
            parameters = template_parameters(value)
            for inner in objects:
                yield from self.read_object(inner, parameters)
            return
        self._warn(value)
        metadata = value.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        # An object in a file may have no namespace, and a template no name.
        object_name = f"{_name(metadata, 'namespace')}/{_name(metadata)}"
        for image, container in _images(value):
            place = f"{self._name}:{object_name}/{_name(container)}"
            if not isinstance(image, str):
                yield malformed_line(_shown(image), place, _not_a_string(image))
            elif image:
                try:
                    text = expand_parameters(image, parameters)
                except ParameterError as error:
                    yield malformed_line(image, place, str(error))
                    continue
                if text not in self._seen:
                    self._seen.add(text)
                    yield parse_image(text, image, place)

    def _warn(self, value: dict[str, Any]) -> None:
        """Name a kind whose images are not read, once."""
        kind = value.get("kind")
        if kind in _WORKLOADS or not isinstance(kind, str) or kind in self._warned:
            return
        if len(self._warned) >= _MAX_WARNINGS or not (
            fields := unread_image_fields(value)
        ):
            return
        self._warned.add(kind)
        log.warning(
            "%s: the images of %s objects are not read (%s); list them separately",
            place_of(self._name, kind) if isinstance(kind, YamlString) else self._name,
            safe_text(kind, 60),
            ", ".join(safe_text(field, 60) for field in fields),
        )


def _images(value: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Images and the container or volume that each belongs to."""
    if isinstance(kind := value.get("kind"), str) and kind not in _WORKLOADS:
        yield from images_of(value)
        return
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
            continue
        image_id = image_id.removeprefix(_PULLABLE)
        # Without a repository it is the ID of an image that was loaded, not pulled.
        if "@" in image_id and not _LOADED.fullmatch(image_id):
            yield image_id, status


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


def _shown(image: object) -> str:
    return image.text if isinstance(image, TaggedScalar) else str(image)


def _not_a_string(image: object) -> str:
    if isinstance(image, TaggedScalar):
        return f"the image has the YAML tag {safe_text(image.tag, 40)}"
    return "the image is not a string"
