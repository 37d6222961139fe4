from __future__ import annotations

import pytest

from auditor.util.text import safe_text, safe_url


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain text, with accents: é, 日本", "plain text, with accents: é, 日本"),
        ("two\nlines\r\n", r"two\nlines\r\n"),
        ("tab\there", r"tab\there"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x00\x7f\x80\x9b", r"\x00\x7f\x80\x9b"),
        ("a\u202eb\u2066c\u2069", r"a\u202eb\u2066c\u2069"),
        ("\u200e\u200f\u200b\ufeff\u2060", r"\u200e\u200f\u200b\ufeff\u2060"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\ud800 alone", r"\ud800 alone"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_cannot_be_seen_becomes_visible(text: str, shown: str) -> None:
    assert safe_text(text) == shown


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("12345", 5, "12345"),
        ("123456", 5, "1234…"),
        ("\x1b\x1b", 5, r"\x1b…"),
        ("123456", 1, "…"),
        ("x" * 10_000_000, 3, "xx…"),
    ],
)
def test_long_text_is_cut_with_an_ellipsis(text: str, limit: int, shown: str) -> None:
    assert safe_text(text, limit) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h.example/v2/", "https://h.example/v2/"),
        ("https://h.example:5000/a?token=x#y", "https://h.example:5000/a"),
        ("https://user:pw@h.example/a", "https://h.example/a"),
        ("https://user:p@w@h.example/a", "https://h.example/a"),
        ("https://[::1]:5000/v2/?x=1", "https://[::1]:5000/v2/"),
        ("//user:pw@h.example/a", "//h.example/a"),
        ("/v2/a/tags/list?last=b", "/v2/a/tags/list"),
        ("https:user:pw@h.example/a", "https:h.example/a"),
        ("https:////user:pw@h.example/a", "https:h.example/a"),
        ("https://user:p/w@h.example/a", "(unreadable URL)"),
        ("https://user:p?w@h.example/a", "(unreadable URL)"),
        ("https://[::1/a", "(unreadable URL)"),
        ("https://h.example/\x1b[2J", r"https://h.example/\x1b[2J"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert safe_url(url) == shown
