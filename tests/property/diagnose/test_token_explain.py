from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from hypothesis import assume, example, given
from hypothesis import strategies as st

from auditor.diagnose.token_explain import (
    TokenExplanation,
    explain_token,
    explanation_lines,
    find_token,
    read_object,
)
from auditor.util.text import format_duration, safe_text
from auditor.wire.token_keys import KeySet
from tests import jose
from tests.examples import examples

KEY = jose.key_for("ES256")
KEYS = KeySet.from_bytes(jose.pem(KEY))
TOKEN = jose.token(jose.claims(), KEY, jwk=jose.jwk(KEY, kid=jose.libtrust_id(KEY)))
ARTICLE = (Path(__file__).parents[2] / "golden" / "article-token.txt").read_text()
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


def explain(text: str) -> TokenExplanation:
    """The explanation, checked to be printable as lines and as JSON."""
    explanation = explain_token(text, now=jose.NOW, keys=KEYS)
    lines = explanation_lines(explanation)
    assert lines == [safe_text(line, 100_000) for line in lines]
    shown = asdict(explanation)
    assert orjson.loads(orjson.dumps(shown)) == json.loads(
        json.dumps(shown, allow_nan=False)
    )
    return explanation


@examples(200)
@given(st.text(st.characters(codec=None)) | st.from_regex(r"ey[A-Za-z0-9_.-]+"))
def test_every_text_is_explained(text: str) -> None:
    explain(text)


@examples(200)
@given(OBJECTS, CLAIMS | OBJECTS)
def test_every_header_and_payload_is_explained(header: Any, payload: Any) -> None:
    explain(jose.unsigned_token(header, payload))


@examples(200)
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
    explanation = explain(damaged)
    assert explanation.verification is None or (
        not explanation.verification.verified or find_token(damaged)[:-1] == TOKEN[:-1]
    )


@examples(300)
@given(OBJECTS, st.data())
def test_the_members_before_a_cut_are_those_of_the_whole_object(
    value: dict[str, Any], data: st.DataObject
) -> None:
    raw = json.dumps(value, ensure_ascii=data.draw(st.booleans())).encode(
        errors="replace"
    )
    members, error, _ = read_object(raw)
    assume(error is None)
    length = data.draw(st.integers(0, len(raw) - 1))
    before, error, error_at = read_object(raw[:length])
    assert error is not None
    assert error_at is not None
    assert error_at <= length
    assert list(before.items()) == list(members.items())[: len(before)]


def _int_as_orjson(text: str) -> int | float:
    """orjson makes a float of an integer that does not fit into 64 bits."""
    number = int(text)
    return number if -(2**63) <= number < 2**64 else float(text)


@examples(200)
@given(st.binary() | OBJECTS.map(lambda value: json.dumps(value).encode()))
@example(b'{"exp":-9223372036854775809}')
def test_an_object_without_error_is_equal_to_what_json_reads(raw: bytes) -> None:
    members, error, _ = read_object(raw)
    if error is None:
        assert members == json.loads(raw, parse_int=_int_as_orjson)


@examples(200)
@given(st.floats(min_value=0, allow_nan=False))
def test_every_duration_has_one_or_two_units(duration_s: float) -> None:
    assert len(format_duration(duration_s).split()) in {2, 4}
