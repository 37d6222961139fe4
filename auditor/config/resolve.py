"""Defaults < file < environment < flags, as one pure function.

What the environment and the flags say holds for every registry, also for one that
the file has a section for. What is to be audited, `references` and `lists`, adds up:
what flags say comes first, then the environment's, then the file's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field, replace
from pathlib import PurePath
from posixpath import normpath
from typing import Any

from auditor.config.options import BY_NAME, ENVIRONMENT_PREFIX, OPTIONS, Option, Where
from auditor.config.settings import (
    Engine,
    ImageConfigMode,
    RateLimitPolicy,
    RegistrySettings,
    Settings,
)
from auditor.config.validation_errors import Lines, Mistakes, Place, unknown
from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import namespace_name, registry_name
from auditor.util.secret import Secret
from auditor.util.shard import Shard
from auditor.util.text import safe_text
from auditor.wire.login import Credential, is_password_of, is_username

# -- limits --
# The limits of a registry, shared out among runs that ask it at the same time.


def part_of_limits(
    settings: RegistrySettings, *, runs_at_once: int, runs: int
) -> RegistrySettings:
    """What one of so many runs may ask of the registry: of what is counted, its part of
    all `runs`, of which `runs_at_once` ask at the same time. Never less than a request:
    so that a limit holds, no more runs ask than it has requests."""
    if runs == 1:
        return settings
    rate, most = settings.requests_per_second, settings.max_requests
    return replace(
        settings,
        requests_at_once=max(1, settings.requests_at_once // runs_at_once),
        requests_per_second=None if rate is None else rate / runs_at_once,
        max_requests=None if most is None else max(1, most // runs),
    )


# -- login --
# The login of one registry: where its configuration says that it is kept.

# Keys of a section that name an environment variable.
VARIABLE_KEYS = ("username_env", "password_env")
LOGIN_KEYS = ("username", *VARIABLE_KEYS, "password_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginReader:
    """Reads logins out of the environment and out of files.

    `read_file` gives the text of a file, or raises `OSError` or `UnicodeDecodeError`.
    """

    environment: Mapping[str, str]
    read_file: Callable[[str], str]
    mistakes: Mistakes

    def read(self, values: Mapping[str, object], place: Place) -> Credential | None:
        """Read the credential of a section.

        None where it names none, and where it is wrong, which is noted.
        """
        keys = {key: str(values[key]) for key in LOGIN_KEYS if key in values}
        if not keys:
            return None
        username = self._username(keys, place)
        password = self._password(keys, place, username)
        if username is None or password is None:
            return None
        return Credential(username=username, password=Secret(password))

    def _username(self, keys: Mapping[str, str], place: Place) -> str | None:
        here = place.at("username_env")
        match keys:
            case {"username": _, "username_env": _}:
                self.mistakes.add(here, "username is given, too; one is enough")
            case {"username": username}:
                return username
            case {"username_env": variable}:
                text = self._variable(variable, here)
                if text is None or is_username(text):
                    return text
                self.mistakes.add(
                    here, f"{variable} holds a colon or a control character"
                )
            case _:
                self.mistakes.add(place, "a password without username or username_env")
        return None

    def _password(
        self, keys: Mapping[str, str], place: Place, username: str | None
    ) -> str | None:
        here, text = place, None
        match keys:
            case {"password_env": _, "password_file": _}:
                here = place.at("password_file")
                self.mistakes.add(here, "password_env is given, too; one is enough")
            case {"password_env": variable}:
                here = place.at("password_env")
                text = self._variable(variable, here)
            case {"password_file": path}:
                here = place.at("password_file")
                text = self._file(path, here)
            case _:
                self.mistakes.add(
                    place, "a username without password_env or password_file"
                )
        if text is None or is_password_of(username or "", text):
            return text
        self.mistakes.add(here, "the password holds a control or line break character")
        return None

    def _variable(self, name: str, place: Place) -> str | None:
        text = self.environment.get(name)
        if text:
            return text
        state = "not set" if text is None else "empty"
        self.mistakes.add(place, f"the environment variable {name} is {state}")
        return None

    def _file(self, path: str, place: Place) -> str | None:
        try:
            # Editors end a file with a line break, which is no part of a password.
            text = self.read_file(path).removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            self.mistakes.add(place, f"{path} is not UTF-8 text")
            return None
        except OSError as error:
            reason = error.strerror or error
            self.mistakes.add(place, f"{path} cannot be read: {reason}")
            return None
        if not text:
            self.mistakes.add(place, f"{path} is empty")
            return None
        return text


# -- taker --
# Taking one value from one layer: read it, make its paths whole, or note why not.

# What one layer says, by option name.
Values = dict[str, object]


class Taker:
    """Takes the values of a layer. Its paths are relative to `base`, `~` is `home`.

    A value with a mistake is left out of the layer, so that the rest is checked, too.
    """

    def __init__(
        self, mistakes: Mistakes, *, base: str | None = None, home: str | None = None
    ) -> None:
        self.mistakes = mistakes
        self._base = base
        self._home = home

    def take(
        self,
        values: Values,
        option: Option,
        value: object,
        *,
        place: Place | str,
        as_text: bool = False,
    ) -> bool:
        """Put a value among `values`; false where it is a mistake."""
        try:
            read = option.value.read(value, as_text=as_text)
        except ValueError as error:
            self.mistakes.add(place, error)
            return False
        if option.value.is_path:
            read = (
                tuple(map(self.whole, read))
                if isinstance(read, tuple)
                else self.whole(str(read))
            )
        values[option.name] = read
        return True

    def whole(self, path: str) -> str:
        """The path as it is opened; "-" stays what it is, a standard stream."""
        if path == "-":
            return path
        if self._home and (path == "~" or path.startswith("~/")):
            return self._home + path[1:]
        return str(PurePath(self._base, path)) if self._base else path


# -- document --
# What a configuration file says: of the run at its top, of registries in sections.
#
# workers = 32
# [registry."dtr.example.com"]
# username = "admin"
# [registry."dtr.example.com/team"]   # a part of it: its login, and nothing else
# username = "robot"

_REGISTRY = "registry"
_SECTION = f'[{_REGISTRY}."HOST"]'
_PASSWORD = "password"

_AT_TOP = frozenset(
    option.name
    for option in OPTIONS
    if option.where in (Where.TOP, Where.TOP_AND_REGISTRY)
)
_IN_SECTION = frozenset(
    option.name
    for option in OPTIONS
    if option.where in (Where.REGISTRY, Where.TOP_AND_REGISTRY)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What a file says of one registry. `place` is where it stands.

    `unclear` is true where a mistake may have been meant to be a part of the login:
    what the login lacks is then not worth telling.
    """

    place: Place
    values: Values = field(default_factory=dict)
    unclear: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file says. `sections` are by the registry's canonical name, and
    `namespaces` by that of a part of a registry."""

    top: Values = field(default_factory=dict)
    sections: dict[str, Section] = field(default_factory=dict)
    namespaces: dict[str, Section] = field(default_factory=dict)


def read_document(
    toml: Mapping[str, object], *, place: Place, taker: Taker
) -> Document:
    """Read a parsed TOML document, whose place is a file; what is wrong is noted with
    the taker's mistakes."""
    document = Document()
    for key, value in toml.items():
        here = place.at(key)
        if key == _REGISTRY:
            _read_sections(value, document, here, taker)
        elif key in _AT_TOP:
            taker.take(document.top, BY_NAME[key], value, place=here)
        elif key in _IN_SECTION or key == _PASSWORD:
            taker.mistakes.add(here, f"stands in a {_SECTION} section only")
        elif key in BY_NAME:
            taker.mistakes.add(here, "is not said in a file")
        else:
            taker.mistakes.add(here, unknown("key", key, _AT_TOP | {_REGISTRY}))
    return document


