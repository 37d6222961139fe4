"""Reads a signature policy (`--verify-signatures`): who may sign which images.

[keys.release]                      # the name that records have
cosign = "release.pub"              # public keys in PEM

[keys.acme]
notation = ["acme-root.pem"]        # certificates: a trust store
subjects = ["C=US, ST=WA, O=Acme"]

[images.production]                 # without sections: every key for every image
repositories = ["registry.example.com/prod/*"]
except = ["prod/scratch/*"]
keys = ["release", "acme"]          # without this line: every key

All mistakes are reported at once, each with its line. Files are relative to the policy.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import translate
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from auditor.config.toml_file import key_files, read_key_file, read_toml
from auditor.config.toml_tables import read_table
from auditor.config.validation_errors import KeyLocation, ValidationErrors, unknown
from auditor.config.value_types import (
    BOOLEAN,
    TEXT,
    ValueType,
    list_of,
    one_or_list_of,
    require,
    text_type,
)
from auditor.fast_dataclass import dataclass

if TYPE_CHECKING:
    from auditor.oci.signing_keys import ImageSigningKey

# Each of them is tried on each signature of an image.
MAX_KEYS = 64
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# As in the policies of `auditor check`: an unclosed bracket would match nothing.
_PATTERN = re.compile(r"(?:[^][\\]|\[!?[^][\\!]+\])+")


def _pattern(text: str) -> str:
    require(_PATTERN.fullmatch(text))
    return text


_PATTERNS = list_of(text_type("PATTERN", "a name or pattern (*, ?, [a-z])", _pattern))
_FILES = one_or_list_of(text_type("FILE", "a path", str))
_KEY: dict[str, ValueType] = {
    "cosign": _FILES,
    "notation": _FILES,
    "subjects": list_of(TEXT),
    "signing_authority": BOOLEAN,
}
_IMAGES: dict[str, ValueType] = {
    "repositories": _PATTERNS,
    "except": _PATTERNS,
    "keys": list_of(TEXT),
}
_TOP_KEYS = ("keys", "images")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedImages:
    """A section: the keys that may sign the images of these repositories.

    Patterns are regular expressions; `included` of None matches every repository.
    """

    included: re.Pattern[str] | None
    excluded: re.Pattern[str] | None
    keys: tuple[str, ...]

    def contains(self, registry: str, repository: str) -> bool:
        """Whether the section is about a repository."""
        names = (f"{registry}/{repository}", repository)
        if self.excluded is not None and any(map(self.excluded.match, names)):
            return False
        return self.included is None or any(map(self.included.match, names))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignaturePolicy:
    """The keys by name and the sections of a policy.

    `fingerprint` is of the policy and all its key files: a report can only be resumed
    with the same.
    """

    keys: Mapping[str, ImageSigningKey]
    sections: tuple[SignedImages, ...]
    fingerprint: str

    def keys_for(self, registry: str, repository: str) -> tuple[ImageSigningKey, ...]:
        """The keys that may sign the images of a repository, in the policy's order.

        Without any, the policy does not name the repository.
        """
        names = {
            name
            for section in self.sections
            if section.contains(registry, repository)
            for name in section.keys
        }
        return tuple(key for name, key in self.keys.items() if name in names)


def load_signature_policy(path: str) -> SignaturePolicy:
    """Read a policy and its key files; raises `ConfigError` with all mistakes."""
    file = read_toml(path)
    errors = ValidationErrors()
    # Text, and the files in the order of the policy.
    digest = hashlib.sha256(file.text.encode())
    folder = PurePath(path).parent

    def read_file(name: str) -> bytes:
        data = read_key_file(name)
        digest.update(b"\0%d\0" % len(data) + data)
        return data

    reader = _Reader(
        errors=errors,
        absolute=lambda name: str(folder / name),
        read_file=read_file,
    )
    root = KeyLocation(file_name=path, lines=file.lines)
    keys, sections = reader.policy(file.document, root)
    errors.raise_if_any()
    return SignaturePolicy(
        keys=keys, sections=sections, fingerprint=digest.hexdigest()[:32]
    )


@dataclass(slots=True, kw_only=True)
class _Reader:
    errors: ValidationErrors
    absolute: Callable[[str], str]
    read_file: Callable[[str], bytes]

    def policy(
        self, document: Mapping[str, object], root: KeyLocation
    ) -> tuple[dict[str, ImageSigningKey], tuple[SignedImages, ...]]:
        for name in document:
            if name not in _TOP_KEYS:
                self.errors.add(root.at(name), unknown("section", name, _TOP_KEYS))
        tables = dict(self._sections(document, root, "keys"))
        keys = {}
        for name, (value, here) in tables.items():
            fields = self._table(value, _KEY, here)
            key = self._key(name, fields, here)
            if key is not None:
                keys[name] = key
        if not tables:
            self.errors.add(
                root.at("keys"), 'there is no key; add [keys.NAME] with cosign = "FILE"'
            )
        if len(tables) > MAX_KEYS:
            self.errors.add(root.at("keys"), f"there are more than {MAX_KEYS} keys")
        sections = [
            self._images(self._table(value, _IMAGES, here), here, tables)
            for _, (value, here) in self._sections(document, root, "images")
        ]
        if not sections:
            sections = [SignedImages(included=None, excluded=None, keys=tuple(tables))]
        return keys, tuple(sections)

    def _sections(
        self, document: Mapping[str, object], root: KeyLocation, kind: str
    ) -> Iterator[tuple[str, tuple[object, KeyLocation]]]:
        """The sections `[KIND.NAME]` with their locations."""
        here = root.at(kind)
        value = document.get(kind, {})
        if not isinstance(value, Mapping):
            self.errors.add(here, f"must be sections: [{kind}.NAME]")
            return
        for name, one in value.items():
            if _NAME.fullmatch(name):
                yield name, (one, here.at(name))
            else:
                self.errors.add(
                    here.at(name), "must be a name of up to 64 letters, digits, -._"
                )

    def _table(
        self, value: object, keys: Mapping[str, ValueType], here: KeyLocation
    ) -> dict[str, Any]:
        """The values of a section, with mistakes added; paths are made absolute."""
        return read_table(
            value, keys, here, errors=self.errors, absolute=lambda text: text
        )

    def _key(
        self, name: str, fields: dict[str, Any], here: KeyLocation
    ) -> ImageSigningKey | None:
        # cryptography is slow to import, and few runs verify signatures.
        from auditor.oci.signing_keys import (  # noqa: PLC0415
            ImageSigningKey,
            SigningKeyError,
            parse_subject,
            read_certificates,
            read_public_keys,
        )

        if not fields.get("cosign") and not fields.get("notation"):
            self.errors.add(
                here, 'needs cosign = "PUBLIC KEY FILE" or notation = "CERTIFICATES"'
            )
        for option in ("subjects", "signing_authority"):
            if option in fields and "notation" not in fields:
                self.errors.add(here.at(option), "is for notation = ... only")
        found: dict[str, list[Any]] = {"cosign": [], "notation": []}
        read = {"cosign": read_public_keys, "notation": read_certificates}
        for kind, read_keys in read.items():
            for path in map(self.absolute, fields.get(kind, ())):
                try:
                    for file in key_files(path):
                        found[kind] += read_keys(self.read_file(file))
                except OSError as error:
                    reason = f"cannot be read: {error.strerror or error}"
                    self.errors.add(here.at(kind), f"{path}: {reason}")
                except SigningKeyError as error:
                    self.errors.add(here.at(kind), f"{path}: {error}")
        subjects = []
        for text in fields.get("subjects", ()):
            try:
                subjects.append(parse_subject(text))
            except SigningKeyError as error:
                self.errors.add(here.at("subjects"), error)
        return ImageSigningKey(
            name=name,
            public_keys=tuple(found["cosign"]),
            certificates=tuple(found["notation"]),
            subjects=tuple(subjects),
            signing_authority=fields.get("signing_authority", False),
        )

    def _images(
        self, fields: dict[str, Any], here: KeyLocation, names: Mapping[str, object]
    ) -> SignedImages:
        keys = fields.get("keys", tuple(names))
        for name in keys:
            if name not in names:
                self.errors.add(
                    here.at("keys"), f"{name}: {unknown('key', name, names)}"
                )
        if not keys:
            self.errors.add(here.at("keys"), "must name a key of [keys.NAME]")
        return SignedImages(
            included=_any_of(fields.get("repositories")),
            excluded=_any_of(fields.get("except")),
            keys=tuple(keys),
        )


def _any_of(patterns: tuple[str, ...] | None) -> re.Pattern[str] | None:
    if not patterns:
        return None
    return re.compile("|".join(map(translate, patterns)))
