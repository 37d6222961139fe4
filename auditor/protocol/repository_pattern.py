"""Patterns for repositories: many repositories of one registry, and tags of each.

    path-pattern := part [ "/" part ]*
    part         := "**" | one component of a name, with `*`, `?` and classes in it

`*`, `?` and `[0-9]` stay within one component, as in a shell; `**` is any number of
components. As in gitignore(5), `**` in front and in the middle may be none at all,
at the end it is everything below: `team/**` is `team/app` and not `team`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from auditor.fast_dataclass import dataclass
from auditor.oci import reference_grammar as grammar

ANY_DEPTH = "**"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPattern:
    """The tags that match `pattern` in the repositories that match `repository`.

    `str` gives the canonical text, which parses to an equal value.
    """

    registry: str
    repository: str
    pattern: str

    def matches_repository(self, repository: str) -> bool:
        """Whether the whole path matches. Case counts."""
        return path_matches(self.repository, repository)

    @property
    def below(self) -> str | None:
        """The longest path that every match is below; null: there is none."""
        parts = self.repository.split("/")
        plain = 0
        while plain < len(parts) - 1 and not is_glob(parts[plain]):
            plain += 1
        return "/".join(parts[:plain]) or None

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}:{self.pattern}"


def is_glob(text: str) -> bool:
    """Whether it holds anything but itself."""
    return any(char in text for char in grammar.GLOB_CHARS)


def path_matches(path_pattern: str, repository: str) -> bool:
    """Whether a repository's path matches as a whole."""
    parts = path_pattern.split("/")
    if parts[-1] == ANY_DEPTH:
        parts.append("*")
    return _matches(parts, repository.split("/"))


def _matches(parts: Sequence[str], components: Sequence[str]) -> bool:
    """Whether the components match, each part one, `**` any number.

    The last `**` takes as little as it can, and one more whenever what follows it
    does not fit: going back further never helps, so this takes at most the product
    of both lengths (the usual algorithm for `*` among characters).
    """
    part = component = 0
    again: tuple[int, int] | None = None  # after the last `**`, and where it ended
    while component < len(components):
        if part < len(parts) and parts[part] == ANY_DEPTH:
            part += 1
            again = (part, component)
        elif part < len(parts) and fnmatchcase(components[component], parts[part]):
            part, component = part + 1, component + 1
        elif again is not None:
            again = (again[0], again[1] + 1)
            part, component = again
        else:
            return False
    return all(rest == ANY_DEPTH for rest in parts[part:])
