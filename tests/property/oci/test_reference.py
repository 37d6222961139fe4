from __future__ import annotations

import re
from fnmatch import fnmatchcase

from hypothesis import example, given
from hypothesis import strategies as st

from auditor.errors import FailureKind, ProtocolError
from auditor.oci.reference import (
    Reference,
    RepositoryPattern,
    Selector,
    TagPattern,
    mirror_reference,
    parse_namespace,
    parse_reference,
    parse_registry,
    parse_selector,
    path_matches,
)
from auditor.oci.reference_grammar import explain_invalid_reference, is_glob
from tests.examples import examples

COMPONENT = st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+){0,3}", fullmatch=True)
PATH = st.lists(COMPONENT, min_size=1, max_size=4).map("/".join)
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
PORT = st.integers(1, 65535).map(lambda port: f":{port}")
HOST = st.one_of(
    st.lists(LABEL, min_size=2, max_size=4).map(".".join),
    st.builds("{}{}".format, LABEL, PORT),
    st.builds("{}.{}{}".format, LABEL, LABEL, PORT),
    st.just("localhost"),
    st.builds(
        "[{}]{}".format, st.ip_addresses(v=6).filter(lambda a: "." not in str(a)), PORT
    ),
)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
DIGEST = st.from_regex(r"sha256:[a-f0-9]{64}", fullmatch=True)
GLOB = st.text("ab1.-*?_", min_size=1, max_size=12).filter(lambda t: set(t) & set("*?"))

REFERENCES = st.builds(
    Reference,
    registry=HOST,
    repository=PATH,
    tag=TAG,
    digest=st.none() | DIGEST,
)
PATTERNS = st.builds(TagPattern, registry=HOST, repository=PATH, pattern=GLOB)
PATH_PARTS = st.lists(
    st.sampled_from(["**", "*", "?", "a", "b", "a*", "*b", "[ab]", "[!a]", "ab"]),
    min_size=1,
    max_size=5,
)
PATH_GLOBS = PATH_PARTS.map("/".join).filter(lambda text: is_glob(text) and text != "*")
REPOSITORY_PATTERNS = st.builds(
    RepositoryPattern, registry=HOST, repository=PATH_GLOBS, pattern=TAG | GLOB
)
PATHS_NEARBY = st.lists(
    st.sampled_from(["a", "b", "ab", "ba", "c"]), min_size=1, max_size=6
)
# Text that resembles the grammar finds more errors than random text.
NEARBY = st.lists(
    st.sampled_from(
        ["a", "B", "7", ".", "..", "/", ":", "@", "-", "_", "%2f", "[", "]", "::1", "*",
         "**", "a*/", "?", " ", "\n", "\x00", "\\", "é", "localhost", "docker.io", "docker://",
         "https://", "sha256:", "0" * 64, "x.example:5000"]
    ),
    max_size=10,
).map("".join)  # fmt: skip


def check_refusal(error: ProtocolError, kind: FailureKind) -> None:
    assert error.kind is kind
    assert error.detail.isprintable()


@given(REFERENCES | PATTERNS | REPOSITORY_PATTERNS)
def test_the_canonical_text_parses_to_an_equal_value(selector: Selector) -> None:
    assert parse_selector(str(selector)) == selector


@given(REFERENCES)
def test_upper_case_in_the_host_does_not_matter(reference: Reference) -> None:
    host, slash, rest = str(reference).partition("/")
    assert parse_reference(f"docker://{host.upper()}{slash}{rest}") == reference


@examples(400)
@given(NEARBY | st.builds("x.example/{}".format, NEARBY) | st.text())
@example("x.example/a*/b:1")
def test_any_text_is_a_safe_reference_or_refused(
    text: str,
) -> None:
    try:
        selector = parse_selector(text)
    except ProtocolError as error:
        check_refusal(error, FailureKind.INVALID_REFERENCE)
        return
    if isinstance(selector, RepositoryPattern):
        assert is_glob(selector.repository)
    else:
        assert re.fullmatch(r"[a-z0-9_.-]+(/[a-z0-9_.-]+)*", selector.repository)
        assert not {".", ".."} & set(selector.repository.split("/"))
    assert re.fullmatch(r"[a-z0-9.-]+(:\d+)?|\[[a-f0-9:]+\](:\d+)?", selector.registry)
    assert parse_selector(str(selector)) == selector


@given(NEARBY)
def test_the_explanation_is_one_sentence(text: str) -> None:
    assert explain_invalid_reference(text).isprintable()


@given(PATTERNS, TAG)
def test_patterns_are_shell_patterns(pattern: TagPattern, tag: str) -> None:
    assert pattern.matches(tag) is fnmatchcase(tag, pattern.pattern)


def slowly(parts: list[str], components: list[str]) -> bool:
    """`path_matches` written like its definition in gitignore(5)."""
    if not parts:
        return not components
    first, rest = parts[0], parts[1:]
    if first == "**" and not rest:
        return bool(components)
    if first == "**":
        return any(slowly(rest, components[n:]) for n in range(len(components) + 1))
    return (
        bool(components)
        and fnmatchcase(components[0], first)
        and slowly(rest, components[1:])
    )


@examples(500)
@given(PATH_PARTS, PATHS_NEARBY)
def test_repository_patterns_match_like_their_definition(
    parts: list[str], components: list[str]
) -> None:
    found = path_matches("/".join(parts), "/".join(components))
    assert found is slowly(parts, components)


# What each part of a pattern matches.
_INSIDE = {"**": "c/d", "*": "c", "?": "c", "a*": "ac", "*b": "cb"} | {
    "[ab]": "a",
    "[!a]": "c",
}


@given(REPOSITORY_PATTERNS, PATHS_NEARBY)
def test_matches_are_below_the_pattern_prefix(
    pattern: RepositoryPattern, components: list[str]
) -> None:
    inside = "/".join(_INSIDE.get(part, part) for part in pattern.repository.split("/"))
    assert pattern.matches_repository(inside)
    for path in (inside, "/".join(components)):
        if pattern.below is not None and pattern.matches_repository(path):
            assert path.startswith(pattern.below + "/")


# -- namespaces and mirrors ------------------------------------------------------


@examples(50)
@given(HOST, PATH, REFERENCES)
def test_a_namespace_has_one_name_and_can_be_a_mirror(
    host: str, path: str, reference: Reference
) -> None:
    name = parse_namespace(f"{host}/{path}")
    assert parse_namespace(name) == name
    assert name == f"{parse_registry(host)}/{path}"
    for mirror, repository in (
        (name, f"{path}/{reference.repository}"),
        (parse_registry(host), reference.repository),
    ):
        found = mirror_reference(reference, mirror)
        assert (found.registry, found.repository) == (parse_registry(host), repository)
        assert (found.tag, found.digest) == (reference.tag, reference.digest)


@examples(150)
@given(st.text(max_size=40) | st.builds("{}/{}".format, HOST, st.text(max_size=12)))
def test_any_text_is_a_namespace_or_refused(text: str) -> None:
    name, kind = None, FailureKind.INVALID_REFERENCE
    try:
        name = parse_namespace(text)
    except ProtocolError as error:
        kind = error.kind
    assert kind is FailureKind.INVALID_REFERENCE
    if name is not None:
        assert (
            parse_reference(f"{name}/a:1").repository == f"{name.partition('/')[2]}/a"
        )
