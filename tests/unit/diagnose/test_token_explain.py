from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.diagnose.token_explain import (
    TokenExplanation,
    TokenForm,
    explain_token,
    explanation_lines,
    find_token,
    read_object,
)
from auditor.wire.token_keys import KeySet
from tests import jose
from tests.jose import NOW

GOLDEN = Path(__file__).parents[2] / "golden"
# The token in Docker's knowledge base article "How do I use API V2 with DTR?" (2016).
# One of its characters was changed before it was published.
ARTICLE = (GOLDEN / "article-token.txt").read_text()
KEY, OTHER = jose.key_for("ES256"), jose.key_for("ES256", 1)
LIBTRUST_ID = jose.libtrust_id(KEY)


def explain(text: str, **options: Any) -> TokenExplanation:
    return explain_token(text, now=NOW, **options)


def lines(token: str) -> str:
    return "\n".join(explanation_lines(explain(token)))


# -- the article's token -------------------------------------------------------


def test_the_articles_token_is_explained_as_far_as_it_can_be_read() -> None:
    expected = (GOLDEN / "article-token.explained.txt").read_text()
    assert lines(ARTICLE) + "\n" == expected


def test_the_articles_token_is_explained_in_json() -> None:
    explained = json.dumps(asdict(explain(ARTICLE)), indent=2) + "\n"
    assert explained == (GOLDEN / "article-token.explained.json").read_text()


def test_the_four_findings_of_the_articles_token() -> None:
    assert not explain(ARTICLE).intact
    assert list(explain(ARTICLE).findings) == [
        "The header is intact.",
        "The key id NNZX:KH7V:FBJT:4BAH:WEYL:F2V4:RHWJ:ADF3:UAAE:7JEP:6TAU:FCAO"
        " matches the key in the header.",
        "The payload is damaged: it stops being JSON at byte 129, 'P'."
        " Readable before that: access, aud.",
        "The signature does not verify with the key in the header.",
    ]


def test_the_articles_token_is_not_verified_by_its_own_key() -> None:
    header = explain(ARTICLE).header
    assert header is not None
    own = json.dumps(header.members["jwk"]).encode()
    assert list(explain(ARTICLE, keys=KeySet.from_bytes(own)).findings)[-1] == (
        "The token is not verified: the token is not a readable JWT."
    )


# -- intact tokens -------------------------------------------------------------


def signed_token(**header: Any) -> str:
    return jose.token(jose.claims(), KEY, **header)


UNCHECKED = "The signature is unchecked"
VERIFIES = "The signature verifies with the key in the header, which does not prove"
DIFFERS = "The signature does not verify with the key in the header."


@pytest.mark.parametrize(
    ("header", "key", "signature"),
    [
        ({}, None, UNCHECKED),
        ({"kid": "k"}, None, UNCHECKED),
        (
            {"jwk": jose.jwk(KEY, kid=LIBTRUST_ID)},
            f"The key id {LIBTRUST_ID} matches the key in the header.",
            VERIFIES,
        ),
        (
            {"jwk": jose.jwk(KEY), "kid": LIBTRUST_ID},
            f"The key id {LIBTRUST_ID} matches the key in the header.",
            VERIFIES,
        ),
        (
            {"jwk": jose.jwk(KEY, kid=jose.thumbprint(KEY))},
            f"The key id {jose.thumbprint(KEY)} matches the key in the header.",
            VERIFIES,
        ),
        (
            {"jwk": jose.jwk(OTHER, kid=LIBTRUST_ID)},
            f"The key id {LIBTRUST_ID} is not that of the key in the header.",
            DIFFERS,
        ),
        (
            {"jwk": jose.jwk(KEY, kid="mine")},
            "The key id mine is not that of the key in the header.",
            VERIFIES,
        ),
        (
            {"jwk": {"kty": "EC"}},
            "The key in the header is damaged or of an unknown type.",
            UNCHECKED,
        ),
    ],
    ids=[
        "no-key",
        "key-id-alone",
        "libtrust-id-in-jwk",
        "libtrust-id-in-header",
        "rfc7638-thumbprint",
        "signed-by-another-key",
        "another-key-id",
        "damaged-key",
    ],
)
def test_findings_are_in_the_order_of_the_token(
    header: dict[str, Any], key: str | None, signature: str
) -> None:
    explanation = explain(signed_token(**header))
    assert explanation.intact
    *before, last = explanation.findings
    assert before == [
        "The header is intact.",
        *([] if key is None else [key]),
        "The payload is intact.",
    ]
    assert last.startswith(signature)


@pytest.mark.parametrize(
    ("trusted", "finding"),
    [
        (KEY, f"The token is verified: signed by the trusted key {LIBTRUST_ID}."),
        (OTHER, "The token is not verified: the signature does not"),
    ],
)
def test_with_keys_the_token_is_verified(
    trusted: jose.PrivateKey, finding: str
) -> None:
    explanation = explain(signed_token(), keys=KeySet.from_bytes(jose.pem(trusted)))
    assert explanation.findings[-1].startswith(finding)


