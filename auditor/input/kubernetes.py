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
from dataclasses import replace
from hashlib import blake2b
from typing import Any, TypeGuard

from auditor.input.custom_resources import (
    ParameterError,
    expand_parameters,
    images_of,
    template_parameters,
    unread_image_fields,
)
from auditor.input.document_parser import TaggedScalar, YamlString, place_of
from auditor.input.input_items import (
    InputItem,
    InputOrigin,
    malformed_line,
    parse_image,
)
from auditor.input.input_labels import clean_text
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
# A name has at most 253 characters ("Object Names and IDs").
_MAX_NAME_CHARS = 253
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
    """The images of the objects of a list; `name` is that of the list.

    An image is an item once; for each further workload that uses it, it is a repeat
    (`InputOrigin.is_repeat`). The pods of a workload are one.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen: set[str] = set()
        self._seen_uses: set[bytes] = set()
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
        uses = _Uses(value, metadata)
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
                origin = uses.origin(self._name, image, container)
                if self.is_new_use(text, origin):
                    is_repeat = text in self._seen
                    self._seen.add(text)
                    yield replace(
                        parse_image(text, image, place),
                        origin=replace(origin, is_repeat=is_repeat),
                    )

    def is_new_use(self, image: str, origin: InputOrigin) -> bool:
        """Whether no earlier object of the same workload used this image."""
        names = (origin.namespace, origin.workload, origin.container)
        text = "\0".join((image, *(name or "" for name in names)))
        use = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if use in self._seen_uses:
            return False
        self._seen_uses.add(use)
        return True

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


class _Uses:
    """The origins of the images of an object."""

    def __init__(self, value: dict[str, Any], metadata: dict[str, Any]) -> None:
        self._namespace = _text(metadata.get("namespace"))
        self._workload = workload_of(value, metadata)

    def origin(self, list_: str, image: str, container: dict[str, Any]) -> InputOrigin:
        """The origin of the image of a container; in YAML with its line."""
        line = place_of(list_, image) if isinstance(image, YamlString) else None
        return InputOrigin(
            place=line,
            namespace=self._namespace,
            workload=self._workload,
            container=_text(container.get("name")),
        )


def workload_of(value: dict[str, Any], metadata: dict[str, Any]) -> str | None:
    """`KIND/NAME` of an object, or of the workload that created it.

    A pod and a ReplicaSet belong to the object that controls them (Kubernetes, "Owners
    and Dependents"). The ReplicaSet of a Deployment has its name and the label
    `pod-template-hash` ("Deployments", Pod-template-hash label).
    """
    kind, name = _text(value.get("kind")), _text(metadata.get("name"))
    owner = _controller(metadata)
    if kind in {"Pod", "ReplicaSet", "Job"} and owner is not None:
        kind, name = owner
    labels = metadata.get("labels")
    hash_ = _text(labels.get("pod-template-hash")) if isinstance(labels, dict) else None
    if kind == "ReplicaSet" and name and hash_ and name.endswith(f"-{hash_}"):
        kind, name = "Deployment", name.removesuffix(f"-{hash_}")
    if name is None:  # `generateName` of a pod that is not created yet
        name = _text(metadata.get("generateName"))
    return None if name is None else f"{kind or '-'}/{name}"


def _controller(metadata: dict[str, Any]) -> tuple[str, str] | None:
    for owner in _entries(metadata, ("ownerReferences",)):
        kind, name = _text(owner.get("kind")), _text(owner.get("name"))
        if owner.get("controller") is True and kind and name:
            return kind, name
    return None


def _text(value: object) -> str | None:
    return (
        clean_text(value)[:_MAX_NAME_CHARS]
        if value and isinstance(value, str)
        else None
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
