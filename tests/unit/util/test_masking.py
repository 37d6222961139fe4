from __future__ import annotations

import pytest

from auditor.util.secret import mask_secrets, mask_userinfo

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
def test_text_that_looks_like_a_secret_is_masked(text: str, masked: str) -> None:
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
def test_plain_sentences_are_unchanged(text: str) -> None:
    assert mask_secrets(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("u:s3cret@quay.io/a:1", "***@quay.io/a:1"),
        ("u:s3cret@quay.io", "***@quay.io"),
        ("https://u:s3cret@quay.io/a/b", "https://***@quay.io/a/b"),
        ("docker://u:s3/c r@et@h.io/a:1", "docker://***@h.io/a:1"),
        ("u:s3cret@localhost:5000/a@sha256:00", "***@localhost:5000/a@sha256:00"),
        ("u:s3cret@sha.example.com/x", "***@sha.example.com/x"),
        ('u:s3"cret@h.io,x,1', "***@h.io,x,1"),
        (
            '{"repository":"https://u:s3cret@quay.io/a","tag":"1"}',
            '{"repository":"https://***@quay.io/a","tag":"1"}',
        ),
        (
            '{"reference":"u:s3cret@h.io/a@sha256:0"}',
            '{"reference":"***@h.io/a@sha256:0"}',
        ),
        # Neither a digest nor a malformed one is a password.
        ("alpine:1@sha256:zz", "alpine:1@sha256:zz"),
        ("alpine:1@sha-256:00", "alpine:1@sha-256:00"),
        (f"alpine:1@md5:{'0' * 32}", f"alpine:1@md5:{'0' * 32}"),
        ("alpine:1@abc", "alpine:1@abc"),
        ("alpine:1@", "alpine:1@"),
        ("alpine@latest", "alpine@latest"),
        ("quay.io:443/a:1", "quay.io:443/a:1"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_password_before_a_host_is_masked(text: str, shown: str) -> None:
    assert mask_userinfo(text) == shown


def test_a_long_line_is_masked_in_linear_time() -> None:
    assert mask_userinfo("a:" * 200_000 + "@a" * 200_000).startswith("***@a")
    assert len(mask_userinfo("@a:" * 200_000)) < 10
    assert len(mask_userinfo("a:1" + "@0" * 200_000)) < 10
