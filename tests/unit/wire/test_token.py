from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from auditor.errors import FailureKind, ProtocolError
from auditor.model import Access, AccessState
from auditor.wire.token import (
    Grant,
    access_of,
    parse_token_response,
    read_claims,
    read_jwt,
)
from tests import jose


def answer(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("fields", "token"),
    [
        ({"token": "t"}, "t"),
        ({"access_token": "a"}, "a"),
        ({"token": "t", "access_token": "a"}, "t"),
        ({"token": "", "access_token": "a"}, "a"),
        ({"token": None, "access_token": "a"}, "a"),
        ({"token": "a.b-c_d~e+f/g=="}, "a.b-c_d~e+f/g=="),
        ({"token": "djE6bmFtZTo=|x:y"}, "djE6bmFtZTo=|x:y"),  # opaque ones vary
    ],
)
def test_the_token_is_found_under_both_names(fields: Any, token: str) -> None:
    assert parse_token_response(answer(**fields)).token.reveal() == token


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (300, 300),
        (300.5, 300.5),
        ("300", 300),
        (60, 60),
        (59, 60),
        (0, 60),
        (-1, 60),
        (None, 60),
        ("", 60),
        ("soon", 60),
        ("-5", 60),
        ("NaN", 60),
        ("3e5", 60),
        ("\u0663\u0660\u0660", 60),
        ("9" * 400, 86_400),
        (True, 60),
        ([300], 60),
        ({"s": 300}, 60),
        (86_400, 86_400),
        (10**18, 86_400),
        (10**30, 86_400),
    ],
)
def test_the_lifetime_is_at_least_a_minute_and_at_most_a_day(
    expires_in: object, seconds: float
) -> None:
    given = parse_token_response(answer(token="t", expires_in=expires_in))
    assert given.expires_in_s == seconds


def test_a_missing_lifetime_is_a_minute() -> None:
    assert parse_token_response(answer(token="t")).expires_in_s == 60


@pytest.mark.parametrize(
    ("claims", "seconds"),
    [
        ({"exp": 1_000_900, "iat": 1_000_000}, 900),
        ({"exp": 1_000_900.5, "iat": 1_000_000}, 900.5),
        # docker_auth: nbf is ten seconds before iat (auth_server/server/server.go)
        ({"exp": 1_000_900, "iat": 1_000_000, "nbf": 999_990}, 900),
        ({"exp": 1_000_900, "nbf": 1_000_000}, 900),
        ({"exp": 1_000_030, "iat": 1_000_000}, 60),
        ({"exp": 999_999, "iat": 1_000_000}, 60),
        ({"exp": 10**12, "iat": 0}, 86_400),
        ({"exp": 1_000_900}, 60),  # from when is not known
        ({"iat": 1_000_000}, 60),
        ({"exp": "soon", "iat": 1_000_000}, 60),
        ({"exp": True, "iat": 0}, 60),
        ({}, 60),
    ],
)
@pytest.mark.parametrize("expires_in", [None, "soon", True])
def test_without_a_lifetime_that_of_the_claims_counts(
    claims: dict[str, object], seconds: float, expires_in: object
) -> None:
    token = jose.unsigned_token({}, claims)
    given = parse_token_response(answer(token=token, expires_in=expires_in))
    assert given.expires_in_s == seconds


def test_the_lifetime_of_the_response_precedes_that_of_the_claims() -> None:
    token = jose.unsigned_token({}, {"exp": 1_000_900, "iat": 1_000_000})
    assert parse_token_response(answer(token=token, expires_in=300)).expires_in_s == 300


