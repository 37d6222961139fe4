"""The table `[cluster]` of a configuration file: a cluster whose images are audited.

[cluster]
namespaces = ["team-*"]
exclude_namespaces = ["kube-system"]
pull_secrets = true

[[cluster.resources]]
api = "serving.knative.dev/v1"
resource = "services"
images = ["spec.sidecar.image"]
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from auditor.config.settings import ClusterResource, ClusterSettings
from auditor.config.toml_tables import read_table
from auditor.config.validation_errors import KeyLocation, ValidationErrors
from auditor.config.values import BOOLEAN, PATH, TEXT, URL, ValueType, list_of

_CLUSTER: dict[str, ValueType] = {
    "namespaces": list_of(TEXT),
    "exclude_namespaces": list_of(TEXT),
    "workloads": BOOLEAN,
    "pull_secrets": BOOLEAN,
    "server": URL,
    "token_file": PATH,
    "ca_file": PATH,
}
_RESOURCE: dict[str, ValueType] = {
    "api": TEXT,
    "resource": TEXT,
    "images": list_of(TEXT),
}
_RESOURCES = "resources"


def read_cluster_table(
    value: object,
    location: KeyLocation,
    *,
    errors: ValidationErrors,
    absolute: Callable[[str], str],
) -> ClusterSettings | None:
    """Read the table, or return None; every mistake is added to `errors`.

    `absolute` returns the path to open for a path of the file.
    """
    read = functools.partial(read_table, errors=errors, absolute=absolute)
    if not isinstance(value, Mapping):
        errors.add(location, "must be a section: [cluster]")
        return None
    rest = {name: one for name, one in value.items() if name != _RESOURCES}
    fields = read(rest, _CLUSTER, location, others={_RESOURCES})
    resources = []
    here = location.at(_RESOURCES)
    entries = value.get(_RESOURCES, [])
    if not isinstance(entries, list):
        errors.add(here, "must be sections: [[cluster.resources]]")
        entries = []
    for entry in entries:
        found = read(entry, _RESOURCE, here)
        if not found.keys() >= {"api", "resource"}:
            errors.add(here, 'needs api = "GROUP/VERSION" and resource = "PLURAL"')
        else:
            resources.append(ClusterResource(**found))
    return ClusterSettings(**fields, resources=tuple(resources))
