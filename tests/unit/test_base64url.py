from __future__ import annotations

import pytest

from auditor.oci import encoding


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", b""),
        ("Cn0", b"\n}"),
        ("-_-_", b"\xfb\xff\xbf"),
    ],
)
def test_it_decodes(text: str, data: bytes) -> None:
    assert encoding.decode(text) == data


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("Cn0\n", "not base64url"),
        ("Cn 0", "not base64url"),
        ("+/+/", "not base64url"),
        ("Cn0=", "not base64url"),
        ("C=n0", "not base64url"),
        ("Ã¤Ã¤", "not base64url"),
        ("C", "1 base64url characters cannot be whole bytes"),
        ("CnABC", "5 base64url characters cannot be whole bytes"),
    ],
)
def test_it_refuses_what_other_decoders_skip(text: str, clause: str) -> None:
    with pytest.raises(ValueError, match=clause):
        encoding.decode(text)


def test_it_encodes_without_padding() -> None:
    assert encoding.encode(b"\n}") == "Cn0"
