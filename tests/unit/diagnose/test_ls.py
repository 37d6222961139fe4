"""The targets of `auditor ls`: registries, repositories, patterns."""

from __future__ import annotations

import pytest

from auditor.diagnose.ls import parse_list_target
from auditor.errors import FailureKind, ProtocolError

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "pattern", "repositories_only"),
    [
        ("h.example", "h.example/**:*", True),
        ("h.example/", "h.example/**:*", True),
        ("h:5000", "h:5000/**:*", True),
        ("localhost", "localhost/**:*", True),
        ("[::1]:5000", "[::1]:5000/**:*", True),
        ("index.docker.io", "docker.io/**:*", True),
        ("h.example/*", "h.example/**:*", True),
        ("h.example/team/*", "h.example/team/*:*", True),
        ("h.example/team/**", "h.example/team/**:*", True),
        ("h.example/app", "h.example/app:*", False),
        ("docker://H.example/app", "h.example/app:*", False),
        ("alpine", "docker.io/library/alpine:*", False),
        ("grafana/loki", "docker.io/grafana/loki:*", False),
        ("h.example/app:1.*", "h.example/app:1.*", False),
        ("h.example/app:1.0", "h.example/app:1.0", False),
        ("alpine:latest", "docker.io/library/alpine:latest", False),
        ("h.example/team/*:*", "h.example/team/*:*", False),
        ("h.example/team/**:v1.*", "h.example/team/**:v1.*", False),
        ("h.example/team/*:latest", "h.example/team/*:latest", False),
    ],
)
def test_a_target_is_tags_or_repositories(
    text: str, pattern: str, repositories_only: bool
) -> None:
    target = parse_list_target(text)
    assert str(target.pattern) == pattern
    assert target.repositories_only is repositories_only


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("team/*", "must start with its registry"),
        ("*", "must start with its registry"),
        ("Team", "lower case"),
        (f"h.example/app@{DIGEST}", "name a repository to list its tags"),
        (f"h.example/team/*@{DIGEST}", "cannot be combined with a digest"),
        ("team/", "it has neither a dot nor a port"),
        ("h.example//a", "it has an empty part"),
        ("https://h.example", "remove https://"),
    ],
)
def test_an_invalid_target_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_list_target(text)
    assert caught.value.kind is FailureKind.INVALID_REFERENCE
    assert reason in caught.value.detail
