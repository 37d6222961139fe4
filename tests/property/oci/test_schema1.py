from __future__ import annotations

import json
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from auditor.errors import ProtocolError
from auditor.oci.schema1 import parse_schema1
from tests import jose
from tests.examples import examples

KEY = jose.key_for("ES256")
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)
ENTRIES = st.lists(st.tuples(DIGESTS, st.booleans()), min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "blobSum",
                    "v1Compatibility",
                    "header",
                    "jwk",
                    "x5c",
                    "protected",
                    "kty",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
SIGNED = jose.sign_schema1(json.dumps(jose.schema1_document(), indent=3).encode(), KEY)
# All bytes of this part are signed; the signatures follow.
SIGNED_BYTES = SIGNED.index(b',\n   "signatures"')
IN_NAME = SIGNED.index(b'"name": "') + len(b'"name": "')


def document(entries: list[tuple[str, bool]]) -> dict[str, Any]:
    return jose.schema1_document(
        fsLayers=[{"blobSum": digest} for digest, _ in entries],
        history=[
            {"v1Compatibility": json.dumps({"throwaway": True} if empty else {})}
            for _, empty in entries
        ],
    )


@examples(50)
@given(
    ENTRIES, st.sampled_from([None, 0, 1, 3]), st.integers(0, 2), st.text(max_size=3)
)
def test_a_signed_manifest_is_parsed_from_its_payload(
    entries: list[tuple[str, bool]], indent: int | None, signatures: int, name: str
) -> None:
    made = document(entries) | {"name": name}
    payload = json.dumps(made, indent=indent).encode()
    raw = jose.sign_schema1(payload, *[KEY] * signatures) if signatures else payload
    manifest = parse_schema1(raw, orjson.loads(raw))
    assert manifest.payload == payload
    assert manifest.layers == tuple(digest for digest, _ in reversed(entries))
    assert manifest.throwaway == tuple(empty for _, empty in reversed(entries))
    assert (manifest.name or "") == name
    assert [check.valid for check in manifest.signatures] == [True] * signatures


@examples(100)
@given(st.integers(0, SIGNED_BYTES - 1), st.integers(0, 255))
@example(0, SIGNED[0])
@example(IN_NAME, ord("x"))
def test_no_changed_byte_keeps_the_signature_valid(at: int, byte: int) -> None:
    changed = SIGNED[:at] + bytes([byte]) + SIGNED[at + 1 :]
    try:
        manifest = parse_schema1(changed, orjson.loads(changed))
    except (orjson.JSONDecodeError, ProtocolError):
        return
    assert [check.valid for check in manifest.signatures] == [changed == SIGNED]


@examples(200)
@given(
    st.dictionaries(
        st.sampled_from(
            ["fsLayers", "history", "signatures", "name", "tag", "architecture"]
        ),
        JSON,
    )
)
def test_every_schema_1_document_is_parsed_or_refused(changes: dict[str, Any]) -> None:
    raw = json.dumps(jose.schema1_document() | changes).encode()
    try:
        manifest = parse_schema1(raw, orjson.loads(raw))
    except ProtocolError as error:
        detail = error.detail
    else:
        detail = ""
        assert len(manifest.layers) == len(manifest.throwaway) > 0
    assert detail.isprintable()


@examples(100)
@given(
    st.dictionaries(st.sampled_from(["alg", "jwk", "x5c"]), JSON),
    st.fixed_dictionaries({}, optional={"header": JSON, "signature": JSON}),
)
def test_every_signature_header_is_checked_to_a_value(
    header: dict[str, Any], changes: dict[str, Any]
) -> None:
    made = json.loads(SIGNED)
    made["signatures"][0]["header"].update(header)
    made["signatures"][0].update(changes)
    manifest = parse_schema1(SIGNED, made)
    assert len(manifest.signatures) == 1
