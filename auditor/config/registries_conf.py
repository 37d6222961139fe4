"""Reads registries.conf and its drop-ins: mirrors, locations, insecure and blocked.

containers-registries.conf(5), format 2, as containers/image reads it
(pkg/sysregistriesv2): a `[[registry]]` applies to the names that its `prefix` matches,
the longest one wins, and its mirrors are asked before its `location`. Short names are
not resolved: a name without a host is an image of Docker Hub, as for docker and skopeo.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from auditor.config.toml_file import read_toml
from auditor.errors import (
    ConfigError,
    Failure,
    FailureKind,
    ProtocolError,
    UsageError,
)
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import Reference, is_repository, parse_registry
from auditor.util.text import safe_text

log = logging.getLogger("auditor.registry")

# Podman's variable for a file to read instead of the user's and the system's.
VARIABLE = "CONTAINERS_REGISTRIES_CONF"
SYSTEM_FILE = Path("/etc/containers/registries.conf")
_USER_FILE = Path(".config/containers/registries.conf")
_DROP_INS = "registries.conf.d"
# Repositories whose entry is kept: references of one repository follow each other.
_MAX_FOUND = 1024


class FormatError(Exception):
    """What is wrong in a registries.conf, as a sentence."""


class PullFromMirror(StrEnum):
    """The references for which a mirror is used."""

    ALL = "all"
    DIGEST_ONLY = "digest-only"
    TAG_ONLY = "tag-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where to pull from: `host[:port][/namespace]`, "" for the name as it is."""

    location: str
    insecure: bool = False
    pull: PullFromMirror = PullFromMirror.ALL

    @property
    def host(self) -> str:
        """The registry of the location."""
        return self.location.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryEntry:
    """One `[[registry]]`. `prefix` may begin with `*.`; `file` is where it is."""

    prefix: str
    endpoint: Endpoint
    mirrors: tuple[Endpoint, ...]
    blocked: bool
    file: str

    def match_length(self, name: str) -> int | None:
        """The length of the part of `host/repository` that the prefix matches.

        As in containers/image, a prefix without a port matches every port.
        """
        length = len(self.prefix)
        if self.prefix.startswith("*."):
            at = name.partition("/")[0].find(self.prefix[1:].partition("/")[0])
            length = at + len(self.prefix) - 1
            if at < 0 or not name.startswith(self.prefix[1:], at):
                return None
        elif not name.startswith(self.prefix):
            return None
        return length if name[length : length + 1] in ("", "/", ":") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistriesConf:
    """The entries of all files."""

    entries: tuple[RegistryEntry, ...] = ()
    _found: dict[str, RegistryEntry | None] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def files(self) -> tuple[str, ...]:
        """The files with the entries in force, in the order of reading."""
        return tuple(dict.fromkeys(entry.file for entry in self.entries))

    def find(self, name: str) -> RegistryEntry | None:
        """The entry of `host/repository` or a host: that with the longest prefix."""
        if name not in self._found:
            if len(self._found) >= _MAX_FOUND:
                self._found.clear()
            matching = [one for one in self.entries if one.match_length(name)]
            self._found[name] = max(
                matching, key=lambda one: len(one.prefix), default=None
            )
        return self._found[name]

    def is_insecure(self, registry: str) -> bool:
        """Whether an endpoint on this host need not have TLS."""
        return any(
            _is_insecure_at(registry, entry, endpoint)
            for entry in self.entries
            for endpoint in (entry.endpoint, *entry.mirrors)
        )

    def sources(self, reference: Reference) -> tuple[Reference | Failure, ...]:
        """Where to pull from, in this order; a `Failure` for what is blocked."""
        name = f"{reference.registry}/{reference.repository}"
        entry = self.find(name)
        if entry is None:
            return (reference,)
        left_out = (
            PullFromMirror.DIGEST_ONLY
            if reference.digest is None
            else PullFromMirror.TAG_ONLY
        )
        mirrors = [one for one in entry.mirrors if one.pull is not left_out]
        return tuple(
            self._place(reference, name, entry, endpoint)
            for endpoint in (*mirrors, entry.endpoint)
        )

    def location(self, reference: Reference) -> Reference | Failure:
        """Where a repository is without its mirrors: for its listings."""
        return self.sources(reference)[-1]

    def _place(
        self, reference: Reference, name: str, entry: RegistryEntry, endpoint: Endpoint
    ) -> Reference | Failure:
        length = entry.match_length(name)
        if endpoint.location:
            name = endpoint.location + name[length:]
        registry, _, repository = name.partition("/")
        # Of the place itself: a registry that is blocked may have mirrors that are not.
        blocking = self.find(name)
        if blocking is not None and blocking.blocked:
            return _invalid(f"{blocking.prefix} is blocked in {blocking.file}")
        if not is_repository(repository):
            return _invalid(
                f"{entry.file}: the location {endpoint.location} makes"
                f" {safe_text(name, 100)} of this name, which is no repository"
            )
        return replace(reference, registry=registry, repository=repository)


def _is_insecure_at(registry: str, entry: RegistryEntry, endpoint: Endpoint) -> bool:
    if not endpoint.insecure:
        return False
    if not endpoint.location:
        return entry.match_length(registry) is not None
    return endpoint.host == registry


def _invalid(detail: str) -> Failure:
    return Failure(kind=FailureKind.DENIED, detail=detail, attempts=0)


# -- files -------------------------------------------------------------------------


