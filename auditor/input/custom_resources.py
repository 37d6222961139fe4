"""Images of Kubernetes objects other than pods and their usual owners.

Custom resources contain pod specifications at many paths: JobSet
(`spec.replicatedJobs[].template`), Argo Rollout, Knative, Kubeflow, ... So containers
are found by the key of their list, wherever it is. Sources of the other keys:

- Tekton (tekton.dev/docs/pipelines/tasks): `steps`, `sidecars`, `stepTemplate`;
- Argo Workflows (argo-workflows.readthedocs.io/en/latest/fields): `container`, `script`
  and `sidecars` of a template, `containerSet.containers`;
- the Prometheus operator (prometheus-operator.dev/docs/api-reference): `spec.image`;
- OpenShift (docs.openshift.com, "Using templates"): `objects` with `parameters`.

What else looks like an image is named in a warning: the `image` of a virtual machine is
no container image, so that reading every field of this name would ask registries for
images that do not exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from auditor.errors import ProtocolError
from auditor.input.document_parser import is_image_key
from auditor.input.variables import MAX_EXPANDED_CHARS
from auditor.oci.reference import parse_reference
from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_text

# Keys of containers or of lists of them.
_CONTAINER_KEYS = frozenset(
    {
        "containers", "initContainers", "ephemeralContainers",
        "steps", "sidecars", "stepTemplate",  # Tekton
        "container", "script",  # Argo Workflows
    }
)  # fmt: skip
# The keys whose value has an `image` itself, by API group and kind.
_OWNERS: Mapping[tuple[str, str], frozenset[str]] = {
    ("monitoring.coreos.com", "Prometheus"): frozenset({"spec", "thanos"}),
    ("monitoring.coreos.com", "PrometheusAgent"): frozenset({"spec"}),
    ("monitoring.coreos.com", "Alertmanager"): frozenset({"spec"}),
    ("monitoring.coreos.com", "ThanosRuler"): frozenset({"spec"}),
    ("tekton.dev", "StepAction"): frozenset({"spec"}),
}
# Keys of images with other names, by API group: kustomize, Flux, ...
_OTHER_IMAGE_KEYS: Mapping[str, str] = {
    "kustomize.config.k8s.io": "newName",
    "kustomize.toolkit.fluxcd.io": "newName",
    "pkg.crossplane.io": "package",
    "tekton.dev": "bundle",
}
# An image among the inputs of builds and image streams of OpenShift (ObjectReference).
_DOCKER_IMAGE = "DockerImage"
# Objects that describe other objects: schemas, and the images that a policy allows.
_DESCRIPTIONS = frozenset({"CustomResourceDefinition"})
_DESCRIBING_GROUPS = frozenset({"kyverno.io", "policies.kyverno.io"})
# Earlier revisions of a workload: read from the workload itself.
_REVISIONS = frozenset({"ControllerRevision"})
# A field of a warning; more would only be longer.
_MAX_FIELDS = 3
_PARAMETER = LazyPattern(r"\$\{\{?([A-Za-z0-9_]+)\}\}?")


class ParameterError(ValueError):
    """A parameter of a template without a value; the message is one sentence."""


def expand_parameters(text: str, values: Mapping[str, str] | None) -> str:
    """An image with the values of its parameters, `${NAME}` and `${{NAME}}`.

    `values` is `None` outside of templates. Raises `ParameterError` for a parameter
    without a value, and for those of Tekton and Argo Workflows, which a run sets.
    """
    if "$(" in text or "{{" in _PARAMETER.sub("", text):
        raise ParameterError("the image is set by a parameter; list it separately")
    if values is None or len(text) > MAX_EXPANDED_CHARS:
        return text
    parts = _PARAMETER.split(text)
    size = 0
    for position in range(1, len(parts), 2):
        value = values.get(parts[position])
        if value is None:
            name = safe_text(parts[position], 40)
            raise ParameterError(
                f"the parameter {name} has no value; give the output of `oc process`"
                " instead"
            )
        parts[position] = value
        size += len(value)
        if size > MAX_EXPANDED_CHARS:
            raise ParameterError(
                f"with its parameters it has more than {MAX_EXPANDED_CHARS:,}"
                " characters"
            )
    return "".join(parts)


def template_parameters(template: Mapping[str, Any]) -> Mapping[str, str]:
    """The values of the parameters of a template that have one."""
    entries = template.get("parameters")
    return {
        entry["name"]: entry["value"][:MAX_EXPANDED_CHARS]
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and isinstance(entry.get("value"), str)
    }


def images_of(value: Mapping[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Images and the container or volume that each belongs to, in their order."""
    owners = _container_keys(value)
    for key, node in _nodes(value):
        if key in owners and not isinstance(node.get("image"), dict):
            yield node.get("image") or "", node
        elif key == "volumes" and isinstance(source := node.get("image"), dict):
            yield source.get("reference") or "", node


def unread_image_fields(value: Mapping[str, Any]) -> list[str]:
    """The first fields of an object that seem to name images and are not read."""
    owners = _container_keys(value)
    if value.get("kind") in _REVISIONS:
        return ["data"]
    found: dict[str, None] = {}
    status = value.get("status")
    if value.get("kind") == "Node" and isinstance(status, dict) and "images" in status:
        found.setdefault("status.images")
    other_key = _OTHER_IMAGE_KEYS.get(_group(value))
    for key, node in _nodes(value):
        is_reference = node.get("kind") == _DOCKER_IMAGE
        for name, inner in node.items():
            is_read = name == "image" and (
                key == "volumes" or (key in owners and not isinstance(inner, dict))
            )
            is_image = (
                is_image_key(name)
                or name == other_key
                or (is_reference and name == "name")
            )
            if is_image and not is_read and _is_image(inner):
                found.setdefault(f"{key}.{name}")
                if len(found) == _MAX_FIELDS:
                    return list(found)
    return list(found)


def _container_keys(value: Mapping[str, Any]) -> frozenset[str]:
    owner = (_group(value), str(value.get("kind")))
    return _CONTAINER_KEYS | _OWNERS.get(owner, frozenset())


def _group(value: Mapping[str, Any]) -> str:
    return str(value.get("apiVersion")).partition("/")[0]


def _nodes(value: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping below the object, with the key that leads to it or to its list.

    `metadata` and `status` do not say what is to run.
    """
    kind = value.get("kind")
    if kind in _DESCRIPTIONS | _REVISIONS or _group(value) in _DESCRIBING_GROUPS:
        return
    rest: list[tuple[str, Any]] = [
        (key, inner)
        for key, inner in value.items()
        if key not in {"metadata", "status"}
    ][::-1]
    while rest:
        key, node = rest.pop()
        if isinstance(node, list):
            rest += [(key, inner) for inner in reversed(node)]
        elif isinstance(node, dict):
            yield key, node
            rest += list(node.items())[::-1]


def _is_image(value: object) -> bool:
    """Whether a value seems to name an image: a reference, or a repository (Helm)."""
    if isinstance(value, dict):
        value = value.get("repository")
    if not isinstance(value, str):
        return False
    try:
        parse_reference(value)
    except ProtocolError:
        return False
    return True
