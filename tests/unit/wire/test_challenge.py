from __future__ import annotations

import pytest

from auditor.errors import FailureKind, ProtocolError
from auditor.wire.challenge import (
    CATALOG_SCOPE,
    Challenge,
    Scope,
    beyond_pull,
    parse_actions,
    parse_challenges,
    parse_scope,
    preferred_challenge,
    pull_scope,
    repository_scope,
    wider_scope,
)


def scope(kind: str, name: str, *actions: str, of_class: str | None = None) -> Scope:
    return Scope(type=kind, resource_class=of_class, name=name, actions=actions)


@pytest.mark.parametrize(
    ("text", "expected", "canonical"),
    [
        ("repository:a/b:pull", scope("repository", "a/b", "pull"), None),
        (
            "repository:a/b:push,pull,pull",
            scope("repository", "a/b", "pull", "push"),
            "repository:a/b:pull,push",
        ),
        (
            "repository:host:5000/a:pull",
            scope("repository", "host:5000/a", "pull"),
            None,
        ),
        (
            "repository(plugin):a/b:*",
            scope("repository", "a/b", "*", of_class="plugin"),
            None,
        ),
        ("registry:catalog:*", CATALOG_SCOPE, None),
        ("repository:a:", scope("repository", "a"), None),
        ("repository:a:,pull,", scope("repository", "a", "pull"), "repository:a:pull"),
    ],
)
def test_a_scope_is_split_at_its_first_and_last_colon(
    text: str, expected: Scope, canonical: str | None
) -> None:
    assert parse_scope(text) == expected
    assert str(expected) == (canonical or text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "repository",
        "repository:a",
        "repository:a b:pull",
        'repository:a"b:pull',
        "Repository:a:pull",
        "repository():a:pull",
        "repository:a:pull push",
        "repository:a:pull\n",
        "repository:é:pull",
    ],
)
def test_text_that_is_not_a_scope_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="is not a scope") as caught:
        parse_scope(text)
    assert caught.value.kind is FailureKind.PROTOCOL_VIOLATION


def test_the_order_of_actions_does_not_matter() -> None:
    assert scope("repository", "a", "push", "pull") == scope(
        "repository", "a", "pull", "push", "pull"
    )


def test_the_pull_scope() -> None:
    assert str(pull_scope("admin/java-hello-world")) == (
        "repository:admin/java-hello-world:pull"
    )


@pytest.mark.parametrize(
    ("challenged", "expected"),
    [
        ("repository:a/b:metadata_read", "repository:a/b:metadata_read,pull"),
        ("repository:a/b:pull,metadata_read", "repository:a/b:metadata_read,pull"),
        ("repository:a/b:metadata_read,push", "repository:a/b:metadata_read,pull"),
        ("repository:a/b:pull", None),
        ("repository:a/b:push,delete,*", None),
        ("repository:a/b:", None),
        ("repository:user/image:pull", None),
        ("repository:a/c:metadata_read", None),
        ("registry:catalog:*", None),
        ("repository:a/b:metadata_read repository:a/c:pull", None),
        ("", None),
        (None, None),
    ],
)
def test_a_401_can_widen_the_scope_of_the_same_resource_by_read_actions_only(
    challenged: str | None, expected: str | None
) -> None:
    found = wider_scope(pull_scope("a/b"), challenged)
    assert (None if found is None else str(found)) == expected


@pytest.mark.parametrize(
    ("challenged", "expected"),
    [
        ("repository::pull", "repository::pull"),  # zot (pkg/api/authn.go)
        ("repository:*:pull", "repository:*:pull"),
        ("registry:catalog:pull", "registry:catalog:pull"),
        ("repository::pull,push", "repository::pull"),  # no wider than reading
        ("repository::push", None),
        ("repository::*", None),
        ("registry:catalog:*", None),  # requested already
        ("repository:secret/app:pull", None),  # another resource
        ("registry:other:pull", None),
        ("repository:user/image:pull", None),  # GHCR's placeholder
        (None, None),
    ],
)
def test_a_catalog_can_require_a_scope_that_reads_all_repositories(
    challenged: str | None, expected: str | None
) -> None:
    found = wider_scope(CATALOG_SCOPE, challenged)
    assert (None if found is None else str(found)) == expected


