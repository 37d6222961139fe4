"""The tables of a configuration file that have keys of their own.

[nightly]
folder = "/var/lib/auditor"
policy = "policy.toml"
keep = { daily = 30, weekly = 12, monthly = 12 }
notify = { urls_env = "AUDITOR_NOTIFY_URLS", on = "change" }

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
from collections.abc import Callable, Collection, Mapping
from typing import Any

from auditor.config.settings import (
    ClusterResource,
    ClusterSettings,
    FailOn,
    KeepRules,
    NightlySettings,
    NotifyOn,
    NotifySettings,
)
from auditor.config.validation_errors import KeyLocation, ValidationErrors, unknown
from auditor.config.value_types import (
    BOOLEAN,
    PATH,
    TEXT,
    URL,
    VARIABLE,
    ValueType,
    integer,
    list_of,
    member_of,
)
from auditor.util.text import safe_text

ONLY_AT_TOP = "only valid at the top, before every section"


def read_table(
    value: object,
    keys: Mapping[str, ValueType],
    location: KeyLocation,
    *,
    errors: ValidationErrors,
    absolute: Callable[[str], str],
    others: Collection[str] = (),
    top_keys: Collection[str] = (),
) -> dict[str, Any]:
    """The values of a table whose keys are known; every mistake is added to `errors`.

    `absolute` returns the path to open for a path of the file; `others` are keys that
    the caller reads; `top_keys` are those of the file outside of its tables.
    """
    if not isinstance(value, Mapping):
        example = ", ".join(f"{key} = ..." for key in list(keys)[:2])
        errors.add(location, f"must be a table: {{ {example} }}")
        return {}
    fields: dict[str, Any] = {}
    for key, one in value.items():
        here = location.at(key)
        if key not in keys:
            sentence = unknown("key", key, {*keys, *others})
            errors.add(here, ONLY_AT_TOP if key in top_keys else sentence)
            continue
        try:
            read = keys[key].read(one, as_text=False)
        except ValueError as error:
            errors.add(here, error)
            continue
        fields[key] = absolute(str(read)) if keys[key].is_path else read
    return fields


# -- [cluster] -------------------------------------------------------------------------

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
    top_keys: Collection[str],
) -> ClusterSettings | None:
    """Read the table, or return None; every mistake is added to `errors`.

    `absolute` and `top_keys` are those of `read_table`.
    """
    read = functools.partial(read_table, errors=errors, absolute=absolute)
    if not isinstance(value, Mapping):
        errors.add(location, "must be a section: [cluster]")
        return None
    rest = {name: one for name, one in value.items() if name != _RESOURCES}
    fields = read(rest, _CLUSTER, location, others={_RESOURCES}, top_keys=top_keys)
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


# -- [nightly] -------------------------------------------------------------------------

# More than a century of nights.
_COUNT = integer(0, 100_000)
_KEEP: dict[str, ValueType] = {
    "last": _COUNT,
    "daily": _COUNT,
    "weekly": _COUNT,
    "monthly": _COUNT,
    "yearly": _COUNT,
}
_NOTIFY: dict[str, ValueType] = {
    "urls_env": VARIABLE,
    "urls_file": PATH,
    "on": member_of(NotifyOn),
}
_NIGHTLY: dict[str, ValueType] = {
    "folder": PATH,
    "policy": PATH,
    "fail_on": member_of(FailOn),
    "run_after": list_of(TEXT),
    "ping_url": URL,
    "push_url": URL,
    "otlp_url": URL,
    "page": BOOLEAN,
}
_SHOWN_CHARS = 60
_TABLES = {"keep": _KEEP, "notify": _NOTIFY}


def read_nightly(
    value: object,
    location: KeyLocation,
    *,
    errors: ValidationErrors,
    absolute: Callable[[str], str],
    top_keys: Collection[str],
) -> NightlySettings | None:
    """Read the table, or return None; every mistake is added to `errors`.

    `absolute` and `top_keys` are those of `read_table`.
    """
    read = functools.partial(read_table, errors=errors, absolute=absolute)
    if not isinstance(value, Mapping):
        errors.add(location, "must be a section: [nightly]")
        return None
    tables = {
        name: read(value[name], keys, location.at(name))
        for name, keys in _TABLES.items()
        if name in value
    }
    rest = {name: one for name, one in value.items() if name not in _TABLES}
    fields = read(rest, _NIGHTLY, location, others=_TABLES.keys(), top_keys=top_keys)
    if "folder" not in value:
        errors.add(location, "needs folder, where the nights are kept")
    fields.setdefault("folder", "")  # with the error above, or that of its value
    if "keep" in tables:
        fields["keep"] = KeepRules(**(dict.fromkeys(_KEEP, 0) | tables["keep"]))
        if not any(tables["keep"].values()):
            errors.add(location.at("keep"), "would keep no night")
    if "notify" in tables:
        notify = tables["notify"]
        if not notify.keys() & {"urls_env", "urls_file"}:
            errors.add(
                location.at("notify"), "needs urls_env or urls_file, with the URLs"
            )
        fields["notify"] = NotifySettings(**notify)
    return NightlySettings(**fields)


def parse_keep(text: str) -> KeepRules:
    """The rules of `daily=30,weekly=12`; raises `ValueError` with a sentence."""
    rules = dict.fromkeys(_KEEP, 0)
    for part in text.split(","):
        name, _, count = (word.strip() for word in part.partition("="))
        if name not in _KEEP:
            raise ValueError(
                f'"{safe_text(name, _SHOWN_CHARS)}" is not a rule; write for example'
                f" daily=30,weekly=12 (the rules are {', '.join(_KEEP)})"
            )
        try:
            rules[name] = int(str(_KEEP[name].read(count, as_text=True)))
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    if not any(rules.values()):
        raise ValueError("would keep nothing but the last complete run")
    return KeepRules(**rules)