@pytest.mark.parametrize(
    ("refresh_token", "kept"),
    [("r", "r"), ("", None), (None, None), (7, None), ("a b", None)],
)
def test_a_valid_refresh_token_is_kept(refresh_token: object, kept: str | None) -> None:
    given = parse_token_response(answer(token="t", refresh_token=refresh_token))
    found = None if given.refresh_token is None else given.refresh_token.reveal()
    assert found == kept


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the token service's response is empty"),
        (b" \n", "the token service's response is empty"),
        (
            b"\n<!DOCTYPE html><title>Sign in</title>",
            "the token service returned an HTML page instead of a token",
        ),
        (
            b"service unavailable",
            (
                "the token service returned something that is not JSON instead of"
                " a token"
            ),
        ),
        (b'{"token":"t"', "the token service returned something that is not JSON"),
        (b"\xff\xfe", "the token service returned something that is not JSON"),
        (b"[]", "the token service returned JSON that is not an object"),
        (b'"t"', "the token service returned JSON that is not an object"),
        (b"{}", "the token service's response has no token"),
        (b'{"token":null}', "the token service's response has no token"),
        (b'{"details":"wrong password"}', "the token service's response has no token"),
        (b'{"token":7}', "the token service's token is not one line of visible ASCII"),
        (b'{"token":["t"]}', "the token service's token is not one line"),
        (b'{"token":"a b"}', "the token service's token is not one line"),
        (b'{"token":"a\\r\\nX: y"}', "the token service's token is not one line"),
        (b'{"token":"a\\u0000"}', "the token service's token is not one line"),
        (b'{"token":"\\u00e4"}', "the token service's token is not one line"),
    ],
)
def test_a_response_without_a_token_is_rejected(body: bytes, sentence: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_token_response(body)
    assert caught.value.kind is FailureKind.TOKEN_REJECTED
    assert caught.value.detail.startswith(sentence)


def test_a_token_response_does_not_print_its_secrets() -> None:
    shown = repr(parse_token_response(answer(token="hush", refresh_token="psst")))
    assert "hush" not in shown
    assert "psst" not in shown


def test_the_claims_of_a_token() -> None:
    token = jose.token(jose.claims(), jose.key_for("ES256"), kid="k")
    header, _ = read_jwt(token) or ({}, {})
    assert header["kid"] == "k"
    read = read_claims(token)
    assert read is not None
    assert read.grants == (
        Grant(type="repository", name="a/b", resource_class=None, actions=("pull",)),
    )
    assert (read.subject, read.issuer) == ("admin", "auth.example.com")
    assert read.audience == ("registry.example.com",)
    assert (read.issued_at, read.not_before) == (jose.NOW, jose.NOW)
    assert read.expires_at == jose.NOW + 300
    assert read.token_id == "1"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "opaque",
        "a.b",
        "a.b.c",
        "a.b.c.d.e",
        jose.unsigned_token([], {}),
        jose.unsigned_token({}, "access"),
        "e30.e30",
        "e30.e3.x",
        "e30.!.x",
        "e30.e30=====.x",
        "\ud800.e30.x",
    ],
)
def test_other_tokens_are_opaque(token: str) -> None:
    assert read_claims(token) is None


@pytest.mark.parametrize(
    ("claim", "value", "field", "read"),
    [
        ("aud", "a", "audience", ("a",)),
        ("aud", ["a", "b"], "audience", ("a", "b")),
        ("aud", ["a", 7, None], "audience", ("a",)),
        ("aud", 7, "audience", ()),
        ("aud", None, "audience", ()),
        ("exp", 1.5, "expires_at", 1.5),
        ("exp", "1", "expires_at", None),
        ("exp", [1], "expires_at", None),
        ("exp", True, "expires_at", None),
        ("exp", None, "expires_at", None),
        ("nbf", {}, "not_before", None),
        ("iat", -1, "issued_at", -1.0),
        ("sub", None, "subject", None),
        ("sub", 7, "subject", None),
        ("sub", "", "subject", None),
        ("iss", ["x"], "issuer", None),
        ("jti", 7, "token_id", None),
    ],
)
def test_a_claim_of_the_wrong_type_is_absent(
    claim: str, value: object, field: str, read: object
) -> None:
    token = jose.unsigned_token({}, {claim: value})
    claims = read_claims(token)
    assert claims is not None
    assert getattr(claims, field) == read
    _, payload = read_jwt(token) or ({}, {})
    assert payload == {claim: value}


def repository(actions: object, name: object = "a/b", **more: Any) -> dict[str, Any]:
    return {"type": "repository", "name": name, "actions": actions, **more}


GRANTED, DENIED = AccessState.GRANTED, AccessState.DENIED
UNVERIFIABLE = AccessState.UNVERIFIABLE