def test_actions_are_sorted_and_unique() -> None:
    assert parse_actions("push,pull,push") == ("pull", "push")
    assert parse_actions("*") == ("*",)
    asked = repository_scope("a/b", parse_actions("push,pull,delete"))
    assert str(asked) == "repository:a/b:delete,pull,push"


@pytest.mark.parametrize("text", ["", ",", "pull,", "pull push", "pull\n", "a:b", "**"])
def test_text_that_is_not_a_list_of_actions_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="is not a list of actions"):
        parse_actions(text)


@pytest.mark.parametrize(
    ("actions", "allowed", "beyond"),
    [
        (["pull"], [], []),
        ([], [], []),
        (["push", "pull", "delete"], [], ["delete", "push"]),
        (["push", "pull", "delete"], ["push"], ["delete"]),
        (["*"], ["push", "delete"], ["*"]),
        (["metadata_read", "content_read", "content_delete"], [], ["content_delete"]),
    ],
)
def test_actions_that_write_are_beyond_pull(
    actions: list[str], allowed: list[str], beyond: list[str]
) -> None:
    assert list(beyond_pull(actions, allowed)) == beyond


def challenge(scheme: str, token68: str | None = None, **parameters: str) -> Challenge:
    return Challenge(scheme=scheme, parameters=parameters, token68=token68)


BEARER = challenge("bearer", realm="https://a.example/token", service="r")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ()),
        ([""], ()),
        ([", ,"], ()),
        (['Bearer realm="https://a.example/token",service="r"'], (BEARER,)),
        (['bEARER  ReAlM = "https://a.example/token" , SERVICE=r'], (BEARER,)),
        (['Bearer realm="https://a.example/token" service="r"'], (BEARER,)),
        ([',, Bearer ,realm="https://a.example/token",, service=r,'], (BEARER,)),
        (
            ['Bearer scope="repository:a/b:pull,push",realm="x"'],
            (challenge("bearer", scope="repository:a/b:pull,push", realm="x"),),
        ),
        (
            [r'Basic realm="say \"hi\", \\ or Bearer realm=x"'],
            (challenge("basic", realm=r'say "hi", \ or Bearer realm=x'),),
        ),
        (
            ['Negotiate, Bearer realm="x", Basic realm="y"'],
            (
                challenge("negotiate"),
                challenge("bearer", realm="x"),
                challenge("basic", realm="y"),
            ),
        ),
        (
            ['Basic realm="y"', 'Bearer realm="x"'],
            (challenge("basic", realm="y"), challenge("bearer", realm="x")),
        ),
        (
            ["Negotiate YII+/abc==, Basic realm=y"],
            (challenge("negotiate", "YII+/abc=="), challenge("basic", realm="y")),
        ),
        (["Bearer realm=x, realm=y"], (challenge("bearer", realm="x"),)),
        (['Bearer realm=""'], (challenge("bearer", realm=""),)),
        (["Bearer"], (challenge("bearer"),)),
        # malformed lines
        (['Bearer realm="x", service="unclosed'], (challenge("bearer", realm="x"),)),
        (['Bearer realm="x", service = "unclosed'], (challenge("bearer", realm="x"),)),
        (['Bearer realm="x", service=a:b, c=d'], (challenge("bearer", realm="x"),)),
        (['Bearer realm="x";service="y"'], (challenge("bearer"),)),
        (['realm="x"'], ()),
        (['"quoted" Bearer realm="x"'], ()),
        (['\x00 Bearer realm="x"', "Basic"], (challenge("basic"),)),
    ],
)
def test_challenges_are_parsed_up_to_the_first_error(
    lines: list[str], expected: tuple[Challenge, ...]
) -> None:
    assert parse_challenges(lines) == expected


@pytest.mark.parametrize(
    ("lines", "scheme"),
    [
        ([], None),
        (["Negotiate"], None),
        (['Basic realm="y"', 'Bearer realm="x"'], "bearer"),
        (['Bearer, Basic realm="y"'], "basic"),
        (['Bearer realm="", Basic'], "basic"),
        (["Bearer service=x"], None),
    ],
)
def test_bearer_with_a_realm_is_preferred_to_basic(
    lines: list[str], scheme: str | None
) -> None:
    chosen = preferred_challenge(parse_challenges(lines))
    assert (chosen.scheme if chosen else None) == scheme


def test_an_unclosed_quote_in_a_long_line_is_parsed_in_linear_time() -> None:
    line = 'Bearer realm="' + "\\a" * 100_000
    assert parse_challenges([line]) == (challenge("bearer"),)
