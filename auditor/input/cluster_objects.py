"""Reads the pods, workloads and custom resources of a cluster, and its pull secrets.

Objects are read as kubernetes.py reads the output of kubectl.

What cannot be listed is a failure of the report, so that a missing right never looks
like a cluster without images. If no pods can be listed at all, the run does not start.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from auditor.config.settings import ClusterSettings
from auditor.errors import Failure, FailureKind, Stage, UsageError
from auditor.input.input_items import (
    InputItem,
    InputOrigin,
    RejectedEntry,
    malformed_line,
    parse_image,
)
from auditor.input.input_labels import clean_text
from auditor.input.kubernetes import KubernetesImages, workload_of
from auditor.input.kubernetes_api import (
    SERVICE_ACCOUNT,
    ClusterError,
    KubernetesApi,
    api_path,
    find_api_server,
)
from auditor.registry.auth.docker_config import PullSecret
from auditor.util.secret import Secret
from auditor.util.text import safe_text

log = logging.getLogger("auditor.input")

NAME = "cluster"
# API group with version, and resource. Pods first: the others are of use without them.
PODS = ("v1", "pods")
WORKLOADS = (
    ("apps/v1", "deployments"),
    ("apps/v1", "statefulsets"),
    ("apps/v1", "daemonsets"),
    ("apps/v1", "replicasets"),
    ("batch/v1", "cronjobs"),
    ("batch/v1", "jobs"),
    ("v1", "replicationcontrollers"),
    ("v1", "podtemplates"),
)
# Groups of Kubernetes itself; those of custom resources have other domains.
_OWN_GROUPS = (".k8s.io",)
_SECRET_KEYS = {
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
    "kubernetes.io/dockercfg": ".dockercfg",
}
_MAX_NAMED = 12
_GRANT = (
    "; grant it with kubectl create clusterrolebinding auditor --clusterrole=view"
    " --serviceaccount=NAMESPACE:NAME, or name the namespaces of its Roles in"
    " [cluster]"
)


def read_objects(
    settings: ClusterSettings,
    environment: Mapping[str, str] = os.environ,
    folder: Path = SERVICE_ACCOUNT,
    api_of: Callable[..., KubernetesApi] = KubernetesApi,
) -> tuple[list[InputItem], list[PullSecret]]:
    """The images of a cluster and its pull secrets; blocks.

    `folder` has the files of the service account. Raises `UsageError` if the API server
    does not answer or lists no pods.
    """
    with api_of(find_api_server(settings, environment, folder)) as api:
        reading = _Reading(settings, api)
        items = list(reading.items())
        secrets = list(reading.pull_secrets()) if settings.pull_secrets else []
    return items, secrets


class _Reading:
    def __init__(self, settings: ClusterSettings, api: KubernetesApi) -> None:
        self._settings = settings
        self._api = api
        self._images = KubernetesImages(NAME)
        self._seen: set[str] = set()
        # What the settings name and the cluster has: namespaces, and API with resource
        # and path; the objects at whose paths an image is looked for.
        self._namespaces_found: set[str] = set()
        self._refused: set[str] = set()
        self._paths_found: set[tuple[str, str, str]] = set()
        self._objects_read: Counter[tuple[str, str]] = Counter()
        # Namespace and name of the secrets that pods and service accounts name.
        self._secret_names: dict[tuple[str, str], None] = {}

    def items(self) -> Iterator[InputItem]:
        """The images and the lists that failed."""
        failed: list[ClusterError] = []
        listed = 0
        for namespace in self._namespaces():
            try:
                yield from self._read(*PODS, namespace)
                listed += 1
            except ClusterError as error:
                failed.append(error)
                self._refused.add(namespace or "")
        if failed and not listed:
            raise UsageError(
                f"cluster: no pods can be listed: {failed[0]}"
                + (_GRANT if failed[0].status == HTTPStatus.FORBIDDEN else "")
            )
        yield from (_failed_list("pods", error) for error in failed)
        others = [
            *(WORKLOADS if self._settings.workloads else ()),
            *((one.api, one.resource) for one in self._settings.resources),
        ]
        for group_version, resource in others:
            for namespace in self._namespaces():
                try:
                    yield from self._read(group_version, resource, namespace)
                except ClusterError as error:
                    yield _failed_list(resource, error)
        self._name_unmatched()
        if self._settings.workloads:
            self._name_other_resources()

    def _namespaces(self) -> tuple[str | None, ...]:
        """The namespaces to list one by one, or None for all at once.

        A role in some namespaces is enough if these are named without a wildcard.
        """
        names = self._settings.namespaces
        if names and not any(set("*?[") & set(name) for name in names):
            return names
        return (None,)

    def _read(
        self, group_version: str, resource: str, namespace: str | None
    ) -> Iterator[InputItem]:
        source = (group_version, resource)
        paths = [
            path
            for one in self._settings.resources
            if (one.api, one.resource) == source
            for path in one.images
        ]
        for value in self._api.objects(api_path(group_version, resource, namespace)):
            metadata = value.get("metadata")
            metadata = metadata if isinstance(metadata, dict) else {}
            found = str(metadata.get("namespace") or "")
            if not self._is_included(found):
                continue
            self._namespaces_found.add(found)
            self._objects_read[source] += 1
            if _is_old_revision(value, metadata):
                continue
            yield from self._images.read_object(value)
            for path in paths:
                yield from self._at_path(value, metadata, source, path)
            if self._settings.pull_secrets and resource == "pods":
                self._add_secrets(value.get("spec"), metadata)

    def _is_included(self, namespace: str) -> bool:
        names = self._settings.namespaces
        if names and not any(fnmatchcase(namespace, name) for name in names):
            return False
        excluded = self._settings.exclude_namespaces
        return not any(fnmatchcase(namespace, name) for name in excluded)

    def _at_path(
        self,
        value: dict[str, Any],
        metadata: dict[str, Any],
        source: tuple[str, str],
        path: str,
    ) -> Iterator[InputItem]:
        place = f"{NAME}:{metadata.get('namespace') or '-'}/{metadata.get('name')}"
        where = safe_text(f"{place}/{path}")
        for image in values_at(value, path):
            self._paths_found.add((*source, path))
            if not isinstance(image, str):
                yield malformed_line(str(image), where, "the image is not a string")
            elif image:
                origin = InputOrigin(
                    namespace=clean_text(str(metadata.get("namespace") or "")) or None,
                    workload=workload_of(value, metadata),
                )
                if self._images.is_new_use(image, origin):
                    is_repeat = image in self._seen
                    self._seen.add(image)
                    yield replace(
                        parse_image(image, image, where),
                        origin=replace(origin, is_repeat=is_repeat),
                    )

    def _name_unmatched(self) -> None:
        """Say what of the settings matched nothing: it is probably misspelled."""
        for name in self._settings.namespaces:
            if name not in self._refused and not any(
                fnmatchcase(one, name) for one in self._namespaces_found
            ):
                log.warning(
                    "cluster: namespaces: %s: it has no pods or workloads, or does not"
                    " exist",
                    safe_text(name, 100),
                )
        for one in self._settings.resources:
            count = self._objects_read[one.api, one.resource]
            for path in one.images:
                if count and (one.api, one.resource, path) not in self._paths_found:
                    log.warning(
                        "cluster: %s: no image at %s (objects: %d); check images in"
                        " [[cluster.resources]]",
                        safe_text(one.resource, 100),
                        safe_text(path, 100),
                        count,
                    )

    def _name_other_resources(self) -> None:
        """Log which custom resources of the cluster are not read."""
        known = {
            (one.api.partition("/")[0], one.resource)
            for one in self._settings.resources
        }
        try:
            found = [one for one in self._custom_resources() if one not in known]
        except ClusterError as error:
            log.warning("cluster: custom resources are not looked into: %s", error)
            return
        if not found:
            return
        names = [f"{resource}.{group}" for group, resource in found[:_MAX_NAMED]]
        more = f" and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else ""
        log.warning(
            "cluster: not looked into: the custom resources %s%s; name those with"
            " images in [[cluster.resources]] (their pods are audited)",
            safe_text(", ".join(names), 600),
            more,
        )

    def _custom_resources(self) -> Iterator[tuple[str, str]]:
        """Group and name of the custom resources of namespaces that can be listed."""
        for group in _objects(self._api.get("/apis").get("groups")):
            name = str(group.get("name", ""))
            if "." not in name or name.endswith(_OWN_GROUPS):
                continue
            preferred = group.get("preferredVersion")
            if not isinstance(preferred, dict):
                continue
            version = str(preferred.get("groupVersion"))
            listed = self._api.get(f"/apis/{version}")
            for resource in _objects(listed.get("resources")):
                verbs = resource.get("verbs")
                if (
                    isinstance(verbs, list)
                    and "list" in verbs
                    and resource.get("namespaced")
                ):
                    yield name, str(resource.get("name"))

    def _add_secrets(self, owner: object, metadata: dict[str, Any]) -> None:
        if not isinstance(owner, dict):
            return
        namespace = metadata.get("namespace")
        for entry in _objects(owner.get("imagePullSecrets")):
            name = entry.get("name")
            # Without a name, it would be the list of all secrets.
            if isinstance(namespace, str) and isinstance(name, str) and name:
                self._secret_names.setdefault((namespace, name))

    def pull_secrets(self) -> Iterator[PullSecret]:
        """The secrets that pods and service accounts name, in this order.

        One that may not be read, or does not exist, is named in a warning: its registry
        then refuses, which the report shows.
        """
        for namespace in self._namespaces():
            path = api_path("v1", "serviceaccounts", namespace)
            try:
                for account in self._api.objects(path):
                    metadata = account.get("metadata")
                    if isinstance(metadata, dict) and self._is_included(
                        str(metadata.get("namespace") or "")
                    ):
                        self._add_secrets(account, metadata)
            except ClusterError as error:
                log.warning("cluster: pull secrets of service accounts: %s", error)
        for namespace, name in self._secret_names:
            try:
                path = api_path("v1", "secrets", namespace)
                # A pod can name anything: `../..` is no path here.
                secret = self._api.get(f"{path}/{quote(name, safe='')}")
            except ClusterError as error:
                log.warning("cluster: the pull secret is not used: %s", error)
                continue
            document = _pull_document(secret)
            location = f"secret {namespace}/{name}"
            if document is None:
                log.warning("cluster: %s: not a pull secret", safe_text(location))
            else:
                yield PullSecret(location=location, document=Secret(document))


def values_at(value: object, path: str) -> Iterator[Any]:
    """The values at a path such as `spec.parts[*].image`; missing ones are left out."""
    nodes = [value]
    for step in path.split("."):
        key, _, rest = step.partition("[")
        nodes = [node[key] for node in nodes if isinstance(node, dict) and key in node]
        for _ in range(rest.count("]")):
            nodes = [one for node in nodes if isinstance(node, list) for one in node]
    yield from nodes


def _is_old_revision(value: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """Whether this ReplicaSet is kept by its Deployment for a rollback only."""
    spec = value.get("spec")
    return (
        value.get("kind") == "ReplicaSet"
        and bool(metadata.get("ownerReferences"))
        and isinstance(spec, dict)
        and spec.get("replicas") == 0
    )


def _failed_list(resource: str, error: ClusterError) -> RejectedEntry:
    return RejectedEntry(
        text=f"{NAME}:{resource}",
        place=NAME,
        failure=Failure(
            kind=FailureKind.INCOMPLETE_LISTING,
            stage=Stage.INPUT,
            detail=f"{resource} of the cluster are not listed: {error}",
            status=error.status,
        ),
    )


def _pull_document(secret: dict[str, Any]) -> str | None:
    key = _SECRET_KEYS.get(str(secret.get("type")))
    data = secret.get("data")
    text = data.get(key) if key and isinstance(data, dict) else None
    if not isinstance(text, str):
        return None
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _objects(value: object) -> Iterator[dict[str, Any]]:
    return (
        one
        for one in (value if isinstance(value, list) else ())
        if isinstance(one, dict)
    )
