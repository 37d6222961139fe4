from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditor.util.secret import Secret


@given(st.text(), st.text())
def test_secrets_are_equal_exactly_when_their_texts_are(one: str, other: str) -> None:
    assert (Secret(one) == Secret(other)) is (one == other)
    assert Secret(one) == Secret(one)
    assert hash(Secret(one)) == hash(Secret(one))


@given(st.text(min_size=4))
def test_every_secret_looks_the_same(text: str) -> None:
    assert {repr(Secret(text)), f"{Secret(text)}"} == {"Secret(***)", "***"}
