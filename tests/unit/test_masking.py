from __future__ import annotations

import pytest

from auditor.protocol.masking import mask_secrets

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("sent bearer abc", "sent bearer ***"),
        ("sent Basic dXNlcjpwdw==", "sent Basic ***"),
        ("password=hunter2 is wrong", "password=*** is wrong"),
        ('{"password": "hunter2 x"}', '{"password": ***}'),
        ("access_token: abc, next", "access_token: ***, next"),
        ("token=abc&x=1", "token=***&x=1"),
        ("X-Amz-Signature=abc", "X-Amz-Signature=***"),
        ("see https://u:p@h.example/a?sig=x for", "see https://h.example/a for"),
        ("bad eyJhbGciOi.eyJz.sig here", "bad *** here"),
        ("key ghp_16C7e42F292c6912E7710c838347Ae178B4a", "key ***"),
        ("id 0123456789abcdef0123456789abcdef", "id ***"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"manifest {DIGEST} is unknown",
        "authentication required",
        "unauthorized: authentication required",
        "invalid token: expired",
        "Bearer token required",
        "Basic auth is disabled",
        "repository library/some-team-application not known to registry",
        "invalid username or password",
        "https://h.example:5000/v2/library/alpine/manifests/latest",
    ],
)
def test_plain_sentences_stay_as_they_are(text: str) -> None:
    assert mask_secrets(text) == text