@pytest.mark.parametrize(
    ("access", "actions", "state"),
    [
        ([repository(["pull"])], ("pull",), GRANTED),
        ([repository(["push", "pull", "pull"])], ("pull", "push"), GRANTED),
        ([repository(["push"]), repository(["pull"])], ("pull", "push"), GRANTED),
        ([repository(["*"])], ("*",), GRANTED),
        ([repository(["pull"], parameters={"limit": "9"})], ("pull",), GRANTED),
        ([repository(["pull"], **{"class": "plugin"})], ("pull",), GRANTED),
        ([repository(["pull"]) | {"type": "repository(plugin)"}], ("pull",), GRANTED),
        ([repository(["pull"]), 7, None, "x", {}], ("pull",), GRANTED),
        ([repository(["push"])], ("push",), DENIED),
        ([repository(["Pull", "PULL"])], ("PULL", "Pull"), DENIED),
        ([repository(["pull "])], ("pull ",), DENIED),
        ([repository([])], (), DENIED),
        ([repository(None)], (), DENIED),
        ([repository("pull")], (), DENIED),
        ([repository([["pull"], {"pull": 1}, None])], (), DENIED),
        ([repository(["pull"], name="a/b/c")], (), DENIED),
        ([repository(["pull"], name="A/B")], (), DENIED),
        ([{"type": "registry", "name": "a/b", "actions": ["*"]}], (), DENIED),
        ([{"type": "Repository", "name": "a/b", "actions": ["pull"]}], (), DENIED),
        ([], (), DENIED),
        (None, (), DENIED),
        ("repository:a/b:pull", (), UNVERIFIABLE),
        (7, (), UNVERIFIABLE),
        (repository(["pull"]), (), UNVERIFIABLE),
        ([7, "x"], (), UNVERIFIABLE),
        ([repository(["pull"], name=None)], (), UNVERIFIABLE),
    ],
)
def test_access_is_the_grant_for_the_repository(
    access: object, actions: tuple[str, ...], state: AccessState
) -> None:
    token = jose.unsigned_token({}, {"access": access, "sub": "s", "iss": "i"})
    assert access_of(token, "a/b") == Access(
        state=state,
        actions=actions,
        subject="s",
        issuer="i",
        verified=False,
        credential=None,
    )


@pytest.mark.parametrize(
    ("token", "subject"),
    [("djE6b3BhcXVl", None), (jose.unsigned_token({}, {"sub": "s"}), "s")],
)
def test_a_token_without_an_access_claim_is_unverifiable(
    token: str, subject: str | None
) -> None:
    access = access_of(token, "a/b")
    assert access.state is AccessState.UNVERIFIABLE
    assert (access.actions, access.subject) == ((), subject)


def test_verified_is_kept_except_for_opaque_tokens() -> None:
    token = jose.unsigned_token({}, {"access": []})
    assert access_of(token, "a/b", verified=True).verified
    assert not access_of("opaque", "a/b", verified=True).verified


def test_no_access_claim_differs_from_no_grant() -> None:
    silent = read_claims(jose.unsigned_token({}, {}))
    refusing = read_claims(jose.unsigned_token({}, {"access": []}))
    assert silent is not None
    assert refusing is not None
    assert silent.grants is None
    assert refusing.grants == ()


@pytest.mark.parametrize(
    ("actions", "can"),
    [
        (["pull"], True),
        (["push", "pull"], True),
        (["*"], True),
        ([], False),
        (["push"], False),
        (["PULL"], False),
        (["pull,push"], False),
    ],
)
def test_pull_needs_the_action_pull_or_a_star(actions: list[str], can: bool) -> None:
    access = [{"type": "repository", "name": "a/b", "actions": actions}]
    token = jose.unsigned_token({}, {"access": access})
    assert (access_of(token, "a/b").state is AccessState.GRANTED) is can


def test_tokens_and_manifests_are_parsed_without_importing_cryptography() -> None:
    program = (
        "import auditor.wire.token, auditor.oci.schema1, sys;"
        "print(sorted({'cryptography', 'jwt', 'aiohttp', 'anyio'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"