def test_the_audience_is_verified_if_it_is_given() -> None:
    keys = KeySet.from_bytes(jose.pem(KEY))
    verification = explain(signed_token(), keys=keys, audience="x").verification
    assert verification is not None
    assert not verification.verified


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"exp": NOW + 298},
            "expires     2026-11-24 00:24:58 UTC (expires in 4 minutes 58 seconds)",
        ),
        (
            {"exp": NOW - 335_496_348},
            "expires     2016-04-06 22:54:12 UTC (expired 10 years 7 months ago)",
        ),
        ({"exp": "-"}, "expires     unknown: no readable exp claim"),
        ({"exp": "soon"}, "expires     unknown: no readable exp claim"),
        ({"nbf": NOW + 60}, "not before  2026-11-24 00:21:00 UTC"),
        ({"access": []}, "grants      nothing"),
        ({"access": None}, "grants      nothing"),
        ({"access": "-"}, "grants      unknown: no readable access claim"),
        ({"access": "x"}, "grants      unknown: no readable access claim"),
        ({}, "grants      pull on repository a/b"),
        (
            {"access": [{"type": "registry", "name": "catalog", "actions": ["*"]}]},
            "grants      * on registry catalog",
        ),
        (
            {"access": [{"type": "repository", "name": "a", "class": "plugin"}]},
            "grants      no action on repository(plugin) a",
        ),
    ],
)
def test_times_and_grants_have_a_line_each(changes: dict[str, Any], line: str) -> None:
    token = jose.unsigned_token({"alg": "ES256"}, jose.claims(**changes))
    assert line in lines(token).splitlines()


# -- tokens that are not readable JWTs -----------------------------------------


@pytest.mark.parametrize(
    ("text", "form", "finding"),
    [
        ("", TokenForm.EMPTY, "There is no token."),
        ("djE6b3BhcXVl", TokenForm.OPAQUE, "The token is opaque or encrypted"),
        ("a.b.c", TokenForm.OPAQUE, "The token is opaque or encrypted"),
        (
            jose.b64(b'{"alg":"RSA-OAEP","enc":"A256GCM"}') + ".a.b.c.d",
            TokenForm.OPAQUE,
            "The token is opaque or encrypted",
        ),
    ],
)
def test_a_token_that_is_not_a_jwt_is_recognised(
    text: str, form: TokenForm, finding: str
) -> None:
    explanation = explain(text, keys=KeySet.from_bytes(jose.pem(KEY)))
    assert explanation.form is form
    (only,) = explanation.findings
    assert only.startswith(finding)
    assert not explanation.intact


HEADER, PAYLOAD, SIGNATURE = signed_token().split(".")
CUT = PAYLOAD[: len(PAYLOAD) // 2]
NO_SIGNATURE = "The signature is missing or damaged."


@pytest.mark.parametrize(
    ("token", "finding"),
    [
        (HEADER, "The payload is missing."),
        (HEADER + "." + PAYLOAD, NO_SIGNATURE),
        (f"{HEADER}.{PAYLOAD}.", NO_SIGNATURE),
        (f"{HEADER}.{PAYLOAD}.a", NO_SIGNATURE),
        (f"{HEADER}.{PAYLOAD}.a!", NO_SIGNATURE),
        (f"{HEADER}.{PAYLOAD}.{SIGNATURE}.x", NO_SIGNATURE),
        (f"{HEADER}.{CUT}", "The payload is damaged: it is cut off"),
        (f"{HEADER}..x", "The payload is damaged: it is empty."),
        (
            f"{HEADER}.{PAYLOAD[:8]}%{PAYLOAD[9:]}.{SIGNATURE}",
            "The payload is damaged: it stops being base64url at character 8.",
        ),
        (
            f"{HEADER[:-8]}.{PAYLOAD}.{SIGNATURE}",
            "The header is damaged: it is cut off after",
        ),
        (
            f"{HEADER}.{jose.b64(b'[]')}.{SIGNATURE}",
            "The payload is damaged: it is not a JSON object",
        ),
        (
            f"{HEADER}.{jose.b64(b'{}')}=.{SIGNATURE}",
            "The payload is damaged: it stops being base64url at character 3.",
        ),
        (
            f"{HEADER}.{jose.b64(b'{   }    ')}A.{SIGNATURE}",
            "The payload is damaged: it has one character too many",
        ),
    ],
)
def test_a_damaged_token_is_read_as_far_as_possible(token: str, finding: str) -> None:
    explanation = explain(token)
    assert any(one.startswith(finding) for one in explanation.findings)
    assert not explanation.intact


def test_grants_before_the_damage_are_shown() -> None:
    payload = json.dumps(jose.claims()).replace('"aud"', "aud").encode()
    shown = lines(f"{HEADER}.{jose.b64(payload)}.{SIGNATURE}").splitlines()
    assert "grants      pull on repository a/b" in shown
    assert "expires     unknown: no readable exp claim" in shown


# -- output --------------------------------------------------------------------


def test_lines_are_safe_for_terminals() -> None:
    unsafe = "\x1b[2J\u202e\n"
    token = jose.unsigned_token(
        {"alg": unsafe, "kid": unsafe, unsafe: 1},
        jose.claims(
            sub=unsafe,
            iss=unsafe,
            aud=[unsafe],
            jti=unsafe,
            access=[
                {"type": unsafe, "name": unsafe, "class": unsafe, "actions": [unsafe]}
            ],
        ),
    )
    for text in (token, token.replace(".", "x.", 1)):
        shown = explanation_lines(explain(text))
        assert all(line.isprintable() for line in shown), shown


def test_neither_token_nor_signature_are_shown() -> None:
    explanation = explain(signed_token(), keys=KeySet.from_bytes(jose.pem(KEY)))
    for shown in (
        json.dumps(asdict(explanation)),
        "\n".join(explanation_lines(explanation)),
    ):
        assert SIGNATURE not in shown
        assert PAYLOAD not in shown
    assert "hush" not in lines("hush") + repr(asdict(explain("hush")))


@pytest.mark.parametrize("token", ["", "opaque", HEADER, signed_token(), ARTICLE])
def test_the_json_has_the_same_keys_for_every_token(token: str) -> None:
    assert list(asdict(explain(token))) == [
        "form",
        "explained_at",
        "header",
        "payload",
        "signature_bytes",
        "embedded_key",
        "claims",
        "verification",
        "intact",
        "findings",
    ]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"sub":"\\ud800","\\udfff":["\\ud800"]}',
        b'{"a":NaN,"exp":1e999,"iat":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"a":' + b'{"a":' * 300 + b"1" + b"}" * 301,
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_the_json_can_be_written_for_any_payload(payload: bytes) -> None:
    shown = asdict(explain(f"{HEADER}.{jose.b64(payload)}.{SIGNATURE}"))
    assert orjson.loads(orjson.dumps(shown)) == json.loads(
        json.dumps(shown, allow_nan=False)
    )


