from __future__ import annotations

import pytest

from auditor.diagnose.token_explain import find_token


@pytest.mark.parametrize(
    "text",
    [
        "eyJh.eyJi.c2ln",
        "  eyJh.eyJi.c2ln\n",
        "\ufeffeyJh.eyJi.c2ln\r\n",
        "Bearer eyJh.eyJi.c2ln",
        "bearer  eyJh.eyJi.c2ln",
        "Authorization: Bearer eyJh.eyJi.c2ln",
        '-H "Authorization: Bearer eyJh.eyJi.c2ln"',
        "token=eyJh.eyJi.c2ln",
        "export TOKEN='eyJh.eyJi.c2ln';",
        "access_token: eyJh.eyJi.c2ln",
        '"eyJh.eyJi.c2ln",',
        "`eyJh.eyJi.c2ln`",
        "eyJh.ey\nJi.c2\r\n  ln",
        "eyJh.\u200beyJi.c2\u00adln",
        '{"token":"eyJh.eyJi.c2ln"}',
        '{"expires_in":300,"access_token" : "eyJh.eyJi.c2ln"}',
        '{"token":"eyJh.eyJi.c2ln","expires',
        '{"token":"eyJh.eyJi.c2ln',
    ],
)
def test_a_token_is_found_in_what_stands_around_it(text: str) -> None:
    assert find_token(text).token == "eyJh.eyJi.c2ln"


@pytest.mark.parametrize("text", ["", " \n", '""', "Bearer ", "token="])
def test_nothing_is_found_where_there_is_none(text: str) -> None:
    assert find_token(text).token == ""


@pytest.mark.parametrize("text", ["djE6b3BhcXVl", "tokenish", "bearerless", "{"])
def test_opaque_tokens_stay_as_they_are(text: str) -> None:
    assert find_token(text).token == text


def test_slashes_of_a_json_answer_are_unescaped() -> None:
    assert find_token('{"token":"a\\/b=="}').token == "a/b=="


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("abc", ()),
        ("Bearer abc", ("What stood around the token was left out.",)),
        ("a\nbc", ("Blanks and line breaks inside the token were left out.",)),
        ('{"token":"abc"}', ("The token was taken out of a JSON answer.",)),
    ],
)
def test_it_says_what_it_left_out(text: str, notes: tuple[str, ...]) -> None:
    assert find_token(text).notes == notes
