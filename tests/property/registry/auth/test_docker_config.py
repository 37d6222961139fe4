"""Properties of the parsers for docker's config.json and for helpers."""

from __future__ import annotations

import base64
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import Failure, ProtocolError, UsageError
from auditor.registry.auth.credential_helper import parse_helper_output
from auditor.registry.auth.docker_config import (
    CredentialHelper,
    FoundCredential,
    parse_docker_config,
)
from auditor.util.text import safe_text
from auditor.wire.credential import Login, is_password, is_password_of, is_username
from auditor.wire.token import is_bearer_token
from tests.examples import examples

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
PAIRS = st.builds(
    lambda user, password: base64.b64encode(f"{user}:{password}".encode()).decode(),
    USERNAMES,
    PASSWORDS,
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "auth": PAIRS | JSON,
        "username": USERNAMES | JSON,
        "password": PASSWORDS | JSON,
        "identitytoken": PASSWORDS | JSON,
        "registrytoken": st.sampled_from(["abc.def", "a b"]) | JSON,
    },
)
HELPERS = st.sampled_from(["pass", "ecr-login", "../x"]) | JSON
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "auths": st.dictionaries(st.sampled_from([HOST, "other"]), ENTRIES),
        "credHelpers": st.dictionaries(st.sampled_from([HOST, "other"]), HELPERS),
        "credsStore": HELPERS,
    },
)


@examples(200)
@given(USERNAMES, PASSWORDS)
def test_every_login_that_docker_writes_is_read_back(
    username: str, password: str
) -> None:
    pair = base64.b64encode(f"{username}:{password}".encode()).decode()
    data = json.dumps({"auths": {HOST: {"auth": pair}}}).encode()
    (found,) = parse_docker_config(data, "config.json").candidates(HOST)
    assert isinstance(found, FoundCredential)
    assert isinstance(found.credential, Login)
    assert (found.credential.username, found.credential.password.reveal()) == (
        username,
        password,
    )


@examples(300)
@given(CONFIGS | st.dictionaries(KEYS, JSON, max_size=3))
def test_any_json_is_parsed_or_refused_with_its_location(document: object) -> None:
    sentence, found = "config.json", []
    try:
        data = json.dumps(document).encode()
        found = list(parse_docker_config(data, sentence).candidates(HOST, "team/app"))
    except UsageError as refusal:
        sentence = str(refusal)
    assert sentence.startswith("config.json")
    for candidate in found:
        match candidate:
            case FoundCredential(credential=Login() as login):
                assert is_username(login.username)
                assert is_password_of(login.username, login.password.reveal())
            case FoundCredential(credential=token):
                assert not isinstance(token, Login)
                assert is_bearer_token(token.token.reveal())
            case CredentialHelper():
                assert re.fullmatch(r"[A-Za-z0-9._-]+", candidate.name)
            case Failure():
                assert safe_text(candidate.detail, 1000) == candidate.detail


@examples(200)
@given(st.binary(max_size=40))
def test_any_bytes_are_parsed_or_refused_with_their_location(data: bytes) -> None:
    sentence = "config.json"
    try:
        parse_docker_config(data, sentence)
    except UsageError as refusal:
        sentence = str(refusal)
    assert sentence.startswith("config.json")


# -- namespaces of a registry ----------------------------------------------------

NAMESPACES = st.lists(st.sampled_from(["a", "b", "c"]), max_size=4).map("/".join)


@examples(200)
@given(st.sets(NAMESPACES, max_size=6), NAMESPACES)
def test_of_all_namespaces_the_longest_matching_one_is_used(
    named: set[str], repository: str
) -> None:
    auths = {
        f"{HOST}/{namespace}".rstrip("/"): {
            "auth": base64.b64encode(f"u{namespace}:p".encode()).decode()
        }
        for namespace in named
    }
    data = json.dumps({"auths": auths}).encode()
    first = next(
        parse_docker_config(data, "config.json").candidates(HOST, repository), None
    )
    matching = [
        namespace
        for namespace in named
        if not namespace or f"{repository}/".startswith(f"{namespace}/")
    ]
    assert (first is None) == (not matching)
    if isinstance(first, FoundCredential):
        assert first.credential.username == f"u{max(matching, key=len)}"


# -- the output of a credential helper -------------------------------------------

FIELDS = st.none() | st.integers() | st.text(max_size=12) | st.just("<token>")


@examples(200)
@given(
    st.binary(max_size=40)
    | st.fixed_dictionaries({"Username": FIELDS, "Secret": FIELDS}).map(
        lambda output: json.dumps(output).encode()
    )
)
def test_any_output_of_a_helper_is_a_credential_none_or_a_protocol_error(
    output: bytes,
) -> None:
    login, sentence = None, ""
    try:
        login = parse_helper_output(output)
    except ProtocolError as refusal:
        sentence = refusal.detail
    assert safe_text(sentence, 1000) == sentence
    if isinstance(login, Login):
        assert is_username(login.username)
        assert login.password
    elif login is not None:
        assert is_bearer_token(login.token.reveal())
