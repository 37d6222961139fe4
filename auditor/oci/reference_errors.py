"""What is wrong with a text that is not a reference, in words for its author.

Only asked after parsing has failed, so it need not be fast and never decides.
"""

from __future__ import annotations

import re

from auditor.oci import reference_grammar as grammar
from auditor.util.text import safe_text

_EXAMPLE = "host/repository:tag"
CREDENTIALS = "credentials do not stand in a reference; leave out what is before the @"


def explain_invalid_reference(text: str) -> str:
    """The first mistake from the left, and what would be right."""
    if mistake := _mistake_in_characters(text):
        return mistake
    text = text.removeprefix("docker://")
    first, slash, rest = text.partition("/")
    has_host = bool(slash) and _is_meant_as_host(first)
    if has_host and (mistake := _mistake_in_host(first, rest)):
        return mistake
    name, at, digest = (rest if has_host else text).partition("@")
    path, colon, tag = name.partition(":")
    if any(char in path for char in grammar.GLOB_CHARS):
        return (
            _mistake_in_path_pattern(path, has_host=has_host)
            or _mistake_in_tags_of_many(tag, has_tag=bool(colon), has_digest=bool(at))
            or "a repository pattern stands for many images; here one has to be named"
        )
    return (
        _mistake_in_path(path, has_host=has_host)
        or (_mistake_in_digest(digest) if at else None)
        or (_mistake_in_tag(tag, has_digest=bool(at)) if colon else None)
        or f"write {_EXAMPLE} or {_EXAMPLE.partition(':')[0]}@sha256:..."
    )


def _mistake_in_characters(text: str) -> str | None:
    if not text.strip():
        return f"it is empty; write {_EXAMPLE}"
    if text[0] in "\"'":
        return "it stands in quotes; leave them out"
    if text.startswith("- "):
        return "leave out the hyphen before it; a line is a reference and nothing else"
    if re.search(r"[ \t]", text.strip()):
        return "there is a blank in it; a line is one reference"
    if re.search("[,;]", text):
        return (
            f"there is a {'comma' if ',' in text else 'semicolon'} in it; a list of"
            " columns begins with their names: repository,tag or reference"
        )
    if odd := re.search(r"[^!-~]", text):
        return f"it holds the character U+{ord(odd[0]):04X}; no blanks, no accents"
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() in {"http", "https"}:
        return f"it is a URL; leave out {scheme}:// and write {_EXAMPLE}"
    if separator and (scheme != "docker" or "://" in rest):
        return "only docker:// may stand before the name"
    if "%" in text:
        return "it holds a percent sign; names are not percent-encoded"
    if "\\" in text:
        return "it holds a backslash; the parts of a name are separated by /"
    return None


def _is_meant_as_host(first: str) -> bool:
    return (
        first == "localhost"
        or any(char in first for char in ".:")
        or first != first.lower()
    )


def _mistake_in_host(host: str, rest: str) -> str | None:
    shown = safe_text(host, 60)
    if "@" in host:
        return CREDENTIALS
    if host.strip(".") == "":
        return f'"{shown}" cannot be a part of a name'
    if not host.startswith("[") and any(char in host for char in grammar.GLOB_CHARS):
        return "patterns are for repositories and tags; a registry has to be named"
    if not any(char in host for char in ".:") and host.lower() != "localhost":
        lower = safe_text(f"{host}/{rest}".lower(), 80)
        return (
            f'repository names are lower case; write "{lower}"'
            f' (or, if "{shown}" is a host, "{shown.lower()}:443/...")'
        )
    bare, port = grammar.split_port(host)
    if bare.startswith("[") and not grammar.is_ipv6(bare):
        return f'"{safe_text(bare, 60)}" is not an IPv6 address in brackets'
    if port is not None and not _is_port(port):
        return f'"{safe_text(port, 20)}" is not a port from 1 to {grammar.MAX_PORT}'
    if len(bare) > grammar.MAX_HOST_CHARS:
        return f"its host is longer than {grammar.MAX_HOST_CHARS} characters"
    if not re.fullmatch(grammar.DOMAIN, bare):
        return (
            f'"{shown}" is not a host name; letters, digits, hyphens and dots make one'
        )
    return None


def _is_port(text: str) -> bool:
    return bool(re.fullmatch(grammar.PORT, text)) and int(text) <= grammar.MAX_PORT


