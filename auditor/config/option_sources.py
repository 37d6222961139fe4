"""The sources of option values: a configuration file, the environment, the flags.

Each is read into values by option name. Errors are collected: an invalid value is
skipped, and the rest is still validated.

    workers = 32                          # for the run
    [registry."dtr.example.com"]
    username = "admin"                    # for one registry
    [registry."dtr.example.com/team"]     # for a part of one: its login, nothing else
    username = "robot"
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import field
from pathlib import PurePath

from auditor.config.file_names import escaped
from auditor.config.option import ENVIRONMENT_PREFIX, Option, OptionScope
from auditor.config.option_table import OPTION_BY_NAME, OPTIONS
from auditor.config.settings import ClusterSettings, LoginProgram, NightlySettings
from auditor.config.toml_tables import (
    ONLY_AT_TOP,
    read_cluster_table,
    read_nightly,
)
from auditor.config.validation_errors import KeyLocation, ValidationErrors, unknown
from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import parse_namespace, parse_registry
from auditor.util.secret import Secret
from auditor.util.text import safe_text
from auditor.wire.credential import Login, is_password_of, is_username

# The values of one source, by option name.
OptionValues = dict[str, object]


@dataclass(frozen=True, slots=True)
class OptionReader:
    """Reads the values of one source. Paths are relative to `base`; `~` is `home`."""

    errors: ValidationErrors
    base: str | None = None
    home: str | None = None

    def read(
        self,
        values: OptionValues,
        option: Option,
        value: object,
        *,
        location: KeyLocation | str,
        as_text: bool = False,
    ) -> bool:
        """Put a value into `values`, or add an error and return false."""
        try:
            converted = option.value.read(value, as_text=as_text)
        except ValueError as error:
            self.errors.add(location, error)
            return False
        if option.value.has_placeholders:
            reader = OptionReader(self.errors, *map(_escaped, (self.base, self.home)))
            converted = reader.absolute(str(converted))
        elif option.value.is_path:
            converted = (
                tuple(map(self.absolute, converted))
                if isinstance(converted, tuple)
                else self.absolute(str(converted))
            )
        values[option.name] = converted
        return True

    def absolute(self, path: str) -> str:
        """The path to open; "-", a standard stream, is returned unchanged."""
        if path == "-":
            return path
        if self.home and (path == "~" or path.startswith("~/")):
            return self.home + path[1:]
        return str(PurePath(self.base, path)) if self.base else path


def _escaped(folder: str | None) -> str | None:
    return folder and escaped(folder)


# -- configuration file ----------------------------------------------------------

_REGISTRY = "registry"
_NIGHTLY = "nightly"
_CLUSTER = "cluster"
_SECTION = f'[{_REGISTRY}."HOST"]'
_PASSWORD = "password"
# Keys of a section that name an environment variable.
VARIABLE_KEYS = ("username_env", "password_env")
PASSWORD_KEYS = ("password_env", "password_file", "password_command", "helper")
LOGIN_KEYS = ("username", "username_env", *PASSWORD_KEYS)

_TOP_KEYS = frozenset(
    option.name
    for option in OPTIONS
    if option.scope in (OptionScope.RUN, OptionScope.RUN_AND_REGISTRY)
)
_SECTION_KEYS = frozenset(
    option.name
    for option in OPTIONS
    if option.scope in (OptionScope.REGISTRY, OptionScope.RUN_AND_REGISTRY)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySection:
    """The section of one registry, or of a namespace of one, by its canonical name.

    `ambiguous`: an invalid key may have been meant as a part of the login: then a
    missing part of the login is not reported.
    """

    name: str
    location: KeyLocation
    values: OptionValues = field(default_factory=dict)
    ambiguous: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigDocument:
    """The values of a file.

    `registries` is keyed by the registry's canonical name, `namespaces` by
    `registry/namespace`.
    """

    top: OptionValues = field(default_factory=dict)
    registries: dict[str, RegistrySection] = field(default_factory=dict)
    namespaces: dict[str, RegistrySection] = field(default_factory=dict)
    nightly: NightlySettings | None = None
    cluster: ClusterSettings | None = None


def read_document(
    toml: Mapping[str, object], *, location: KeyLocation, reader: OptionReader
) -> ConfigDocument:
    """Read a parsed TOML document; `location` is its file."""
    nightly = cluster = None
    if _NIGHTLY in toml:
        nightly = read_nightly(
            toml[_NIGHTLY],
            location.at(_NIGHTLY),
            errors=reader.errors,
            absolute=reader.absolute,
            top_keys=_TOP_KEYS,
        )
    if _CLUSTER in toml:
        cluster = read_cluster_table(
            toml[_CLUSTER],
            location.at(_CLUSTER),
            errors=reader.errors,
            absolute=reader.absolute,
            top_keys=_TOP_KEYS,
        )
    document = ConfigDocument(nightly=nightly, cluster=cluster)
    for key, value in toml.items():
        here = location.at(key)
        if key == _REGISTRY:
            _read_sections(value, document, here, reader)
        elif key in {_NIGHTLY, _CLUSTER}:
            continue
        elif key in _TOP_KEYS:
            reader.read(document.top, OPTION_BY_NAME[key], value, location=here)
        elif key in _SECTION_KEYS or key == _PASSWORD:
            reader.errors.add(here, f"only valid in a section {_SECTION}")
        elif key in OPTION_BY_NAME:
            reader.errors.add(here, "not valid in a file; use the flag or variable")
        else:
            tables = {_REGISTRY, _NIGHTLY, _CLUSTER}
            known = tables if isinstance(value, Mapping) else _TOP_KEYS | tables
            reader.errors.add(here, unknown("key", key, known))
    return document


def _read_sections(
    value: object, document: ConfigDocument, location: KeyLocation, reader: OptionReader
) -> None:
    if not isinstance(value, Mapping):
        reader.errors.add(location, f"must be a section: {_SECTION}")
        return
    for host, table in value.items():
        here = location.at(host, quoted=True)
        is_namespace = "/" in host and "://" not in host
        sections = document.namespaces if is_namespace else document.registries
        try:
            name = parse_namespace(host) if is_namespace else parse_registry(host)
        except ProtocolError as error:
            reader.errors.add(here, f"{error.detail}; a section is {_SECTION}")
            continue
        if not isinstance(table, Mapping):
            reader.errors.add(here, f"must be a section: {_SECTION}")
        elif name in sections:
            reader.errors.add(here, f"the same registry as {sections[name].location}")
        else:
            sections[name] = _read_section(
                table, name, here, reader, is_namespace=is_namespace
            )


def _read_section(
    toml: Mapping[str, object],
    name: str,
    location: KeyLocation,
    reader: OptionReader,
    *,
    is_namespace: bool,
) -> RegistrySection:
    values: OptionValues = {}
    ambiguous = False
    for key, value in toml.items():
        here = location.at(key)
        if is_namespace and key in _SECTION_KEYS and key not in LOGIN_KEYS:
            ambiguous = True
            reader.errors.add(
                here,
                f"applies to a whole registry: move it to {_SECTION}; the section of a"
                " namespace only has a login",
            )
        elif key in _SECTION_KEYS:
            valid = reader.read(values, OPTION_BY_NAME[key], value, location=here)
            ambiguous |= not valid and key in LOGIN_KEYS
        elif key in _TOP_KEYS:
            reader.errors.add(here, ONLY_AT_TOP)
        else:
            ambiguous = True
            reader.errors.add(
                here,
                "a password does not belong in this file; name its source:"
                " password_env = VARIABLE or password_file = FILE"
                if key == _PASSWORD
                else unknown("key", key, _SECTION_KEYS),
            )
    return RegistrySection(
        name=name, location=location, values=values, ambiguous=ambiguous
    )


# -- logins --------------------------------------------------------------------
# A configuration file never holds a password: `password_env` names an environment
# variable and `password_file` a file that does.


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginReader:
    """Reads logins from the environment and from files.

    `read_file` returns the text of a file, or raises `OSError` or `UnicodeDecodeError`.
    """

    environment: Mapping[str, str]
    read_file: Callable[[str], str]
    errors: ValidationErrors

    def read(
        self, values: Mapping[str, object], location: KeyLocation
    ) -> Login | LoginProgram | None:
        """The login of a section, or None; what is wrong with one becomes an error."""
        keys = {key: str(values[key]) for key in LOGIN_KEYS if key in values}
        if not keys:
            return None
        sources = [key for key in PASSWORD_KEYS if key in keys]
        if len(sources) > 1:
            here = location.at(sources[1])
            self.errors.add(here, f"{sources[0]} is set, too; remove one of them")
            return None
        if "helper" in keys:
            return self._helper(keys, location)
        username = self._username(keys, location)
        if "password_command" in keys:
            command = values["password_command"]
            assert isinstance(command, tuple)
            if not command:
                self.errors.add(location.at("password_command"), "names no program")
            elif username is not None:
                return LoginProgram(command=command, username=username)
            return None
        password = self._password(keys, location, username)
        if username is None or password is None:
            return None
        return Login(username=username, password=Secret(password))

    def _helper(
        self, keys: Mapping[str, str], location: KeyLocation
    ) -> LoginProgram | None:
        for key in ("username", "username_env"):
            if key in keys:
                here = location.at(key)
                self.errors.add(here, "a helper prints the user, too; remove this")
                return None
        return LoginProgram(helper=keys["helper"])

    def _username(self, keys: Mapping[str, str], location: KeyLocation) -> str | None:
        here = location.at("username_env")
        match keys:
            case {"username": _, "username_env": _}:
                self.errors.add(here, "username is set, too; remove one of them")
            case {"username": username}:
                return username
            case {"username_env": variable}:
                text = self._variable(variable, here)
                if text is None or is_username(text):
                    return text
                self.errors.add(
                    here, f"{variable} contains a colon or a control character"
                )
            case _:
                self.errors.add(
                    location, "a password without a user; add username or username_env"
                )
        return None

    def _password(
        self, keys: Mapping[str, str], location: KeyLocation, username: str | None
    ) -> str | None:
        here, text = location, None
        match keys:
            case {"password_env": variable}:
                here = location.at("password_env")
                text = self._variable(variable, here)
            case {"password_file": path}:
                here = location.at("password_file")
                text = self._file(path, here)
            case _:
                self.errors.add(
                    location,
                    "a user without a password; add password_env, password_file or"
                    " password_command",
                )
        if text is None or is_password_of(username or "", text):
            return text
        self.errors.add(
            here, "the password contains a control character or a line break"
        )
        return None

    def _variable(self, name: str, location: KeyLocation) -> str | None:
        text = self.environment.get(name)
        if text:
            return text
        state = "not set" if text is None else "empty"
        self.errors.add(location, f"the environment variable {name} is {state}")
        return None

    def _file(self, path: str, location: KeyLocation) -> str | None:
        try:
            # Editors end a file with a line break, which is not part of the password.
            text = self.read_file(path).removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            self.errors.add(location, f"{path} is not UTF-8 text")
            return None
        except OSError as error:
            reason = error.strerror or error
            self.errors.add(location, f"{path} cannot be read: {reason}")
            return None
        if not text:
            self.errors.add(location, f"{path} is empty")
            return None
        return text


# -- environment and flags -------------------------------------------------------

# Characters of a value in an error: enough to recognise it.
_SHOWN_CHARS = 60

_BY_VARIABLE = {option.variable: option for option in OPTIONS if option.variable}


def read_environment(
    environment: Mapping[str, str], *, others: Collection[str], reader: OptionReader
) -> OptionValues:
    """Read the `AUDITOR_...` variables that are not empty and not among `others`."""
    values: OptionValues = {}
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in others:
            continue
        option, text = _BY_VARIABLE.get(name), environment[name]
        if option is None:
            # Without its value, which may be a secret.
            sentence = unknown("variable", name, _BY_VARIABLE.keys())
            reader.errors.add(safe_text(name), sentence)
        elif text:
            location = f"{name}={safe_text(text, _SHOWN_CHARS)}"
            reader.read(values, option, text, location=location, as_text=True)
    return values


def read_flags(flags: Mapping[str, object], *, reader: OptionReader) -> OptionValues:
    """Read flags by option name, typed or as text; None and () mean not given."""
    values: OptionValues = {}
    for name, value in flags.items():
        if value is None or value == ():
            continue
        option = OPTION_BY_NAME[name]
        as_text = isinstance(value, str)
        reader.read(values, option, value, location=option.flag, as_text=as_text)
    return values
