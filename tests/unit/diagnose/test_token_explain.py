from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.diagnose.token_explain import (
    FindingCode,
    Form,
    TokenReading,
    find_token,
    read_object,
    read_token,
    to_json,
    to_lines,
)
from auditor.oci.jws import KeySet
from tests import jose
from tests.jose import NOW

GOLDEN = Path(__file__).parents[1] / "golden"
# The token in Docker's knowledge base article "How do I use API V2 with DTR?" (2016).
# One of its characters was changed before it was published.
ARTICLE = (GOLDEN / "article-token.txt").read_text()
KEY, OTHER = jose.key_for("ES256"), jose.key_for("ES256", 1)
LIBTRUST_ID = jose.libtrust_id(KEY)


def codes(reading: TokenReading) -> list[str]:
    return [finding.code.value for finding in reading.findings]


def sentence(reading: TokenReading, code: str) -> str:
    found = [one.sentence for one in reading.findings if one.code == FindingCode(code)]
    assert len(found) == 1
    return found[0]


def read(text: str, **options: Any) -> TokenReading:
    return read_token(text, now=NOW, **options)


# -- the article's token -------------------------------------------------------


def test_the_articles_token_is_explained_as_far_as_it_can_be_read() -> None:
    explained = "\n".join(to_lines(read(ARTICLE))) + "\n"
    assert explained == (GOLDEN / "article-token.explained.txt").read_text()


def test_the_articles_token_is_explained_to_programs() -> None:
    explained = json.dumps(to_json(read(ARTICLE)), indent=2) + "\n"
    assert explained == (GOLDEN / "article-token.explained.json").read_text()


def test_all_four_facts_of_the_articles_token_are_said() -> None:
    reading = read(ARTICLE)
    assert not reading.intact
    assert sentence(reading, "header").startswith("The header can be read")
    assert sentence(reading, "key_id_matches") == (
        "The libtrust key id"
        " NNZX:KH7V:FBJT:4BAH:WEYL:F2V4:RHWJ:ADF3:UAAE:7JEP:6TAU:FCAO"
        " matches the key in the header."
    )
    assert "it stops being JSON at byte 129 ('P' stands where ',' or '}' should)" in (
        sentence(reading, "payload_damaged")
    )
    assert sentence(reading, "signature_differs").startswith(
        "The signature does not verify with the key in the header"
    )


def test_the_articles_token_is_not_verified_by_its_own_key() -> None:
    own = json.dumps(read(ARTICLE).header.members["jwk"])  # type: ignore[union-attr]
    reading = read(ARTICLE, keys=KeySet.from_bytes(own.encode()))
    assert sentence(reading, "not_verified") == (
        "The token is not verified: the token is not a readable JWT."
    )


# -- intact tokens -------------------------------------------------------------


def good(**header: Any) -> str:
    return jose.token(jose.claims(), KEY, **header)


@pytest.mark.parametrize(
    ("header", "of_the_key", "of_the_signature"),
    [
        ({}, [], "signature_unchecked"),
        ({"kid": "k"}, ["key_named"], "signature_unchecked"),
        (
            {"jwk": jose.jwk(KEY, kid=LIBTRUST_ID)},
            ["key_id_matches"],
            "signature_matches",
        ),
        (
            {"jwk": jose.jwk(KEY), "kid": LIBTRUST_ID},
            ["key_id_matches"],
            "signature_matches",
        ),
        (
            {"jwk": jose.jwk(OTHER, kid=LIBTRUST_ID)},
            ["key_id_differs"],
            "signature_differs",
        ),
        ({"jwk": jose.jwk(KEY, kid="mine")}, ["key_named"], "signature_matches"),
        ({"jwk": {"kty": "EC"}}, ["key_damaged"], "signature_unchecked"),
    ],
)
def test_findings_come_in_the_order_of_the_token(
    header: dict[str, Any], of_the_key: list[str], of_the_signature: str
) -> None:
    reading = read(good(**header))
    assert reading.intact
    assert codes(reading) == [
        "header",
        *of_the_key,
        "payload",
        "grants",
        "expiry",
        of_the_signature,
    ]


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [
        ("ES256", "The header can be read: signed with ES256."),
        ("none", "The header can be read: it says that the token is not signed."),
        (None, "The header can be read: it names no algorithm."),
    ],
)
def test_the_algorithm_is_named(algorithm: str | None, words: str) -> None:
    token = jose.unsigned_token({"alg": algorithm}, jose.claims())
    assert sentence(read(token), "header") == words


