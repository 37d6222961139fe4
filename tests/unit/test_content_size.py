"""How large content is, by the header fields of an answer without it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.wire.response import complete_length, content_length


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("0", 0),
        (" 1234 ", 1234),
        ("9223372036854775807", 2**63 - 1),
        (None, None),
        ("", None),
        ("-1", None),
        ("1, 1", None),
        ("\u0661", None),  # a digit, and not one of HTTP's
        ("9" * 5000, None),  # more than Python reads as a number
    ],
)
def test_a_length_is_digits(value: str | None, size: int | None) -> None:
    assert content_length(value) == size


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("bytes 0-0/1234", 1234),
        ("Bytes 0-0/1", 1),
        ("bytes */0", 0),
        ("bytes 0-0/*", None),
        ("items 0-0/3", None),
        ("bytes 0-0", None),
        (None, None),
        ("bytes 0-0/" + "9" * 5000, None),
    ],
)
def test_a_range_says_the_complete_length(value: str | None, size: int | None) -> None:
    assert complete_length(value) == size


@given(st.text(), st.integers(0, 2**63 - 1))
def test_any_text_is_a_length_or_none(text: str, size: int) -> None:
    assert content_length(text) is None or text.strip().isdigit()
    assert complete_length(text) is None or "/" in text
    assert content_length(str(size)) == size
    assert complete_length(f"bytes 0-0/{size}") == size