def _read_sections(
    value: object, document: Document, place: Place, taker: Taker
) -> None:
    if not isinstance(value, Mapping):
        taker.mistakes.add(place, f"a section is wanted: {_SECTION}")
        return
    for host, section in value.items():
        here = place.at(host, quoted=True)
        part = "/" in host and "://" not in host
        sections = document.namespaces if part else document.sections
        try:
            name = namespace_name(host) if part else registry_name(host)
        except ProtocolError as error:
            taker.mistakes.add(here, f"{error.detail}; a section is {_SECTION}")
            continue
        if not isinstance(section, Mapping):
            taker.mistakes.add(here, f"a section is wanted: {_SECTION}")
        elif name in sections:
            taker.mistakes.add(here, f"the same registry as {sections[name].place}")
        else:
            sections[name] = _read_section(section, here, taker, part=part)


def _read_section(
    toml: Mapping[str, object], place: Place, taker: Taker, *, part: bool
) -> Section:
    values: Values = {}
    unclear = False
    for key, value in toml.items():
        here = place.at(key)
        if part and key in _IN_SECTION and key not in LOGIN_KEYS:
            unclear = True
            taker.mistakes.add(
                here,
                f"is said of a whole registry, in its {_SECTION}; a part of one has"
                " a login only",
            )
        elif key in _IN_SECTION:
            taken = taker.take(values, BY_NAME[key], value, place=here)
            unclear |= not taken and key in LOGIN_KEYS
        elif key in _AT_TOP:
            taker.mistakes.add(here, "stands at the top only, before every section")
        else:
            unclear = True
            taker.mistakes.add(
                here,
                "a password does not belong in this file; name what holds it:"
                " password_env = VARIABLE or password_file = FILE"
                if key == _PASSWORD
                else unknown("key", key, _IN_SECTION),
            )
    return Section(place=place, values=values, unclear=unclear)


