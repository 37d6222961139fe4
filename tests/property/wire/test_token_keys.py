from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from auditor.errors import ProtocolError
from auditor.oci.jws import JwsError, jwk_of, public_key
from auditor.wire.token_keys import KeySet, verify_token
from tests import jose
from tests.examples import examples

KEY = jose.key_for("ES256")
KEYS = KeySet.from_bytes(jose.pem(KEY))
TOKEN = jose.token(jose.claims(), KEY, kid=jose.libtrust_id(KEY))
TEXT = st.text(max_size=12) | st.from_regex(r"[A-Za-z0-9_-]{0,50}", fullmatch=True)
JWKS = st.fixed_dictionaries(
    {"kty": st.sampled_from(["EC", "RSA", "OKP", "oct"])},
    optional={
        "crv": st.sampled_from(["P-256", "P-384", "secp256k1", "Ed25519", "X25519", ""])
        | TEXT,
        "x": TEXT,
        "y": TEXT,
        "n": TEXT,
        "e": TEXT,
        "kid": TEXT,
    },
)
VALID_JWKS = [
    jwk_of(jose.key_for(name).public_key()) for name in ("ES256", "ES384", "EdDSA")
]
# Of a valid key, as it is or with one member replaced.
NEARLY_JWKS = st.builds(
    lambda jwk, changes: {**jwk, **changes},
    st.sampled_from(VALID_JWKS),
    st.dictionaries(st.sampled_from(["crv", "x", "y", "kid"]), TEXT, max_size=1),
)
HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "jwk", "x5c", "crit", "jku"]),
    st.none() | st.integers() | TEXT | st.lists(TEXT, max_size=3) | JWKS,
)


def verified(token: str) -> bool:
    return verify_token(token, KEYS, audience=None, now=jose.NOW).verified


@examples(200)
@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="ascii"))
def test_a_token_with_a_changed_character_is_not_verified(
    at: int, character: str
) -> None:
    # Four bits of the last character of a 64-byte signature are not used.
    assume(at != len(TOKEN) - 1)
    assume(TOKEN[at] != character)
    assert not verified(TOKEN[:at] + character + TOKEN[at + 1 :])


@examples(200)
@given(st.integers(0, len(TOKEN) - 1))
def test_a_truncated_token_is_not_verified(length: int) -> None:
    assert not verified(TOKEN[:length])


@examples(300)
@given(HEADERS, st.binary(max_size=70))
def test_no_header_forges_a_token(header: dict[str, Any], signature: bytes) -> None:
    token = jose.unsigned_token(header, jose.claims(), jose.b64(signature))
    assert not verified(token)


@examples(300)
@given(JWKS | NEARLY_JWKS)
@example(VALID_JWKS[0])
def test_any_jwk_is_a_key_or_an_error(jwk: dict[str, Any]) -> None:
    try:
        key = public_key(jwk)
    except JwsError as error:
        clause = str(error)
    else:
        clause = ""
        assert public_key(jwk_of(key)) == key
    assert clause.isprintable()


@examples(300)
@given(
    st.binary()
    | st.lists(JWKS, max_size=3).map(lambda keys: json.dumps({"keys": keys}).encode())
    | st.integers(0, 200).map(lambda at: jose.pem(KEY)[:at] + jose.pem(KEY)[at + 1 :])
)
def test_any_key_file_is_read_or_refused(data: bytes) -> None:
    try:
        read = KeySet.from_bytes(data).keys
    except ProtocolError as error:
        read = ()
        refused = error.detail.startswith("the token keys cannot be used: ")
    else:
        refused = False
    assert refused is not bool(read)
