"""Settings from defaults < file < environment < flags.

The environment and the flags apply to every registry, also to one that has a section
in the file. The input, `reference` and `list`, adds up: first the values of the flags,
then those of the environment, then those of the file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from auditor.config.option import OptionScope
from auditor.config.option_conflicts import (
    check_client_key,
    check_options,
    check_scale_flags,
    check_section,
    check_spread,
)
from auditor.config.option_sources import (
    LOGIN_KEYS,
    PASSWORD_KEYS,
    VARIABLE_KEYS,
    ConfigDocument,
    LoginReader,
    OptionReader,
    OptionValues,
    RegistrySection,
    read_document,
    read_environment,
    read_flags,
)
from auditor.config.option_table import OPTION_BY_NAME, OPTIONS
from auditor.config.settings import (
    AttachmentMode,
    ClusterSettings,
    LoginProgram,
    NightlySettings,
    RegistrySettings,
    Settings,
)
from auditor.config.toml_file import read_password, read_toml
from auditor.config.validation_errors import (
    KeyLocation,
    Lines,
    LoginLocation,
    ValidationErrors,
)
from auditor.errors import ConfigError
from auditor.util.shard import Shard
from auditor.wire.credential import Login

_INPUT_NAMES = frozenset({"reference", "list"})
# Set by Kubernetes in the pods of an indexed Job (kubernetes.io, "Completion mode").
_JOB_INDEX = "JOB_COMPLETION_INDEX"


def load_settings(
    environment: Mapping[str, str],
    flags: Mapping[str, object],
    read_file: Callable[[str], str] = read_password,
) -> Settings:
    """Resolve the settings of a run, with the file that a flag or variable names.

    `flags` are by option name; `read_file` reads password files. Raises `ConfigError`
    with every error; an unreadable file is one.
    """
    option = OPTION_BY_NAME["config"]
    given = flags.get(option.name) or environment.get(option.variable or "")
    reader = OptionReader(ValidationErrors(), home=environment.get("HOME"))
    path = reader.absolute(str(given)) if given else None
    file = read_toml(path) if path else None
    return resolve_settings(
        file=file.document if file else None,
        file_name=path,
        environment=environment,
        flags=flags,
        read_file=read_file,
        lines=functools.cache(file.lines) if file else dict,
    )


def load_valid_nightly(
    environment: Mapping[str, str], config: str | None
) -> tuple[NightlySettings | None, str | None]:
    """What is valid of `[nightly]` in a configuration with errors, and `metrics`.

    A night that cannot begin is announced with them. `folder` is "" if it is missing.
    """
    errors = ValidationErrors()
    given = config or environment.get(OPTION_BY_NAME["config"].variable or "")
    home = environment.get("HOME")
    reader = OptionReader(errors, home=home)
    if not given:
        return None, None
    path = reader.absolute(given)
    try:
        file = read_toml(path).document
    except ConfigError:
        return None, None
    document = read_document(
        file,
        location=KeyLocation(file_name=path, lines=dict),
        reader=OptionReader(errors, base=str(PurePath(path).parent), home=home),
    )
    values = _merge(
        document.top, read_environment(environment, others=(), reader=reader)
    )
    metrics = values.get("metrics")
    return document.nightly, metrics if isinstance(metrics, str) else None


def resolve_settings(
    *,
    file: Mapping[str, object] | None,
    file_name: str | None,
    environment: Mapping[str, str],
    flags: Mapping[str, object],
    read_file: Callable[[str], str],
    lines: Lines = dict,
) -> Settings:
    """Resolve the settings of a run, or raise `ConfigError` with every error.

    `file` is a parsed TOML document. `flags` are values by option name, typed or as
    text; None means not given. `read_file` returns the text of a password file, or
    raises `OSError` or `UnicodeDecodeError`. `lines` returns the line numbers of the
    document's keys, for error messages.
    """
    errors = ValidationErrors()
    home = environment.get("HOME")
    folder = str(PurePath(file_name).parent) if file_name else None
    document = read_document(
        file or {},
        location=KeyLocation(file_name=file_name, lines=lines),
        reader=OptionReader(errors, base=folder, home=home),
    )
    reader = OptionReader(errors, home=home)
    environment_values = read_environment(
        environment, others=_variables_in(document), reader=reader
    )
    flag_values = read_flags(flags, reader=reader)
    overrides = _merge(environment_values, flag_values)
    values = _merge(document.top, overrides)
    _number_shard(values, environment, errors)
    if values.get("sbom"):
        # The index names the attachments of BuildKit only.
        values.setdefault("attachments", AttachmentMode.ALL)
    check_options(values, errors)
    logins = LoginReader(environment=environment, read_file=read_file, errors=errors)
    registries = {
        name: _registry(section, values, overrides, logins)
        for name, section in document.registries.items()
    }
    check_spread(values, registries.values(), errors)
    check_client_key(_registry_values(values), "--key-file", errors)
    namespaces = {
        name: login
        for name, section in document.namespaces.items()
        if (login := _namespace_login(section, logins)) is not None
    }
    errors.raise_if_any()
    # Only valid values decide whether flags have an effect.
    check_scale_flags(flag_values, values, errors)
    errors.raise_if_any()
    sections = document.registries | document.namespaces
    settings = Settings(
        **_fields(values, OptionScope.RUN),
        namespaces=namespaces,
        login_locations={
            # Of a command, the program: its arguments may be secrets.
            name: LoginLocation(
                key=section.location.at(key),
                value=str(value[0] if isinstance(value, tuple) else value),
            )
            for name, section in sections.items()
            for key, value in section.values.items()
            if key in PASSWORD_KEYS and value
        },
        nightly=document.nightly,
        cluster=_cluster(values, document.cluster),
        registries=registries,
        default_registry=RegistrySettings(**_registry_fields(values)),
    )
    if settings.retry_failed:
        settings = replace(settings, resume=True)
    return _with_divided_limits(settings, one_audit="runs_at_once" in values)


def _cluster(
    values: OptionValues, table: ClusterSettings | None
) -> ClusterSettings | None:
    """The cluster of the table, unless the flag or the variable decides otherwise."""
    if not values.get("cluster", table is not None):
        return None
    return table or ClusterSettings()


def _with_divided_limits(settings: Settings, *, one_audit: bool) -> Settings:
    runs_at_once = runs = settings.runs_at_once
    if settings.shard is not None and one_audit:
        # Shards may run one after the other; together they are one audit.
        runs = max(runs, settings.shard.of)
    divided = functools.partial(divide_limits, runs_at_once=runs_at_once, runs=runs)
    return replace(
        settings,
        registries={
            name: divided(registry) for name, registry in settings.registries.items()
        },
        default_registry=divided(settings.default_registry),
    )


def divide_limits(
    settings: RegistrySettings, *, runs_at_once: int, runs: int
) -> RegistrySettings:
    """The limits for one run, if there are `runs` in all and `runs_at_once` at a time.

    Rates are divided by `runs_at_once`, the number of requests by `runs`. Each run has
    at least one request: no more runs than requests may be started.
    """
    if runs == 1:
        return settings
    rate, most = settings.requests_per_second, settings.max_requests
    bounds = settings.concurrency.divided(runs_at_once)
    return replace(
        settings,
        requests_at_once=bounds.most if bounds.is_fixed else bounds,
        requests_per_second=None if rate is None else rate / runs_at_once,
        max_requests=None if most is None else max(1, most // runs),
    )


def _variables_in(document: ConfigDocument) -> frozenset[str]:
    return frozenset(
        str(section.values[key])
        for sections in (document.registries, document.namespaces)
        for section in sections.values()
        for key in VARIABLE_KEYS
        if key in section.values
    )


# What a value replaces in a source that counts less: `-v` a file's `quiet = true`.
_REPLACED = {"quiet": "verbose", "verbose": "quiet", "log_level": "verbose"}


def _merge(lower: OptionValues, upper: OptionValues) -> OptionValues:
    replaced = {other for name, other in _REPLACED.items() if upper.get(name)}
    kept = {name: value for name, value in lower.items() if name not in replaced}
    merged = {**kept, **upper}
    for name in _INPUT_NAMES & lower.keys() & upper.keys():
        first, last = upper[name], lower[name]
        assert isinstance(first, tuple)
        assert isinstance(last, tuple)
        merged[name] = first + last
    return merged


def _fields(values: OptionValues, *scopes: OptionScope) -> dict[str, Any]:
    """The values of options in these scopes, by the field's name."""
    return {
        option.field: values[option.name]
        for option in OPTIONS
        if option.name in values and option.scope in scopes
    }