# -- overrides --
# What the environment and the command line say, over what a file says.

# As much of a value as shows which one was meant.
_SHOWN_CHARS = 60

_BY_VARIABLE = {option.variable: option for option in OPTIONS if option.variable}
# What somebody who knows the flag only may expect the variable to be called.
_EXPECTED = {
    ENVIRONMENT_PREFIX + option.flag.strip("-").replace("-", "_").upper(): variable
    for variable, option in _BY_VARIABLE.items()
}


def read_environment(
    environment: Mapping[str, str], *, others: Collection[str], taker: Taker
) -> Values:
    """Read the `AUDITOR_...` variables; an empty one says nothing.

    `others` are variables that the configuration names for something else.
    """
    values: Values = {}
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in others:
            continue
        option, text = _BY_VARIABLE.get(name), environment[name]
        if option is None:
            # Its value may be a secret.
            taker.mistakes.add(safe_text(name), _unknown_variable(name))
        elif text:
            place = f"{name}={safe_text(text, _SHOWN_CHARS)}"
            taker.take(values, option, text, place=place, as_text=True)
    return values


def _unknown_variable(name: str) -> str:
    meant = _EXPECTED.get(name)
    if meant is not None:
        return f"unknown variable; did you mean {meant}?"
    return unknown("variable", name, _BY_VARIABLE.keys())


def read_flags(flags: Mapping[str, object], *, taker: Taker) -> Values:
    """Read flags by option name, typed or as text; null and () say nothing."""
    values: Values = {}
    for name, value in flags.items():
        if value is None or value == ():
            continue
        option = BY_NAME[name]
        as_text = isinstance(value, str)
        taker.take(values, option, value, place=option.flag, as_text=as_text)
    return values


# -- shared_out --
# What a command line says of a run that is shared out, held against what shares it.

_PROCESSES, _ENGINE = BY_NAME["processes"], BY_NAME["engine"]
_DASK = f"{_ENGINE.flag} {Engine.DASK}"


def check_shared_out(said: Values, run: Values, mistakes: Mistakes) -> None:
    """Note what flags ask for that the `run` which they are part of would not do.

    `said` are the flags alone: a file and an environment are those of many runs, and
    may hold the address of a cluster for the nights that use it.
    """
    on_cluster = run.get(_ENGINE.name) is Engine.DASK
    by_processes = _processes(run) > 1
    if "scheduler" in said and not on_cluster:
        mistakes.add(
            BY_NAME["scheduler"].flag,
            f"a cluster audits nothing without {_DASK}; give both or neither",
        )
    if "parts" in said and not on_cluster and not by_processes:
        mistakes.add(
            BY_NAME["parts"].flag,
            f"one process leaves no parts; share the run out with {_PROCESSES.flag} N"
            f" or {_DASK}, or leave it away",
        )
    if _processes(said) > 1 and on_cluster:
        mistakes.add(
            _PROCESSES.flag,
            f"with {_DASK} the workers of the cluster audit; give one of the two",
        )


def _processes(values: Values) -> int:
    found = values.get(_PROCESSES.name, 1)
    return found if isinstance(found, int) else 1


# -- written --
# Which file a run writes in whose place.

# What a run writes, and what stands beside it while it is written.
_WRITTEN = {
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


def check_written(run: Values, mistakes: Mistakes) -> None:
    """Nothing is written over a list that is read, or over what else is written."""
    lists = run.get("lists") or ()
    assert isinstance(lists, tuple)
    read = {normpath(path): path for path in lists}
    written: dict[str, str] = {}
    for name, endings in _WRITTEN.items():
        flag, path = BY_NAME[name].flag, str(run.get(name) or "-")
        if path == "-":
            if name != "output" and run.get(name):
                mistakes.add(flag, "a file is wanted; standard output is the report's")
            continue
        for file in (normpath(path + ending) for ending in endings):
            if file in read:
                shown = safe_text(read[file], 200)
                mistakes.add(
                    flag, f"it would take the place of the list {shown}; name another"
                )
                break
            if file in written:
                mistakes.add(flag, f"the same file as {written[file]}")
                break
            written[file] = flag


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
    if RateLimitPolicy.SPREAD in told and run.get("reference_timeout_s"):
        timeout = BY_NAME["reference_timeout_s"]
        mistakes.add(
            timeout.flag,
            "a reference may wait for hours where an allowance is spread"
            f" ({BY_NAME['allowance'].flag} spread); say one of the two",
        )
