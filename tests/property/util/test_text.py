from __future__ import annotations

import unicodedata
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.util.text import safe_text, safe_url, terminal_safe_json

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


# C0, C1, DEL, format (bidirectional and invisible), line and paragraph separators.
ACTING = {"Cc", "Cf", "Zl", "Zp"}


@given(st.text(), st.text())
def test_json_for_a_terminal_has_the_same_values_and_no_controls(
    name: str, text: str
) -> None:
    document = {name: [text, "\u009b31m", 1]}
    safe = terminal_safe_json(orjson.dumps(document))
    assert orjson.loads(safe) == document
    assert not {unicodedata.category(char) for char in safe.decode()} & ACTING
    assert terminal_safe_json(safe) == safe


@pytest.mark.parametrize(
    "char",
    # CSI, NEL and other C1; DEL; Trojan Source (CVE-2021-42574); LS and PS; the byte
    # order mark; a tag character, which needs a surrogate pair (RFC 8259 section 7).
    [
        *("\x7f", "\x80", "\x85", "\x9b", "\x9f", "\xad", "\u061c"),
        *("\u200b", "\u200e", "\u202a", "\u202e", "\u2066", "\u2069"),
        *("\u2028", "\u2029", "\ufeff", "\U000e0041"),
    ],
    ids=lambda char: f"{ord(char):04X}",
)
def test_a_character_that_acts_on_a_terminal_is_escaped_in_json(char: str) -> None:
    safe = terminal_safe_json(orjson.dumps([f"a{char}é"]))
    assert orjson.loads(safe) == [f"a{char}é"]
    assert char not in safe.decode()
    assert "é" in safe.decode()