def _mistake_in_path(path: str, *, has_host: bool) -> str | None:
    if not path:
        where = " after the host" if has_host else ""
        return f"the repository is missing{where}; write {_EXAMPLE}"
    components = path.split("/")
    if "" in components:
        return "there is a / too many; single ones separate the parts of a name"
    if "." in components or ".." in components:
        return '"." and ".." cannot be parts of a name'
    if path != path.lower():
        return f'repository names are lower case; write "{safe_text(path.lower(), 80)}"'
    for component in components:
        if not re.fullmatch(grammar.COMPONENT, component):
            return (
                f'"{safe_text(component, 60)}" is not a part of a repository name:'
                " lower-case letters and digits, separated by one dot, one or two"
                " underscores, or hyphens"
            )
    if len(path) > grammar.MAX_PATH_CHARS - len("library/"):
        return f"its repository is longer than {grammar.MAX_PATH_CHARS} characters"
    if not has_host and re.fullmatch(r"[a-f0-9]{64}", path):
        return f"it is an image ID; write repository@sha256:{path[:4]}..."
    return None


def _mistake_in_path_pattern(path: str, *, has_host: bool) -> str | None:
    if not has_host:
        return (
            "a repository pattern needs its registry in front,"
            f" as in docker.io/{safe_text(path, 60)}:*"
        )
    components = path.split("/")
    if "" in components:
        return "there is a / too many; single ones separate the parts of a name"
    if path != path.lower():
        return f'repository names are lower case; write "{safe_text(path.lower(), 80)}"'
    for component in components:
        if "**" in component and component != "**":
            return (
                f'"{safe_text(component, 60)}" is not a part of a pattern: ** stands'
                " for whole parts, as in team/**/app; * stays within one"
            )
        if not re.fullmatch(rf"{grammar.COMPONENT_PATTERN}|\*\*", component):
            return (
                f'"{safe_text(component, 60)}" is not a part of a pattern: *, ?, and'
                " closed classes like [0-9] or [!a-z] among the characters of a name"
            )
    if len(path) > grammar.MAX_PATH_PATTERN_CHARS:
        return f"its pattern is longer than {grammar.MAX_PATH_PATTERN_CHARS} characters"
    return None


def _mistake_in_tags_of_many(
    tag: str, *, has_tag: bool, has_digest: bool
) -> str | None:
    if has_digest:
        return "a digest names one image, so there is nothing for a pattern to choose"
    if not has_tag:
        return (
            "a repository pattern says which tags, too: add :* for all of them,"
            " or a pattern like :1.*"
        )
    if any(char in tag for char in grammar.GLOB_CHARS):
        found = _mistake_in_pattern(tag, has_digest=False)
        return None if _is_tag_pattern(tag) else found
    return _mistake_in_tag(tag, has_digest=False)


def _is_tag_pattern(text: str) -> bool:
    return len(text) <= grammar.MAX_PATTERN_CHARS and bool(
        re.fullmatch(grammar.TAG_PATTERN, text)
    )


def _mistake_in_digest(digest: str) -> str | None:
    if re.fullmatch(grammar.DIGEST, digest):
        return None
    algorithm, colon, value = digest.partition(":")
    length = grammar.HEX_CHARS.get(algorithm)
    if not colon:
        return "after the @ stands a digest, as in @sha256:0123..."
    if length is None:
        known = ", ".join(grammar.HEX_CHARS)
        return (
            f'the digest algorithm "{safe_text(algorithm, 20)}" is not known;'
            f" it can be {known}"
        )
    if value.lower() != value:
        return "a digest has lower-case hexadecimal digits"
    return f"a {algorithm} digest has {length} hexadecimal digits, not {len(value)}" + (
        " characters" if len(value) == length else ""
    )


def _mistake_in_tag(tag: str, *, has_digest: bool) -> str | None:
    if not tag:
        return "the tag after the colon is missing"
    if "/" in tag:
        return "a port belongs to the host, which is the first part of the name"
    if ":" in tag:
        return "it has two tags; the digest of an image stands after @"
    if any(char in tag for char in grammar.GLOB_CHARS):
        return _mistake_in_pattern(tag, has_digest=has_digest)
    if len(tag) > grammar.MAX_TAG_CHARS:
        return f"its tag is longer than {grammar.MAX_TAG_CHARS} characters"
    if not re.fullmatch(grammar.TAG, tag):
        return (
            f'"{safe_text(tag, 60)}" is not a tag: letters, digits, underscores,'
            " and, not at the start, dots and hyphens"
        )
    return None


def _mistake_in_pattern(pattern: str, *, has_digest: bool) -> str:
    if has_digest:
        return "a digest names one image, so there is nothing for a pattern to choose"
    if len(pattern) > grammar.MAX_PATTERN_CHARS:
        return f"its pattern is longer than {grammar.MAX_PATTERN_CHARS} characters"
    if re.fullmatch(grammar.TAG_PATTERN, pattern):
        return "a tag pattern stands for many images; here one has to be named"
    return (
        f'"{safe_text(pattern, 60)}" is not a tag pattern: *, ?, and closed classes'
        " like [0-9] or [!a-z] among the characters of a tag"
    )
