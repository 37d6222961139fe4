from __future__ import annotations

import unicodedata
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from auditor.util.text import safe_text, safe_url

ANY_TEXT = st.text(st.characters(exclude_categories=()))
WORDS = st.text("abcdefXYZ0123456789", min_size=8, max_size=20)


@given(ANY_TEXT, st.integers(1, 60))
def test_safe_text_is_one_short_printable_line(text: str, limit: int) -> None:
    shown = safe_text(text, limit)
    assert len(shown) <= limit
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")
    categories = {unicodedata.category(char) for char in shown}
    assert not categories & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(ANY_TEXT, st.integers(1, 60))
def test_safe_text_is_idempotent(text: str, limit: int) -> None:
    shown = safe_text(text, limit)
    assert safe_text(shown, limit) == shown


@given(
    st.text(st.characters(categories=["L", "N", "P", "S"]) | st.just(" "), max_size=200)
)
def test_printable_text_is_unchanged(text: str) -> None:
    assert safe_text(text) == text


@given(st.text())
def test_safe_url_never_raises(url: str) -> None:
    assert len(safe_url(url)) <= 200


@given(WORDS, WORDS, WORDS, WORDS)
def test_safe_url_has_no_userinfo_query_or_fragment(
    user: str, password: str, query: str, fragment: str
) -> None:
    user, password, query, fragment = (
        "u" + user,
        "p" + password,
        "q" + query,
        "f" + fragment,
    )
    shown = safe_url(
        f"https://{quote(user)}:{quote(password)}@h.example/path?a={query}#{fragment}"
    )
    assert shown == "https://h.example/path"
