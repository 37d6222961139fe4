from __future__ import annotations

import re
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from auditor.wire.error_body import error_sentence
from tests.examples import examples

KEYS = st.sampled_from(["errors", "code", "message", "detail", "error", "x"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(0, 999) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)
CONTENT_TYPES = st.sampled_from(
    [None, "", "text/html", "application/json", "text/plain"]
)


def check(body: bytes, content_type: str | None, status: int) -> None:
    sentence = error_sentence(body, content_type=content_type, status=status)
    assert len(sentence) <= 200
    assert len(sentence.splitlines()) <= 1
    sentence.encode("utf-8")
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", sentence)


@examples(300)
@given(DOCUMENTS, CONTENT_TYPES)
def test_any_json_gives_a_safe_sentence(
    document: Any, content_type: str | None
) -> None:
    check(orjson.dumps(document), content_type, 400)


@given(st.binary() | st.text().map(str.encode), CONTENT_TYPES, st.integers(0, 999))
def test_any_bytes_give_a_safe_sentence(
    body: bytes, content_type: str | None, status: int
) -> None:
    check(body, content_type, status)
