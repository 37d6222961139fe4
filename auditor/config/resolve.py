"""Defaults < file < environment < flags, as one pure function.

What the environment and the flags say holds for every registry, also for one that
the file has a section for. What is to be audited, `references` and `lists`, adds up:
what flags say comes first, then the environment's, then the file's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from auditor.config.document import Document, Section, read_document
from auditor.config.limits import part_of_limits
from auditor.config.login import LOGIN_KEYS, VARIABLE_KEYS, LoginReader
from auditor.config.option import Where
from auditor.config.options import BY_NAME, OPTIONS
from auditor.config.overrides import read_environment, read_flags
from auditor.config.settings import (
    AllowanceUse,
    ImageConfigMode,
    RegistrySettings,
    Settings,
)
from auditor.config.shared_out import check_shared_out
from auditor.config.taker import Taker, Values
from auditor.config.validation_errors import Lines, Mistakes, Place
from auditor.config.written import check_written
from auditor.util.shard import Shard
from auditor.wire.login import Credential

_OF_REGISTRIES = frozenset(
    option.name for option in OPTIONS if option.where is Where.TOP_AND_REGISTRY
)
_INPUTS = frozenset({"references", "lists"})
_JOB_INDEX = "JOB_COMPLETION_INDEX"


def resolve(
    *,
    file: Mapping[str, object] | None,
    file_name: str | None,
    environment: Mapping[str, str],
    flags: Mapping[str, object],
    read_file: Callable[[str], str],
    lines: Lines = dict,
) -> Settings:
    """Resolve the settings of a run, or raise `ConfigError` with every mistake.

    `file` is a parsed TOML document. `flags` are values by option name, typed or as
    text; a null one was not given. `read_file` gives the text of a password file,
    or raises `OSError` or `UnicodeDecodeError`. `lines` gives the lines of the
    document's keys, for mistakes.
    """
    mistakes = Mistakes()
    home = environment.get("HOME")
    folder = str(PurePath(file_name).parent) if file_name else None
    document = read_document(
        file or {},
        place=Place(file_name=file_name, lines=lines),
        taker=Taker(mistakes, base=folder, home=home),
    )
    taker = Taker(mistakes, home=home)
    of_environment = read_environment(
        environment, others=_variables_in(document), taker=taker
    )
    said = read_flags(flags, taker=taker)
    overrides = _merge(of_environment, said)
    run = _merge(document.top, overrides)
    check_written(run, mistakes)
    _number_shard(run, environment, mistakes)
    _check_since(run, mistakes)
    logins = LoginReader(
        environment=environment, read_file=read_file, mistakes=mistakes
    )
    registries = {
        name: _registry(section, run, overrides, logins)
        for name, section in document.sections.items()
    }
    for name, told in registries.items():
        if told.mirror == name:
            mistakes.add(document.sections[name].place.at("mirror"), "it is itself")
    _check_waiting(run, registries.values(), mistakes)
    _check_key(_of_registries(run), "key_file", mistakes)
    namespaces = {
        name: login
        for name, section in document.namespaces.items()
        if (login := _login_of_part(section, logins)) is not None
    }
    mistakes.stop_if_any()
    # Only now is it known that what decides was understood.
    check_shared_out(said, run, mistakes)
    mistakes.stop_if_any()
    known: dict[str, Any] = {
        name: value for name, value in run.items() if BY_NAME[name].where is Where.TOP
    }
    settings = Settings(
        **known,
        namespaces=namespaces,
        registries=registries,
        default_registry=RegistrySettings(**_of_registries(run)),
    )
    at_once = runs = settings.runs_at_once
    if settings.shard is not None and "runs_at_once" in run:
        # They may come one after the other; together they are one audit.
        runs = max(runs, settings.shard.of)

    def part(whole: RegistrySettings) -> RegistrySettings:
        return part_of_limits(whole, runs_at_once=at_once, runs=runs)

    return replace(
        settings,
        registries={name: part(whole) for name, whole in registries.items()},
        default_registry=part(settings.default_registry),
    )


def _variables_in(document: Document) -> frozenset[str]:
    return frozenset(
        str(section.values[key])
        for sections in (document.sections, document.namespaces)
        for section in sections.values()
        for key in VARIABLE_KEYS
        if key in section.values
    )


def _merge(lower: Values, upper: Values) -> Values:
    merged = {**lower, **upper}
    for name in _INPUTS & lower.keys() & upper.keys():
        # All that is asked for is audited: the nearest first, as on a command line.
        nearest, further = upper[name], lower[name]
        assert isinstance(nearest, tuple)
        assert isinstance(further, tuple)
        merged[name] = nearest + further
    return merged


def _registry(
    section: Section, run: Values, overrides: Values, logins: LoginReader
) -> RegistrySettings:
    known = {
        **_of_registries(run),
        **{k: v for k, v in section.values.items() if k not in LOGIN_KEYS},
        **_of_registries(overrides),
    }
    if not section.unclear:
        login = logins.read(section.values, section.place)
        if login is not None:
            known |= {"username": login.username, "password": login.password}
    _check_key(known, section.place, logins.mistakes)
    return RegistrySettings(**known)


def _check_key(
    known: Mapping[str, object], place: Place | str, mistakes: Mistakes
) -> None:
    if "key_file" in known and "cert_file" not in known:
        mistakes.add(
            place,
            "a key_file without the cert_file that it belongs to"
            " (key_file, --key-file)",
        )


def _login_of_part(section: Section, logins: LoginReader) -> Credential | None:
    if section.unclear:
        return None
    if not section.values:
        logins.mistakes.add(section.place, "a login is wanted: username and password")
    return logins.read(section.values, section.place)


def _of_registries(values: Values) -> dict[str, Any]:
    return {name: values[name] for name in _OF_REGISTRIES & values.keys()}


def _number_shard(
    run: Values, environment: Mapping[str, str], mistakes: Mistakes
) -> None:
    """Say which share `auto` is: that of the pod of an indexed Kubernetes Job, which
    counts from 0 (kubernetes.io, "Completion mode")."""
    shard, option = run.get("shard"), BY_NAME["shard"]
    if not isinstance(shard, Shard) or shard.number is not None:
        return
    index = environment.get(_JOB_INDEX, "")
    if not index.isascii() or not index.isdecimal():
        mistakes.add(option.flag, f"auto/{shard.of}: {_JOB_INDEX} holds no number")
    elif int(index) >= shard.of:
        mistakes.add(
            option.flag,
            f"auto/{shard.of}: {_JOB_INDEX} is {int(index)}, and counts from 0: there"
            " are more pods than shares",
        )
    else:
        run["shard"] = Shard(number=int(index) + 1, of=shard.of)


def _check_since(run: Values, mistakes: Mistakes) -> None:
    # Most lists tell no times, and then the image's own decides.
    if run.get("since") and run.get("image_config") is ImageConfigMode.NEVER:
        since, config = BY_NAME["since"], BY_NAME["image_config"]
        mistakes.add(since.flag, f"it needs image configs, and {config.flag} is never")


def _check_waiting(
    run: Values, registries: Iterable[RegistrySettings], mistakes: Mistakes
) -> None:
    # A reference waits for hours where an allowance is spread over its window.
    told = [run.get("allowance"), *(registry.allowance for registry in registries)]
    if AllowanceUse.SPREAD in told and run.get("reference_timeout_s"):
        timeout = BY_NAME["reference_timeout_s"]
        mistakes.add(
            timeout.flag,
            "a reference may wait for hours where an allowance is spread"
            f" ({BY_NAME['allowance'].flag} spread); say one of the two",
        )