def test_a_thumbprint_is_recognised_as_the_keys_name() -> None:
    reading = read(good(jwk=jose.jwk(KEY, kid=jose.thumbprint(KEY))))
    assert sentence(reading, "key_id_matches").startswith("The thumbprint ")


@pytest.mark.parametrize(
    ("keys", "code", "words"),
    [
        (
            KEY,
            "verified",
            f"The token is verified: signed by the trusted key {LIBTRUST_ID}.",
        ),
        (OTHER, "not_verified", "The token is not verified: the signature does not"),
    ],
)
def test_with_keys_it_says_whether_the_token_is_verified(
    keys: jose.PrivateKey, code: str, words: str
) -> None:
    reading = read(good(), keys=KeySet.from_bytes(jose.pem(keys)))
    assert sentence(reading, code).startswith(words)
    assert codes(reading)[-1] == code


def test_audience_and_issuer_are_checked_when_they_are_given() -> None:
    keys = KeySet.from_bytes(jose.pem(KEY))
    assert not read(good(), keys=keys, audience="x").verification.verified  # type: ignore[union-attr]
    assert not read(good(), keys=keys, issuer="x").verification.verified  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"exp": NOW + 298}, "expiry", "The token expires in 4 minutes 58 seconds."),
        (
            {"exp": NOW - 335_496_348},
            "expiry",
            "The token expired 10 years 7 months ago.",
        ),
        ({"exp": "-"}, "expiry", "The payload says nothing of when it expires."),
        ({"exp": "soon"}, "expiry", "The payload says nothing of when it expires."),
        (
            {"nbf": NOW + 60},
            "not_yet_valid",
            "It is not valid before 2026-11-24 00:21:00 UTC.",
        ),
        ({"access": []}, "grants", "It grants nothing."),
        ({"access": None}, "grants", "It grants nothing."),
        (
            {"access": "-"},
            "grants",
            "It has no access claim: what it grants cannot be seen.",
        ),
        (
            {"access": "x"},
            "grants",
            "The access claim is of a kind that cannot be understood.",
        ),
        ({}, "grants", "It grants pull on repository a/b."),
        (
            {"access": [{"type": "registry", "name": "catalog", "actions": ["*"]}]},
            "grants",
            "It grants * on registry catalog.",
        ),
        (
            {"access": [{"type": "repository", "name": "a", "class": "plugin"}]},
            "grants",
            "It grants no action on repository(plugin) a.",
        ),
    ],
)
def test_times_and_grants_are_said_in_words(
    changes: dict[str, Any], code: str, words: str
) -> None:
    token = jose.unsigned_token({"alg": "ES256"}, jose.claims(**changes))
    assert sentence(read(token), code) == words


# -- tokens that are pasted, opaque or damaged ---------------------------------


@pytest.mark.parametrize(
    ("text", "form", "words"),
    [
        ("", Form.EMPTY, "There is no token."),
        ("djE6b3BhcXVl", Form.OPAQUE, "The token is opaque: 12 characters that only"),
        ("a.b.c", Form.OPAQUE, "The token is opaque: 5 characters that only"),
        (
            jose.b64(b'{"alg":"RSA-OAEP","enc":"A256GCM"}') + ".a.b.c.d",
            Form.ENCRYPTED,
            "The token is encrypted (JWE): only its header can be read.",
        ),
    ],
)
def test_a_token_that_is_no_jwt_is_named(text: str, form: Form, words: str) -> None:
    reading = read(text, keys=KeySet.from_bytes(jose.pem(KEY)))
    assert reading.form is form
    assert sentence(reading, "form").startswith(words)
    assert not reading.intact


