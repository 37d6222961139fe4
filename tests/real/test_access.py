"""Pull access at a real registry with a real token service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditor.demo.demo_tokens import DemoAccount, SigningKey
from tests.real.audits import audit, content, login, only
from tests.real.filled_registry import FilledRegistry
from tests.real.token_server import AUDITOR, DTR_PATH
from tests.support.token_service import certificate_pem, jwks, public_pem

pytestmark = pytest.mark.real


def failure(line: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(line[key] for key in ("kind", "stage", "failure", "status"))


def test_the_record_has_the_grant_and_the_account(filled: FilledRegistry) -> None:
    line = only(audit(filled.host, "team/oci:1.0"))
    assert line["access"] == {
        "state": "granted",
        "actions": ["pull"],
        "subject": "auditor",
        "issuer": "token service of the tests",
        "verified": False,
        "credential": "config",
        "login_unused": False,
    }


def test_public_images_are_pulled_anonymously(filled: FilledRegistry) -> None:
    line = only(audit(filled.host, "public/arm:1.0", registry=login(None)))
    assert line["access"]["state"] == "granted"
    assert line["access"]["subject"] in {None, ""}


def test_the_token_is_verified_with_the_certificate_bundle(
    filled: FilledRegistry,
) -> None:
    registry = login(token_keys=str(filled.keys))
    line = only(audit(filled.host, "team/oci:1.0", registry=registry))
    assert line["access"]["verified"] is True


@pytest.mark.parametrize("encode", [public_pem, jwks])
def test_the_token_is_verified_with_a_public_key_or_a_jwks(
    filled: FilledRegistry, tmp_path: Path, encode: Callable[[SigningKey], bytes]
) -> None:
    keys = tmp_path / "keys"
    keys.write_bytes(encode(filled.tokens.service.key))
    registry = login(token_keys=str(keys))
    line = only(audit(filled.host, "team/oci:1.0", registry=registry))
    assert line["access"]["verified"] is True


def test_keys_of_another_service_do_not_verify_the_token(
    filled: FilledRegistry, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_bytes(certificate_pem(SigningKey.generate()))
    registry = login(token_keys=str(keys))
    line = only(audit(filled.host, "team/oci:1.0", registry=registry))
    assert (line["kind"], line["access"]["verified"]) == ("image", False)


def test_without_a_pull_grant_the_repository_is_not_requested(
    filled: FilledRegistry,
) -> None:
    since = filled.registry.log.mark()
    audited = audit(filled.host, "secret/oci:1.0", "team/oci:1.0")
    denied, granted = audited.lines
    assert failure(denied) == ("failure", "token", "no_pull_grant", None)
    assert granted["kind"] == "image"
    logged = filled.registry.log.auditors(since, at_least=audited.requests)
    assert {one.path for one in logged if "secret" in one.path} == set()
    assert [one.path for one in logged if "/manifests/" in one.path] == [
        "/v2/team/oci/manifests/1.0"
    ]


def test_a_private_repository_is_denied_to_anonymous_requests(
    filled: FilledRegistry,
) -> None:
    line = only(audit(filled.host, "team/oci:1.0", registry=login(None)))
    assert failure(line) == ("failure", "token", "no_pull_grant", None)


def test_a_wrong_password_is_sent_once_and_fails_every_reference(
    filled: FilledRegistry,
) -> None:
    names = ("team/oci:1.0", "team/docker:1.0", "team/multi:1.0")
    asked, since = len(filled.tokens.asked), filled.registry.log.mark()
    wrong = DemoAccount(AUDITOR.name, "not his password")
    # One worker: tokens for several repositories at once would be several tries.
    audited = audit(filled.host, *names, registry=login(wrong), workers=1)
    for line in audited.lines:
        assert failure(line) == ("failure", "token", "denied", 401)
        assert "rejected the login of 'auditor'" in line["detail"]
    assert len(audited.lines) == len(names)
    assert len(filled.tokens.asked) - asked <= len(names)
    logged = filled.registry.log.auditors(since, at_least=audited.requests)
    assert [one.path for one in logged] == ["/v2/"]


def test_an_unknown_tag_or_repository_is_not_found(
    filled: FilledRegistry,
) -> None:
    audited = audit(filled.host, "team/oci:9.9", "team/nothing:1.0")
    for line in audited.lines:
        assert failure(line) == ("failure", "manifest", "not_found", 404)
        assert "not found, or not visible to this account" in line["detail"]
        assert line["attempts"] == 1


def test_one_ping_and_one_token_per_repository(
    filled: FilledRegistry,
) -> None:
    names = ("team/oci:1.0", "team/docker:1.0", "team/multi:1.0", "public/arm:1.0")
    asked, since = len(filled.tokens.asked), filled.registry.log.mark()
    audited = audit(filled.host, *names)
    assert {line["kind"] for line in audited.lines} == {"image"}
    logged = filled.registry.log.auditors(since, at_least=audited.requests)
    assert len(logged) == audited.requests
    assert [one.path for one in logged if one.status == 401] == ["/v2/"]
    assert {one.status for one in logged if one.path != "/v2/"} == {200}
    scopes = [scope for _, _, scope in filled.tokens.asked[asked:]]
    assert sorted(scopes) == sorted(
        f"repository:{name.partition(':')[0]}:pull" for name in names
    )


def test_a_token_url_in_the_configuration_replaces_the_ping(
    filled: FilledRegistry,
) -> None:
    asked, since = len(filled.tokens.asked), filled.registry.log.mark()
    registry = login(
        token_url=filled.tokens.url + DTR_PATH,
        service=filled.tokens.service.service,
    )
    audited = audit(filled.host, "team/oci:1.0", registry=registry)
    line = only(audited)
    challenged = only(audit(filled.host, "team/oci:1.0"))
    assert content(line) == content(challenged)
    assert line["access"] == challenged["access"]
    assert filled.tokens.asked[asked] == (
        DTR_PATH,
        "auditor",
        "repository:team/oci:pull",
    )
    assert audited.summary.requests.get("ping", 0) == 0
    logged = filled.registry.log.auditors(since, at_least=audited.requests)
    assert logged[0].path == "/v2/team/oci/manifests/1.0"


def test_a_token_for_another_service_is_renewed_once(
    filled: FilledRegistry,
) -> None:
    """A registry may have restarted; the second refusal is final."""
    service, since = filled.tokens.service, filled.registry.log.mark()
    service.edit = lambda claims: {**claims, "aud": "another registry"}
    try:
        audited = audit(filled.host, "team/oci:1.0")
    finally:
        service.edit = None
    assert failure(only(audited)) == ("failure", "manifest", "denied", 401)
    logged = filled.registry.log.auditors(since, at_least=audited.requests)
    refused = [one for one in logged if "/manifests/" in one.path]
    assert [one.status for one in refused] == [401, 401]
