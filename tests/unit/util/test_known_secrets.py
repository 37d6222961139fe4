"""Secrets that a server repeats, in every form in which it may do so."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from auditor.util.secret import MAX_SECRETS, KnownSecrets, Secret

PASSWORDS = [
    "hunter",  # looks like a word
    "a",
    "correct horse battery staple",
    'quo"te\\slash/',
    "pässwörd→密码",
    "<b>&'amp;",
    "%41+&=?#/",
    "x" * 5000,
]
FORMS: dict[str, Callable[[str], str]] = {
    "itself": str,
    "JSON": json.dumps,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "Python": repr,
    "a path": quote,
    "a component": lambda text: quote(text, safe=""),
    "lower case": lambda text: quote(text, safe="").lower(),
    "a query": quote_plus,
    "HTML": html.escape,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "Basic": lambda text: base64.b64encode(f"me:{text}".encode()).decode(),
}


def masked(text: str, body: str) -> str:
    secrets = KnownSecrets()
    secrets.add(Secret(text), "me")
    return secrets.mask(body.encode()).decode()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("password", PASSWORDS, ids=lambda text: text[:12])
def test_a_repeated_password_is_masked(password: str, form: str) -> None:
    shown = FORMS[form](password)
    found = masked(password, f"no user with ({shown}) here")
    assert "***" in found
    assert f"({shown}" not in found


def test_a_short_password_is_masked_as_a_word_only() -> None:
    assert masked("a", "a cat ate a banana") == "*** cat ate *** banana"
    assert masked("hunter", "hunters hunt; hunter:hunter") == "hunters hunt; ***:***"


def test_a_long_password_is_masked_within_words() -> None:
    assert masked("correcthorse", "xcorrecthorsex") == "x***x"


def test_a_longer_secret_is_masked_before_a_part_of_it() -> None:
    secrets = KnownSecrets()
    secrets.add(Secret("password"))
    secrets.add(Secret("password-2026"))
    assert secrets.mask(b"(password-2026) (password)") == b"(***) (***)"


def test_without_secrets_nothing_is_masked() -> None:
    body = b"the registry returned an error"
    assert KnownSecrets().mask(body) is body


@pytest.mark.parametrize("token", ["opaque-1", "abc"])
def test_the_token_of_the_request_is_masked(token: str) -> None:
    found = KnownSecrets().mask(
        f"bad token {token}!".encode(), authorization=f"Bearer {token}"
    )
    assert found == b"bad token ***!"


def test_the_number_of_secrets_is_bounded() -> None:
    secrets = KnownSecrets()
    for number in range(MAX_SECRETS + 10):
        secrets.add(Secret(f"password-{number}"))
    assert len(secrets._secrets) == MAX_SECRETS
