from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from auditor.errors import FailureKind, ProtocolError
from auditor.model import AccessState
from auditor.wire.token import (
    MAX_LIFETIME_S,
    MIN_LIFETIME_S,
    access_of,
    parse_token_response,
    read_claims,
)
from tests import jose
from tests.examples import examples

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
ACTIONS = st.lists(st.sampled_from(["pull", "push", "delete", "*", "Pull"]))
NAMES = st.sampled_from(["a/b", "a", "a/b/c", "A/B"])
GRANTS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["repository", "registry", "repository(plugin)"]),
            "name": NAMES,
            "actions": ACTIONS,
        },
        optional={"class": st.sampled_from(["", "image", "plugin"])},
    ),
    max_size=4,
)
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "access": GRANTS | JSON,
        **dict.fromkeys(("aud", "exp", "iat", "iss", "jti", "nbf", "sub"), JSON),
    },
)


@examples(200)
@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_token_response_is_parsed_or_rejected(body: bytes) -> None:
    try:
        shown, kind = parse_token_response(body).token.reveal(), None
    except ProtocolError as error:
        shown, kind = error.detail, error.kind
    assert shown.isprintable()
    assert kind in {None, FailureKind.TOKEN_REJECTED}


@examples(200)
@given(JSON)
def test_lifetimes_are_within_their_bounds(expires_in: Any) -> None:
    body = json.dumps({"token": "t", "expires_in": expires_in}).encode()
    try:
        lifetime_s = parse_token_response(body).expires_in_s
    except ProtocolError:
        return  # Python wrote NaN or a lone surrogate: that is not JSON
    assert MIN_LIFETIME_S <= lifetime_s <= MAX_LIFETIME_S


@examples(200)
@given(st.text(st.characters(codec=None)) | st.from_regex(r"[eyJA-Za-z0-9_.-]+"))
def test_any_text_is_claims_or_none(token: str) -> None:
    read_claims(token)
    assert access_of(token, "a/b").state in AccessState


@examples(200)
@given(CLAIMS, JSON)
@example({"access": [{"type": "repository", "name": "a/b", "actions": ["pull"]}]}, {})
def test_any_claims_are_parsed(payload: dict[str, Any], header: Any) -> None:
    access = access_of(jose.unsigned_token(header, payload), "a/b")
    assert access.actions == tuple(sorted(set(access.actions)))
    if access.actions:
        assert access.state is not AccessState.UNVERIFIABLE


@examples(200)
@given(GRANTS, NAMES)
def test_pull_is_granted_exactly_if_a_grant_of_the_repository_contains_it(
    grants: list[dict[str, Any]], repository: str
) -> None:
    expected = any(
        grant["type"].startswith("repository")
        and grant["name"] == repository
        and {"pull", "*"} & set(grant["actions"])
        for grant in grants
    )
    token = jose.unsigned_token({}, {"access": grants})
    state = access_of(token, repository).state
    assert state is (AccessState.GRANTED if expected else AccessState.DENIED)