# -- damaged JSON --------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "members"),
    [
        (b"{}", {}),
        (b" { } \n", {}),
        (b'{"a":1}', {"a": 1}),
        (b'{ "a" : [1, {"b": null}] , "c" : "d" }', {"a": [1, {"b": None}], "c": "d"}),
        (b'{"a":123456789012345678,"b":-1}', {"a": 123456789012345678, "b": -1}),
        ('{"\u00e4":"\u20ac"}'.encode(), {"\u00e4": "\u20ac"}),
    ],
)
def test_an_intact_object_has_no_error(raw: bytes, members: Any) -> None:
    assert read_object(raw) == (members, None, None)


@pytest.mark.parametrize(
    ("raw", "members", "error", "error_at"),
    [
        (b'{"a":1P"b":2}', {}, "byte 6, 'P'", 6),
        (b'{"a":1,"b":2P"c":3}', {"a": 1}, "byte 12, 'P'", 12),
        (b'{"a":1,b:2}', {"a": 1}, "byte 7, 'b'", 7),
        (b'{"a":1,}', {}, "byte 6, ','", 6),
        (b'{"a":1,"b"=2}', {"a": 1}, "byte 10, '='", 10),
        (b'{"a":1,"b":x}', {"a": 1}, "byte 11, 'x'", 11),
        (b'{"a":1,"b":[1,{"c":"d,"},x', {"a": 1}, "byte 25, 'x'", 25),
        (b'{"a":1}x', {"a": 1}, "byte 7, 'x'", 7),
        (b"[1]", {}, "it is not a JSON object", 0),
        (b"", {}, "it is cut off after 0 bytes", 0),
        (b'{"a":1,"b":"cd', {"a": 1}, "it is cut off after 14 bytes", 14),
        (b'{"a":1,"b":', {"a": 1}, "it is cut off after 11 bytes", 11),
        (b'{"a":1', {}, "it is cut off after 6 bytes", 6),
        ('{"\u00e4":1x'.encode(), {}, "at byte 7", 7),
        (b'{"a":1,"b":"\xff"}', {"a": 1}, "it stops being UTF-8 at byte 12", 12),
        (b"\xff", {}, "it stops being UTF-8 at byte 0", 0),
        (b'{"a":x\xff', {}, "it stops being JSON at byte 5", 5),
        (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", {}, "it nests too deeply", None),
    ],
)
def test_members_before_the_damage_are_read(
    raw: bytes, members: Any, error: str, error_at: int | None
) -> None:
    found, message, at = read_object(raw)
    assert found == members
    assert message is not None
    assert error in message
    assert at == error_at


# -- pasted text ---------------------------------------------------------------


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
def test_a_token_is_found_in_a_header_field_or_a_json_response(text: str) -> None:
    assert find_token(text) == "eyJh.eyJi.c2ln"


@pytest.mark.parametrize("text", ["", " \n", '""'])
def test_no_token_is_found_in_blank_text(text: str) -> None:
    assert find_token(text) == ""


@pytest.mark.parametrize("text", ["djE6b3BhcXVl", "tokenish", "bearerless", "{"])
def test_an_opaque_token_is_not_changed(text: str) -> None:
    assert find_token(text) == text


def test_escaped_slashes_of_a_json_response_are_unescaped() -> None:
    assert find_token('{"token":"a\\/b=="}') == "a/b=="
