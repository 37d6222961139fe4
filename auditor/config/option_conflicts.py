"""Conflicts between options that are valid by themselves.

`check_options` and `check_spread` are about the options of a run, `check_section`
about the section of a registry, `check_scale_flags` about flags without an effect. Each
adds its sentences to the errors of the configuration. `with_file_names` checks the
names of files again, once their placeholders have values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from posixpath import normpath
from typing import Any

from auditor.config.file_names import expand
from auditor.config.option_sources import OptionValues, RegistrySection
from auditor.config.option_table import OPTION_BY_NAME
from auditor.config.settings import (
    AttachmentMode,
    CloudLogin,
    EngineName,
    ImageConfigMode,
    ListerName,
    RateLimitPolicy,
    RegistrySettings,
    Settings,
)
from auditor.config.validation_errors import KeyLocation, ValidationErrors
from auditor.util.text import safe_text
from auditor.wire.cloud_hosts import Cloud, cloud_host

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


def check_options(values: OptionValues, errors: ValidationErrors) -> None:
    """Check the options of a run, except those of its registries."""
    names = {name: one for name, one in values.items() if name in _WRITTEN_SUFFIXES}
    _check_files(values | _expanded(names, _PLACEHOLDERS), errors)
    if values.get("quiet") and values.get("verbose"):
        errors.add("--quiet", "excludes --verbose; remove one of the two")
    if values.get("since") and values.get("image_config") is ImageConfigMode.NEVER:
        # Most listings have no times.
        errors.add("--since", "needs image configs; remove --image-config never")
    _check_untagged(values, errors)
    if values.get("sbom") and values.get("attachments") is AttachmentMode.NONE:
        errors.add("--sbom", "looks for attachments; remove --attachments none")


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


def check_spread(
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


def check_client_key(
    values: Mapping[str, object], location: KeyLocation | str, errors: ValidationErrors
) -> None:
    """Check that a client key comes with its certificate."""
    if "key_file" in values and "cert_file" not in values:
        errors.add(location, "key_file needs cert_file, the certificate of this key")


def check_scale_flags(
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


def check_section(section: RegistrySection, errors: ValidationErrors) -> None:
    """Check the section of a registry."""
    if section.values.get("mirror") == section.name:
        errors.add(section.location.at("mirror"), "must not be the registry itself")
    _check_cloud_login(section, errors)
    _check_lister(section, errors)


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
