"""Settings from defaults < file < environment < flags.

The environment and the flags apply to every registry, also to one that has a section
in the file. The input, `reference` and `list`, adds up: first the values of the flags,
then those of the environment, then those of the file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import PurePath
from posixpath import normpath
from typing import Any

from auditor.config.file_names import expand
from auditor.config.option_table import OPTION_BY_NAME, OPTIONS, OptionScope
from auditor.config.settings import (
    AttachmentMode,
    CloudLogin,
    ClusterSettings,
    EngineName,
    ImageConfigMode,
    ListerName,
    LoginProgram,
    NightlySettings,
    RateLimitPolicy,
    RegistrySettings,
    Settings,
)
from auditor.config.sources import (
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
from auditor.config.toml_file import read_password, read_toml
from auditor.config.validation_errors import (
    KeyLocation,
    Lines,
    LoginLocation,
    ValidationErrors,
)
from auditor.errors import ConfigError
from auditor.util.shard import Shard
from auditor.util.text import safe_text
from auditor.wire.cloud_hosts import Cloud, cloud_host
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

    For those who have to be told about the errors. `folder` is "" if it is missing.
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
    names = {name: one for name, one in values.items() if name in _WRITTEN_SUFFIXES}
    _check_files(values | _expanded(names, _PLACEHOLDERS), errors)
    _number_shard(values, environment, errors)
    if values.get("quiet") and values.get("verbose"):
        errors.add("--quiet", "excludes --verbose; remove one of the two")
    if values.get("since") and values.get("image_config") is ImageConfigMode.NEVER:
        # Most listings have no times.
        errors.add("--since", "needs image configs; remove --image-config never")
    _check_untagged(values, errors)
    _look_for_sboms(values, errors)
    logins = LoginReader(environment=environment, read_file=read_file, errors=errors)
    registries = {
        name: _registry(section, values, overrides, logins)
        for name, section in document.registries.items()
    }
    for name, registry in registries.items():
        if registry.mirror == name:
            location = document.registries[name].location.at("mirror")
            errors.add(location, "must not be the registry itself")
    _check_waiting(values, registries.values(), errors)
    _check_client_key(_registry_values(values), "--key-file", errors)
    namespaces = {
        name: login
        for name, section in document.namespaces.items()
        if (login := _namespace_login(section, logins)) is not None
    }
    errors.raise_if_any()
    # Only valid values decide whether flags have an effect.
    _check_scale_flags(flag_values, values, errors)
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
    _check_cloud_login(section, logins.errors)
    _check_lister(section, logins.errors)
    _check_client_key(values, section.location, logins.errors)
    return RegistrySettings(**fields)


def _check_cloud_login(section: RegistrySection, errors: ValidationErrors) -> None:
    """Check that the keys for a cloud are in the section of one of its registries."""
    host = cloud_host(section.name)
    if host is None and section.values.get("cloud_login") is CloudLogin.ALWAYS:
        errors.add(
            section.location.at("cloud_login"),
            "always needs a registry of AWS, Google or Azure, by its own host name",
        )
    if host is None or host.cloud is not Cloud.AWS:
        for key in sorted({"aws_profile", "role_arn"} & section.values.keys()):
            errors.add(section.location.at(key), "is for registries of Amazon ECR only")


def _check_lister(section: RegistrySection, errors: ValidationErrors) -> None:
    """Check that a lister has what it needs to know."""
    lister, location = section.values.get("lister"), section.location.at("lister")
    if lister is ListerName.ECR:
        host = cloud_host(section.name)
        if host is None or host.account is None:
            errors.add(location, "ecr is for private registries of Amazon ECR only")
        elif section.values.get("cloud_login") is CloudLogin.OFF:
            errors.add(location, "ecr needs this machine's AWS identity: remove off")
    if lister is ListerName.NEXUS and "/repository/" not in str(
        section.values.get("api_url")
    ):
        errors.add(
            location,
            'nexus needs api_url = "https://HOST/repository/NAME", as Nexus'
            " shows it for the repository",
        )


def _namespace_login(
    section: RegistrySection, logins: LoginReader
) -> Login | LoginProgram | None:
    if section.ambiguous:
        return None
    if not section.values:
        logins.errors.add(section.location, "needs a login: username and password_env")
    return logins.read(section.values, section.location)


def _look_for_sboms(values: OptionValues, errors: ValidationErrors) -> None:
    """Let `sbom` look for all attachments: the index names those of BuildKit only."""
    if values.get("sbom"):
        mode = values.setdefault("attachments", AttachmentMode.ALL)
        if mode is AttachmentMode.NONE:
            errors.add("--sbom", "looks for attachments; remove --attachments none")


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


# -- conflicts between options that are valid by themselves ----------------------

# Suffixes of the files that a run writes for each option, until it ends and after.
_WRITTEN_SUFFIXES = {
    "output": (
        "",
        ".partial",
        ".partial.old",
        ".partial.copy",
        ".journal",
        ".journal.old",
    ),
    "summary": ("", ".partial"),
    "metrics": ("", ".partial"),
    "sbom": ("", ".partial"),
}


# Names are also compared before they get the date and time of a run.
_PLACEHOLDERS = {name: f"{{{name}}}" for name in ("date", "time", "host")}


def with_file_names(settings: Settings, values: Mapping[str, str]) -> Settings:
    """The settings of a run: paths with the values of their placeholders, by name.

    Until then its files have names with placeholders (file_names.py). Raises
    `ConfigError` if two of its files have the same path now.
    """
    errors = ValidationErrors()
    names = {name: getattr(settings, name) for name in _WRITTEN_SUFFIXES}
    paths = _expanded(names, values)
    _check_files({**paths, "list": settings.lists}, errors)
    errors.raise_if_any()
    return replace(settings, **paths)


def _expanded(names: Mapping[str, object], values: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: expand(text, values) if isinstance(text, str) else text
        for name, text in names.items()
    }


# Options that leave out tags or children, and with them what uses a manifest.
_INCOMPLETE = ("include", "exclude", "omit_digest_tags", "latest", "since", "platform")


def _check_untagged(values: OptionValues, errors: ValidationErrors) -> None:
    """Check that a run for manifests without a tag audits everything that has one."""
    for name in _INCOMPLETE if values.get("untagged") else ():
        if values.get(name):
            errors.add(
                "--untagged",
                f"excludes {OPTION_BY_NAME[name].flag}: a manifest without a tag is"
                " unused only if no tag at all needs it; remove one of the two",
            )


def _check_files(values: OptionValues, errors: ValidationErrors) -> None:
    """Check that no output file is an input list or another output file."""
    lists = values.get("list") or ()
    assert isinstance(lists, tuple)
    read = {normpath(path): path for path in lists}
    written: dict[str, str] = {}
    for name, suffixes in _WRITTEN_SUFFIXES.items():
        flag, path = OPTION_BY_NAME[name].flag, str(values.get(name) or "-")
        if path == "-":
            if name != "output" and values.get(name):
                errors.add(flag, "must be a file; standard output is for the report")
            continue
        for file in (normpath(path + suffix) for suffix in suffixes):
            if file in read:
                shown = safe_text(read[file], 200)
                errors.add(
                    flag, f"would overwrite the input list {shown}; choose another file"
                )
                break
            if file in written:
                errors.add(flag, f"the same file as {written[file]}")
                break
            written[file] = flag


def _check_waiting(
    values: OptionValues,
    registries: Iterable[RegistrySettings],
    errors: ValidationErrors,
) -> None:
    """Check that `spread` and a time limit for references are not combined."""
    policies = [
        values.get("rate_limit_policy"),
        *(registry.rate_limit_policy for registry in registries),
    ]
    if RateLimitPolicy.SPREAD in policies and values.get("reference_timeout"):
        errors.add(
            "--reference-timeout",
            "a reference may wait for hours with --rate-limit-policy spread; remove"
            " one of the two",
        )


def _check_client_key(
    values: Mapping[str, object], location: KeyLocation | str, errors: ValidationErrors
) -> None:
    """Check that a client key comes with its certificate."""
    if "key_file" in values and "cert_file" not in values:
        errors.add(location, "key_file needs cert_file, the certificate of this key")


def _check_scale_flags(
    flags: OptionValues, values: OptionValues, errors: ValidationErrors
) -> None:
    """Check that flags about shards have an effect with the `values` of the run.

    A file and an environment are for many runs, and may contain the address of a
    cluster for those that use it: only `flags` are checked.
    """
    on_cluster = values.get("engine") is EngineName.DASK
    if "scheduler" in flags and not on_cluster:
        errors.add("--scheduler", "has no effect without --engine dask; add it")
    if "shard_dir" in flags and not on_cluster and _processes(values) == 1:
        errors.add(
            "--shard-dir",
            "has no effect without shards; add --processes N or --engine dask",
        )
    if _processes(flags) > 1 and on_cluster:
        errors.add(
            "--processes",
            "has no effect with --engine dask, whose workers audit; remove one of the"
            " two",
        )


def _processes(values: OptionValues) -> int:
    processes = values.get("processes", 1)
    return processes if isinstance(processes, int) else 1