def read_registries_conf(environment: Mapping[str, str]) -> RegistriesConf:
    """Read the files of containers/image that exist, in its order.

    The user's file replaces the system's and its drop-ins. A later entry replaces an
    earlier one with the same prefix. Raises `UsageError` for a file that cannot be
    used, and for one that `CONTAINERS_REGISTRIES_CONF` names and that does not exist.
    """
    entries: dict[str, RegistryEntry] = {}
    for path in _paths(environment):
        for entry in _read(path):
            entries.pop(entry.prefix, None)
            entries[entry.prefix] = entry
    conf = RegistriesConf(entries=tuple(entries.values()))
    if conf.files:
        log.info("registries.conf: %s", ", ".join(conf.files))
    return conf


def _paths(environment: Mapping[str, str]) -> Iterator[Path]:
    named, home = environment.get(VARIABLE), environment.get("HOME")
    user = Path(home, _USER_FILE) if home else None
    folders = [SYSTEM_FILE.parent / _DROP_INS]
    if user is not None:
        folders.append(user.parent / _DROP_INS)
    if named:
        if not Path(named).exists():
            raise UsageError(f"{named}: no such file; check {VARIABLE}")
        yield Path(named)
    elif user is not None and user.exists():
        yield user
        del folders[0]
    elif SYSTEM_FILE.exists():
        yield SYSTEM_FILE
    for folder in folders:
        try:
            files = sorted(path for path in folder.iterdir() if path.suffix == ".conf")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UsageError(
                f"{folder}: cannot be read: {error.strerror}; {_ADVICE}"
            ) from None
        yield from files


_ADVICE = "repair it, or ignore these files with --no-registries-conf"


def _read(path: Path) -> list[RegistryEntry]:
    try:
        document = read_toml(str(path)).document
    except ConfigError as error:
        raise UsageError(f"{error}; {_ADVICE}") from None
    try:
        return list(parse_registries_conf(document, str(path)))
    except FormatError as error:
        raise UsageError(f"{path}: {error}; {_ADVICE}") from None


def parse_registries_conf(
    document: Mapping[str, object], file: str
) -> Iterator[RegistryEntry]:
    """The entries of one parsed file. Raises `FormatError`."""
    if isinstance(document.get("registries"), dict):
        raise FormatError(
            "[registries.search] and its siblings are format 1, which is not supported;"
            " write [[registry]] (containers-registries.conf(5))"
        )
    tables = document.get("registry", [])
    if not isinstance(tables, list):
        raise FormatError("registry: must be tables [[registry]]")
    for number, table in enumerate(tables, 1):
        try:
            yield _entry(table if isinstance(table, dict) else {}, file)
        except FormatError as error:
            raise FormatError(f"[[registry]] number {number}: {error}") from None


def _entry(table: dict[str, Any], file: str) -> RegistryEntry:
    location = _location(table, "location")
    prefix = _location(table, "prefix", is_prefix=True) or location
    if not prefix:
        raise FormatError("needs a prefix or a location")
    if not location and not prefix.startswith("*."):
        raise FormatError(f'the prefix "{safe_text(prefix, 80)}" needs a location')
    digest_only = _boolean(table, "mirror-by-digest-only")
    mirrors = table.get("mirror", [])
    if not isinstance(mirrors, list) or not all(
        isinstance(one, dict) for one in mirrors
    ):
        raise FormatError("mirror: must be tables [[registry.mirror]]")
    return RegistryEntry(
        prefix=prefix,
        endpoint=Endpoint(location=location, insecure=_boolean(table, "insecure")),
        mirrors=tuple(_mirror(one, digest_only=digest_only) for one in mirrors),
        blocked=_boolean(table, "blocked"),
        file=file,
    )


def _mirror(table: dict[str, Any], *, digest_only: bool) -> Endpoint:
    location = _location(table, "location")
    if not location:
        raise FormatError("a mirror needs a location")
    text = table.get("pull-from-mirror", "")
    if text and digest_only:
        raise FormatError(
            "pull-from-mirror and mirror-by-digest-only exclude each other"
        )
    try:
        pull = PullFromMirror(text or "all")
    except ValueError:
        raise FormatError(
            "pull-from-mirror: must be all, digest-only or tag-only"
        ) from None
    return Endpoint(
        location=location,
        insecure=_boolean(table, "insecure"),
        pull=PullFromMirror.DIGEST_ONLY if digest_only else pull,
    )


def _boolean(table: dict[str, Any], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise FormatError(f"{key}: must be true or false")
    return value


def _location(table: dict[str, Any], key: str, *, is_prefix: bool = False) -> str:
    """A `host[:port][/path]`, "" if it is not given; a prefix may begin with `*.`."""
    text = table.get(key, "")
    if not isinstance(text, str):
        raise FormatError(f"{key}: must be a text")
    text = text.rstrip("/")
    shown = safe_text(text, 80)
    if text.startswith(("http://", "https://")):
        raise FormatError(f'{key}: "{shown}" must not have a scheme')
    wildcard = "*." if is_prefix and text.startswith("*.") else ""
    host, slash, path = text.removeprefix(wildcard).partition("/")
    if not text:
        return ""
    try:
        # A suffix such as `*.local` is no host by itself.
        host = parse_registry(f"a.{host}" if wildcard else host)
    except ProtocolError:
        raise FormatError(
            f'{key}: "{shown}" must begin with a host that has a dot or a port'
        ) from None
    if slash and not is_repository(path):
        raise FormatError(f'{key}: "{shown}" has no path of a repository')
    return wildcard + host.removeprefix("a." if wildcard else "") + slash + path