def test_what_stands_around_a_token_makes_no_difference() -> None:
    plain = read(good())
    wrapped = read('{"token": "' + good()[:50] + "\n" + good()[50:] + '"}')
    assert wrapped.claims == plain.claims
    assert codes(wrapped) == ["pasted", "pasted", *codes(plain)]


HEADER, PAYLOAD, SIGNATURE = good().split(".")
CUT = PAYLOAD[: len(PAYLOAD) // 2]


@pytest.mark.parametrize(
    ("token", "code", "words"),
    [
        (HEADER, "payload_damaged", "The payload is missing: the token ends after its"),
        (HEADER + "." + PAYLOAD, "signature_damaged", "The signature is missing."),
        (f"{HEADER}.{PAYLOAD}.", "signature_damaged", "The signature is missing."),
        (f"{HEADER}.{PAYLOAD}.a", "signature_damaged", "The signature is damaged"),
        (f"{HEADER}.{PAYLOAD}.a!", "signature_damaged", "The signature is damaged"),
        (
            f"{HEADER}.{PAYLOAD}.{SIGNATURE}.x",
            "signature_damaged",
            "The signature cannot be told: there are 4 parts instead of 3.",
        ),
        (f"{HEADER}.{CUT}", "payload_damaged", "The payload is damaged: it is cut off"),
        (f"{HEADER}..x", "payload_damaged", "The payload is damaged: it is empty."),
        (
            f"{HEADER}.{PAYLOAD[:8]}%{PAYLOAD[9:]}.{SIGNATURE}",
            "payload_damaged",
            "The payload is damaged: it stops being base64url at character 8.",
        ),
        (
            f"{HEADER[:-8]}.{PAYLOAD}.{SIGNATURE}",
            "header_damaged",
            "The header is damaged: it is cut off after",
        ),
        (
            f"{HEADER}.{jose.b64(b'[]')}.{SIGNATURE}",
            "payload_damaged",
            "The payload is damaged: it stops being JSON at byte 0",
        ),
        (
            f"{HEADER}.{base64.b64encode(b'{}').decode()}.{SIGNATURE}",
            "payload_damaged",
            "The payload is damaged: it is base64 with padding or another alphabet",
        ),
        (
            f"{HEADER}.{jose.b64(b'{}')}AA.{SIGNATURE}",
            "payload_damaged",
            "The payload is damaged: ",
        ),
    ],
)
def test_a_damaged_token_is_read_as_far_as_it_goes(
    token: str, code: str, words: str
) -> None:
    reading = read(token)
    assert sentence(reading, code).startswith(words)
    assert not reading.intact


def test_grants_before_a_damage_are_said_with_a_reservation() -> None:
    payload = json.dumps(jose.claims()).replace('"aud"', "aud").encode()
    reading = read(f"{HEADER}.{jose.b64(payload)}.{SIGNATURE}")
    assert sentence(reading, "grants") == (
        "As far as it can be read, it grants pull on repository a/b."
    )
    assert sentence(reading, "expiry") == (
        "The payload can no longer tell when it expires."
    )


# -- showing it ----------------------------------------------------------------


def test_lines_are_safe_for_terminals() -> None:
    nasty = "\x1b[2J\u202e\n"
    token = jose.unsigned_token(
        {"alg": nasty, "kid": nasty, nasty: 1},
        jose.claims(
            sub=nasty,
            iss=nasty,
            aud=[nasty],
            jti=nasty,
            access=[{"type": nasty, "name": nasty, "class": nasty, "actions": [nasty]}],
        ),
    )
    for text in (token, token.replace(".", "x.", 1)):
        lines = to_lines(read(text))
        assert all(line.isprintable() for line in lines), lines


def test_neither_token_nor_signature_are_shown() -> None:
    reading = read(good(), keys=KeySet.from_bytes(jose.pem(KEY)))
    for shown in (json.dumps(to_json(reading)), "\n".join(to_lines(reading))):
        assert SIGNATURE not in shown
        assert PAYLOAD not in shown
    assert "hush" not in "\n".join(to_lines(read("hush"))) + repr(to_json(read("hush")))


@pytest.mark.parametrize("token", ["", "opaque", HEADER, good(), ARTICLE])
def test_the_json_has_the_same_keys_for_every_token(token: str) -> None:
    assert list(to_json(read(token))) == [
        "form",
        "intact",
        "header",
        "payload",
        "signature_bytes",
        "embedded_key",
        "claims",
        "verification",
        "read_at",
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
def test_the_json_can_be_written_whatever_the_token_holds(payload: bytes) -> None:
    shown = to_json(read(f"{HEADER}.{jose.b64(payload)}.{SIGNATURE}"))
    assert orjson.loads(orjson.dumps(shown)) == shown


@pytest.mark.parametrize(
    ("raw", "members"),
    [
        (b"{}", {}),
        (b" { } \n", {}),
        (b'{"a":1}', {"a": 1}),
        (b'{ "a" : [1, {"b": null}] , "c" : "d" }', {"a": [1, {"b": None}], "c": "d"}),
        (b'{"a":' + b"9" * 5000 + b"}", {"a": float("inf")}),
        (b'{"a":123456789012345678,"b":-1}', {"a": 123456789012345678, "b": -1}),
        ('{"\u00e4":"\u20ac"}'.encode(), {"\u00e4": "\u20ac"}),
    ],
)
def test_an_intact_object_has_no_error(raw: bytes, members: Any) -> None:
    found = read_object(raw)
    assert (found.members, found.error, found.error_at) == (members, None, None)


@pytest.mark.parametrize(
    ("raw", "members", "error", "error_at"),
    [
        (b'{"a":1P"b":2}', {}, "byte 6 ('P' stands where ',' or '}' should)", 6),
        (b'{"a":1,"b":2P"c":3}', {"a": 1}, "'P' stands where ',' or '}'", 12),
        (b'{"a":1,b:2}', {"a": 1}, "'b' stands where '\"' should", 7),
        (b'{"a":1,}', {"a": 1}, "'}' stands where '\"' should", 7),
        (b'{"a":1,"b"=2}', {"a": 1}, "'=' stands where ':' should", 10),
        (b'{"a":1,"b":x}', {"a": 1}, "Expecting value", 11),
        (b'{"a":1}x', {"a": 1}, "nothing should stand after the object", 7),
        (b"[1]", {}, "'[' stands where '{' should", 0),
        (b"", {}, "it is cut off after 0 bytes", 0),
        (b'{"a":1,"b":"cd', {"a": 1}, "it is cut off after 14 bytes", 14),
        (b'{"a":1,"b":', {"a": 1}, "it is cut off after 11 bytes", 11),
        (b'{"a":1', {}, "it is cut off after 6 bytes", 6),
        ('{"\u00e4":1x'.encode(), {}, "at byte 7", 7),
        (b'{"a":1,"b":"\xff"}', {"a": 1}, "it stops being UTF-8 at byte 12", 12),
        (b"\xff", {}, "it stops being UTF-8 at byte 0", 0),
        (b'{"a":x\xff', {}, "it stops being JSON at byte 5", 5),
        (b'{"a":' + b"[" * 100_000, {}, "it nests too deeply", None),
    ],
)
def test_what_stands_before_a_damage_is_read(
    raw: bytes, members: Any, error: str, error_at: int | None
) -> None:
    found = read_object(raw)
    assert found.members == members
    assert found.error is not None
    assert error in found.error
    assert found.error_at == error_at


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
