from __future__ import annotations

import base64
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.errors import UsageError
from auditor.protocol.credential import Credential, is_password, is_username
from auditor.protocol.docker_config import Unusable, parse_docker_config
from auditor.safe_text import safe_text

HOST = "dtr.example.com"
CHARS = st.characters(exclude_categories=("Cs", "Cc"))
USERNAMES = st.text(CHARS, min_size=1, max_size=12).filter(is_username)
PASSWORDS = st.text(CHARS, min_size=1, max_size=24).filter(is_password)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["auth", "username", "password", "identitytoken", HOST]),
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
    found = parse_docker_config(data, "config.json").find(HOST)
    assert isinstance(found, Credential)
    assert (found.username, found.password.reveal()) == (username, password)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=3))
def test_any_json_is_read_or_refused_with_its_place(document: object) -> None:
    sentence, found = "config.json", None
    try:
        data = json.dumps(document).encode()
        found = parse_docker_config(data, sentence).find(HOST)
    except UsageError as refusal:
        sentence = str(refusal)
    assert sentence.startswith("config.json")
    if isinstance(found, Credential):
        assert is_username(found.username)
        assert is_password(found.password.reveal())
    elif isinstance(found, Unusable):
        assert safe_text(found.detail, 1000) == found.detail


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused_with_their_place(data: bytes) -> None:
    sentence = "config.json"
    try:
        parse_docker_config(data, sentence)
    except UsageError as refusal:
        sentence = str(refusal)
    assert sentence.startswith("config.json")
