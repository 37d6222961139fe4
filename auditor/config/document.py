"""What a configuration file says: of the run at its top, of registries in sections.

workers = 32
[registry."dtr.example.com"]
username = "admin"
[registry."dtr.example.com/team"]   # a part of it: its login, and nothing else
username = "robot"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from auditor.config.login import LOGIN_KEYS
from auditor.config.option import Where
from auditor.config.options import BY_NAME, OPTIONS
from auditor.config.taker import Taker, Values
from auditor.config.validation_errors import Place, unknown
from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import namespace_name, registry_name

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
