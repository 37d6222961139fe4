from __future__ import annotations

import base64
import random

from hypothesis import given
from hypothesis import strategies as st

from auditor.util.secret import mask_secrets
from tests.examples import examples

CONTENT = st.binary(min_size=32, max_size=64)
AROUND = st.text(" abc.,:;'\"(){}", max_size=12)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@given(AROUND, CONTENT, AROUND)
def test_a_jwt_is_masked_in_any_text(before: str, content: bytes, after: str) -> None:
    header = base64url(b'{"alg":"ES256","typ":"JWT"}')
    token = f"{header}.{base64url(content)}.{base64url(content[::-1])}"
    shown = mask_secrets(f"{before} {token} {after}")
    assert all(part not in shown for part in token.split("."))


@given(AROUND, st.integers(0, 2**32), AROUND)
def test_a_random_token_is_masked_in_any_text(
    before: str, seed: int, after: str
) -> None:
    data = random.Random(seed).randbytes(32)
    for token in (base64url(data), data.hex()):
        assert token not in mask_secrets(f"{before} {token} {after}")


@given(
    st.sampled_from(["password", "Client_Secret", "access_token", "API-Key"]),
    st.sampled_from(["=", ":", ": ", '":"']),
    st.text("abcXYZ019!$%", min_size=5, max_size=12),
)
def test_a_named_secret_is_masked(name: str, separator: str, value: str) -> None:
    assert value not in mask_secrets(f"x {name}{separator}{value}")


@examples(200)
@given(st.text())
def test_masking_twice_masks_no_less(text: str) -> None:
    once = mask_secrets(text)
    assert mask_secrets(once).count("***") >= once.count("***")


@given(st.from_regex(r"sha256:[a-f0-9]{64}", fullmatch=True))
def test_digests_stay_readable(digest: str) -> None:
    assert mask_secrets(f"manifest {digest}: unknown") == f"manifest {digest}: unknown"
