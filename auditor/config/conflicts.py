"""Conflicts between options that are valid by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from posixpath import normpath

from auditor.config.option_table import OPTION_BY_NAME
from auditor.config.settings import (
    EngineName,
    ImageConfigMode,
    RateLimitPolicy,
    RegistrySettings,
)
from auditor.config.sources import OptionValues
from auditor.config.validation_errors import KeyLocation, ValidationErrors
from auditor.util.text import safe_text

# Suffixes of the files that a run writes for each option, until it ends and after.
_WRITTEN_SUFFIXES = {
    "output": (
        "",
        ".partial",
        ".partial.old",
        ".partial.sorted",
        ".journal",
        ".journal.old",
    ),
    "summary": ("", ".partial"),
    "metrics": ("", ".partial"),
}


def check_files(values: OptionValues, errors: ValidationErrors) -> None:
    """No file may be written over an input list, or over another written file."""
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
                    flag,
                    f"would overwrite the input list {shown}; choose another file",
                )
                break
            if file in written:
                errors.add(flag, f"the same file as {written[file]}")
                break
            written[file] = flag


def check_since(values: OptionValues, errors: ValidationErrors) -> None:
    """`--since` needs image configs: most listings have no times."""
    if values.get("since") and values.get("image_config") is ImageConfigMode.NEVER:
        errors.add("--since", "needs image configs; remove --image-config never")


def check_waiting(
    values: OptionValues,
    registries: Iterable[RegistrySettings],
    errors: ValidationErrors,
) -> None:
    """A reference may wait for hours while requests are spread over a rate limit."""
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
    values: Mapping[str, object],
    location: KeyLocation | str,
    errors: ValidationErrors,
) -> None:
    """The key of a client certificate needs the certificate."""
    if "key_file" in values and "cert_file" not in values:
        errors.add(location, "key_file needs cert_file, the certificate of this key")


def check_scale_flags(
    flags: OptionValues, values: OptionValues, errors: ValidationErrors
) -> None:
    """Flags about shards must have an effect with the `values` of the run.

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
