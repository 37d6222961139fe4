from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.diagnose.token_explain import (
    TokenReading,
    find_token,
    read_object,
    read_token,
    to_json,
    to_lines,
)
from auditor.oci.jws import KeySet
from auditor.util.text import duration_words, safe_text
from tests import jose

KEY = jose.key_for("ES256")
KEYS = KeySet.from_bytes(jose.pem(KEY))
TOKEN = jose.token(jose.claims(), KEY, jwk=jose.jwk(KEY, kid=jose.libtrust_id(KEY)))
ARTICLE = (Path(__file__).parents[1] / "golden" / "article-token.txt").read_text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=8), JSON, max_size=5)
TIMES = st.floats(allow_nan=False) | st.integers(-(10**12), 10**12)
CLAIMS = st.fixed_dictionaries(
    {}, optional={"access": JSON, "exp": TIMES, "nbf": TIMES, "iat": TIMES, "sub": JSON}
)


def read(text: str) -> TokenReading:
    """The reading, which has to be presentable whatever the token."""
    reading = read_token(text, now=jose.NOW, keys=KEYS)
    lines = to_lines(reading)
    assert reading.findings
    assert lines == [safe_text(line, 100_000) for line in lines]
    assert orjson.loads(orjson.dumps(to_json(reading))) == json.loads(
        json.dumps(to_json(reading), allow_nan=False)
    )
    return reading


@settings(max_examples=200)
@given(st.text(st.characters(codec=None)) | st.from_regex(r"ey[A-Za-z0-9_.-]+"))
def test_every_text_is_explained(text: str) -> None:
    read(text)


@settings(max_examples=200)
@given(OBJECTS, CLAIMS | OBJECTS)
def test_every_header_and_payload_is_explained(header: Any, payload: Any) -> None:
    read(jose.unsigned_token(header, payload))


@settings(max_examples=200)
@given(
    st.sampled_from([TOKEN, ARTICLE]),
    st.data(),
    st.text(st.characters(codec="ascii"), max_size=2),
)
def test_every_damage_is_explained_and_none_is_verified(
    token: str, data: st.DataObject, patch: str
) -> None:
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, min(len(token), start + 5)))
    damaged = token[:start] + patch + token[end:]
    reading = read(damaged)
    assert reading.verification is None or (
        not reading.verification.verified
        or find_token(damaged).token[:-1] == TOKEN[:-1]
    )


@settings(max_examples=300)
@given(OBJECTS, st.data())
def test_the_members_before_a_cut_are_those_of_the_whole(
    value: dict[str, Any], data: st.DataObject
) -> None:
    raw = json.dumps(value, ensure_ascii=data.draw(st.booleans())).encode(
        errors="replace"
    )
    whole = read_object(raw)
    assert whole.error is None
    length = data.draw(st.integers(0, len(raw) - 1))
    part = read_object(raw[:length])
    assert part.error is not None
    assert part.error_at is not None
    assert part.error_at <= length
    assert repr(list(part.members.items())) == repr(
        list(whole.members.items())[: len(part.members)]
    )


@settings(max_examples=200)
@given(st.binary())
def test_an_object_without_error_is_what_json_says(raw: bytes) -> None:
    found = read_object(raw)
    if found.error is None:
        assert repr(found.members) == repr(json.loads(raw))


@settings(max_examples=200)
@given(st.floats(min_value=0, allow_nan=False))
def test_every_duration_has_one_or_two_units(duration_s: float) -> None:
    assert len(duration_words(duration_s).split()) in {2, 4}