def _registry_values(values: OptionValues) -> OptionValues:
    return {
        name: value
        for name, value in values.items()
        if OPTION_BY_NAME[name].scope is OptionScope.RUN_AND_REGISTRY
    }


def _registry_fields(values: OptionValues) -> dict[str, Any]:
    return _fields(values, OptionScope.RUN_AND_REGISTRY, OptionScope.REGISTRY)


def _registry(
    section: RegistrySection,
    run: OptionValues,
    overrides: OptionValues,
    logins: LoginReader,
) -> RegistrySettings:
    values = {
        **_registry_values(run),
        **{k: v for k, v in section.values.items() if k not in LOGIN_KEYS},
        **_registry_values(overrides),
    }
    fields = _registry_fields(values)
    if not section.ambiguous:
        login = logins.read(section.values, section.location)
        if isinstance(login, LoginProgram):
            fields["login_program"] = login
        elif login is not None:
            fields |= {"username": login.username, "password": login.password}
    check_section(section, logins.errors)
    check_client_key(values, section.location, logins.errors)
    return RegistrySettings(**fields)


def _namespace_login(
    section: RegistrySection, logins: LoginReader
) -> Login | LoginProgram | None:
    if section.ambiguous:
        return None
    if not section.values:
        logins.errors.add(section.location, "needs a login: username and password_env")
    return logins.read(section.values, section.location)


def _number_shard(
    values: OptionValues, environment: Mapping[str, str], errors: ValidationErrors
) -> None:
    """Replace shard `auto/N` by the number of the pod, which counts from 0."""
    shard = values.get("shard")
    if not isinstance(shard, Shard) or shard.number is not None:
        return
    index = environment.get(_JOB_INDEX, "")
    if not index.isascii() or not index.isdecimal():
        errors.add("--shard", f"auto/{shard.of}: {_JOB_INDEX} is not a number")
    elif int(index) >= shard.of:
        errors.add(
            "--shard",
            f"auto/{shard.of}: {_JOB_INDEX} is {int(index)}, counted from 0: there are"
            " more pods than shards",
        )
    else:
        values["shard"] = Shard(number=int(index) + 1, of=shard.of)
