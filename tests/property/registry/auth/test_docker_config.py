from __future__ import annotations

import base64
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.errors import ProtocolError, UsageError
from auditor.registry.auth.docker_config import (
    Helper,
    Kept,
    Unusable,
    is_helper_name,
    parse_docker_config,
    parse_helper_answer,
)
from auditor.util.text import safe_text
from auditor.wire.login import Credential, is_password, is_password_of, is_username
from auditor.wire.token import is_bearer_token

HOST = "dtr.example.com"
CHARS = st.characters(exclude_categories=("Cs", "Cc"))
USERNAMES = st.text(CHARS, min_size=1, max_size=12).filter(is_username)
PASSWORDS = st.text(CHARS, min_size=1, max_size=24).filter(is_password)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["auth", "username", "password", "identitytoken", "registrytoken", HOST]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(["auths", "credsStore", "credHelpers", "other"])


@settings(max_examples=200, deadline=None)
@given(USERNAMES, PASSWORDS)
def test_every_login_that_docker_can_write_is_read_back(
    username: str, password: str
) -> None:
    pair = base64.b64encode(f"{username}:{password}".encode()).decode()
    data = json.dumps({"auths": {HOST: {"auth": pair}}}).encode()
    (found,) = parse_docker_config(data, "config.json").ways(HOST)
    assert isinstance(found, Kept)
    assert isinstance(found.login, Credential)
    assert (found.login.username, found.login.password.reveal()) == (username, password)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=3))
def test_any_json_is_read_or_refused_with_its_place(document: object) -> None:
    sentence, found = "config.json", []
    try:
        data = json.dumps(document).encode()
        found = list(parse_docker_config(data, sentence).ways(HOST, "team/app"))
    except UsageError as refusal:
        sentence = str(refusal)
    assert sentence.startswith("config.json")
    for way in found:
        match way:
            case Kept(login=Credential() as login):
                assert is_username(login.username)
                assert is_password_of(login.username, login.password.reveal())
            case Kept(login=token):
                assert not isinstance(token, Credential)
                assert is_bearer_token(token.token.reveal())
            case Helper():
                assert is_helper_name(way.name)
            case Unusable():
                assert safe_text(way.detail, 1000) == way.detail


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused_with_their_place(data: bytes) -> None:
    sentence = "config.json"
    try:
        parse_docker_config(data, sentence)
    except UsageError as refusal:
        sentence = str(refusal)
    assert sentence.startswith("config.json")


# -- parts of a registry ---------------------------------------------------------

PARTS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=4).map("/".join)


@settings(max_examples=200, deadline=None)
@given(st.sets(PARTS, max_size=6), PARTS)
def test_of_many_parts_the_longest_that_holds_a_repository_is_taken(
    named: set[str], repository: str
) -> None:
    auths = {
        f"{HOST}/{part}".rstrip("/"): {
            "auth": base64.b64encode(f"u{part}:p".encode()).decode()
        }
        for part in named
    }
    data = json.dumps({"auths": auths}).encode()
    first = next(parse_docker_config(data, "config.json").ways(HOST, repository), None)
    around = [
        part for part in named if not part or f"{repository}/".startswith(f"{part}/")
    ]
    assert (first is None) == (not around)
    if isinstance(first, Kept):
        assert first.login.username == f"u{max(around, key=len)}"


# -- what a helper answers -------------------------------------------------------

FIELDS = st.none() | st.integers() | st.text(max_size=12) | st.just("<token>")


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=40)
    | st.fixed_dictionaries({"Username": FIELDS, "Secret": FIELDS}).map(
        lambda answer: json.dumps(answer).encode()
    )
)
def test_any_answer_of_a_helper_is_a_login_none_or_a_refusal(output: bytes) -> None:
    login, sentence = None, ""
    try:
        login = parse_helper_answer(output)
    except ProtocolError as refusal:
        sentence = refusal.detail
    assert safe_text(sentence, 1000) == sentence
    if isinstance(login, Credential):
        assert is_username(login.username)
        assert login.password
    elif login is not None:
        assert is_bearer_token(login.token.reveal())
