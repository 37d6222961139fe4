"""Logins with the identity of the machine: the clouds' own libraries on loopback.

The registries have the host names of the clouds, and a proxy leads to the test's.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from auditor.config import CloudLogin
from auditor.demo.demo_registry import serve
from auditor.demo.demo_tokens import DemoAccount
from auditor.diagnose.token_check import TokenCheck, check_token
from auditor.errors import FailureKind
from auditor.model import CredentialSource, FailureRecord, ImageRecord
from auditor.registry.auth.clouds import aws_identity
from auditor.registry.registries import open_registries
from tests.certificates import Authority
from tests.flow.cloud_services import (
    MetadataServer,
    aws_services,
    jwt,
    metadata_server,
    no_identity,
)
from tests.flow.forward_proxy import forward_proxy
from tests.flow.harness import Lab, Outcome, Passes, lab, service, simple, tokens_sent
from tests.support.fault_actions import Answer
from tests.support.registry import Basic
from tests.support.token_service import FakeTokenService

pytestmark = pytest.mark.anyio

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
GAR = "europe-west1-docker.pkg.dev"
ACR = "company.azurecr.io"
HOSTILE = f"{ECR}.evil.example.com"
NAMES = ["team/app:1", "team/app:2"]
# What moto gives as the token of this account.
AWS = DemoAccount("AWS", "123456789012-auth-token", {"*": ("*",)})
GOOGLE = DemoAccount("oauth2accesstoken", "google-token-1", {"*": ("*",)})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    with no_identity(str(tmp_path)) as patch:
        yield patch


@asynccontextmanager
async def at_cloud(
    authority: Authority,
    host: str,
    *,
    tokens: FakeTokenService | None = None,
    **changes: Any,
) -> AsyncIterator[Lab]:
    """A registry with the name of a cloud's, reached through a proxy."""
    tls = authority.server(host, HOSTILE)
    async with lab(simple(NAMES), tokens=tokens, tls=tls, **changes) as here:
        here.login = replace(here.login, username=None, password=None)
        names = {host: here.host, HOSTILE: here.host}
        async with forward_proxy(names) as through:
            here.login = replace(
                here.login,
                proxy=f"http://{through.address}",
                ca_file=str(authority.file),
            )
            here.host = host
            yield here


def details(outcome: Outcome) -> list[str]:
    return [one.detail for one in outcome.records if isinstance(one, FailureRecord)]


# -- AWS ----------------------------------------------------------------------------


async def test_a_registry_of_ecr_is_audited_with_the_identity_of_the_machine(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    with aws_services(machine):
        async with at_cloud(authority, ECR, access=Basic([AWS])) as here:
            outcome = await here.audit(here.ref("team/app:*"))
            assert len(tokens_sent(here.faults.log)) == 2  # none, and the login
    assert outcome.kinds == ["image", "image"]
    for record in outcome.records:
        assert isinstance(record, ImageRecord)
        assert record.access.credential is CredentialSource.AWS
        assert record.access.subject == "arn:aws:sts::123456789012:user/moto"


async def test_a_role_is_assumed_for_one_registry(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    with aws_services(machine):
        async with at_cloud(authority, ECR, access=Basic([AWS])) as here:
            role = "arn:aws:iam::123456789012:role/audit"
            outcome = await here.audit(here.ref(NAMES[0]), role_arn=role)
    assert outcome.image.access.subject == (
        "arn:aws:sts::123456789012:assumed-role/audit/auditor"
    )


async def test_a_login_that_expires_during_a_run_is_replaced(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    """moto's logins expire in 2015: each is used for the shortest time."""
    calls = []
    login = aws_identity.AwsIdentity.login

    def counted(identity: aws_identity.AwsIdentity, host: Any) -> Any:
        calls.append(host)
        return login(identity, host)

    machine.setattr(aws_identity.AwsIdentity, "login", counted)
    with aws_services(machine):
        async with at_cloud(authority, ECR, access=Basic([AWS])) as here:
            here.faults.on("GET", "/v2/team/app/tags/list", Passes(here.clock, 3600))
            outcome = await here.audit(here.ref("team/app:*"), workers=1)
    assert outcome.kinds == ["image", "image"]
    assert len(calls) == 2


async def test_a_role_without_rights_is_one_sentence(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    machine.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    machine.setenv("AWS_SECRET_ACCESS_KEY", "an-access-key")
    app = web.Application()
    app.router.add_post("/", _access_denied)
    async with (
        serve(app) as url,
        at_cloud(authority, ECR, access=Basic([AWS])) as here,
    ):
        machine.setenv("AWS_ENDPOINT_URL", url)
        outcome = await here.audit(*map(here.ref, NAMES))
        assert tokens_sent(here.faults.log) == [""]  # the ping
    assert outcome.kinds == ["denied", "denied"]
    assert details(outcome)[0] == (
        "AWS denies the identity of this machine ecr:GetAuthorizationToken in"
        " eu-central-1 of account 123456789012; allow it this action: User:"
        " arn:aws:iam::123456789012:user/pod is not authorized to perform:"
        " ecr:GetAuthorizationToken"
    )
    assert "an-access-key" not in repr(outcome)


async def test_a_token_check_names_the_identity(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    with aws_services(machine):
        async with at_cloud(authority, ECR, access=Basic([AWS])) as here:
            settings = here.settings(here.ref(NAMES[0]))
            async with open_registries(settings, clock=here.clock) as registries:
                registry = await registries.get(here.host)
                check = await check_token(registry, "team/app")
    assert isinstance(check, TokenCheck)
    assert check.account == "arn:aws:sts::123456789012:user/moto"
    assert check.credential == (
        "the AWS identity arn:aws:sts::123456789012:user/moto (env)"
    )


async def test_the_public_registry_is_asked_anonymously_without_rights(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    machine.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    machine.setenv("AWS_SECRET_ACCESS_KEY", "an-access-key")
    app = web.Application()
    app.router.add_post("/", _access_denied)
    tokens = service(AWS, DemoAccount("", "", {"*": ("pull",)}))
    async with (
        serve(app) as url,
        at_cloud(authority, "public.ecr.aws", tokens=tokens) as here,
    ):
        machine.setenv("AWS_ENDPOINT_URL", url)
        assert (await here.audit(here.ref(NAMES[0]))).kinds == ["image"]
        required = await here.audit(here.ref(NAMES[0]), cloud_login=CloudLogin.ALWAYS)
    assert required.kinds == ["denied"]


async def _access_denied(request: web.Request) -> web.Response:
    document = {
        "__type": "AccessDeniedException",
        "Message": "User: arn:aws:iam::123456789012:user/pod is not authorized to"
        " perform: ecr:GetAuthorizationToken",
    }
    return web.json_response(document, status=400)


async def test_a_machine_without_identity_says_once_what_was_tried(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    async with at_cloud(authority, ECR, access=Basic([AWS])) as here:
        outcome = await here.audit(*map(here.ref, NAMES))
    assert outcome.kinds == ["denied", "denied"]
    assert details(outcome)[1] == (
        "this machine has no AWS identity (tried environment variables, AWS_PROFILE"
        " and the shared files, web identity (IRSA), and the roles of containers and"
        f" instances); log in, or configure a login for {ECR}"
    )


async def test_without_the_extra_the_sentence_names_it(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    machine.setitem(sys.modules, "boto3", None)
    async with at_cloud(authority, ECR, access=Basic([AWS])) as here:
        outcome = await here.audit(here.ref(NAMES[0]))
    assert "pip install boto3 in auditor's environment" in outcome.failure.detail


@pytest.mark.parametrize(
    "changes",
    [
        {"cloud_login": CloudLogin.OFF},
        {"plain_http": True},
    ],
    ids=["off", "plain http"],
)
async def test_no_identity_is_looked_for_where_it_is_not_allowed(
    authority: Authority, machine: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    machine.setattr(
        aws_identity.AwsIdentity, "login", lambda *_: pytest.fail("asked for a login")
    )
    async with at_cloud(authority, ECR, access=Basic([AWS])) as here:
        outcome = await here.audit(here.ref(NAMES[0]), tries=1, **changes)
        assert tokens_sent(here.faults.log) in ([""], [])
    assert outcome.kinds != ["image"]


async def test_a_host_with_the_name_of_a_cloud_in_it_gets_nothing(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    machine.setattr(
        aws_identity.AwsIdentity, "login", lambda *_: pytest.fail("asked for a login")
    )
    async with at_cloud(authority, HOSTILE, access=Basic([AWS])) as here:
        outcome = await here.audit(here.ref(NAMES[0]))
        assert tokens_sent(here.faults.log) == [""]
    assert outcome.kinds == ["denied"]


async def test_a_redirect_to_another_host_gets_no_login(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    with aws_services(machine):
        async with at_cloud(authority, ECR, access=Basic([AWS])) as here:
            to = f"https://{HOSTILE}/v2/team/app/manifests/2"
            redirect = Answer(307, {"Location": to})
            here.faults.on("GET", "*/manifests/1", redirect, forever=True)
            outcome = await here.audit(here.ref(NAMES[0]))
            others = [one for one in here.faults.log if one.target.endswith("/2")]
            assert tokens_sent(others) == [""]
    assert outcome.kinds == ["denied"]


# -- Google -------------------------------------------------------------------------


@asynccontextmanager
async def on_gce(patch: pytest.MonkeyPatch) -> AsyncIterator[MetadataServer]:
    from google.auth.compute_engine import _metadata  # noqa: PLC0415

    async with metadata_server() as server:
        # Read from the environment when the library is imported.
        patch.setattr(_metadata, "_GCE_METADATA_HOST", server.address)
        patch.setenv("GCE_METADATA_IP", server.address)
        yield server


async def test_a_registry_of_google_is_audited_with_the_service_account(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    async with on_gce(machine) as metadata:
        tokens = service(GOOGLE)
        async with at_cloud(authority, GAR, tokens=tokens) as here:
            outcome = await here.audit(*map(here.ref, NAMES))
        assert metadata.tokens == 1
    assert outcome.kinds == ["image", "image"]
    for record in outcome.records:
        assert isinstance(record, ImageRecord)
        assert record.access.credential is CredentialSource.GOOGLE


async def test_a_pod_whose_service_account_gives_no_token_is_one_sentence(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    async with on_gce(machine) as metadata:
        metadata.status = 403
        async with at_cloud(authority, GAR, tokens=service(GOOGLE)) as here:
            failure = (await here.audit(here.ref(NAMES[0]))).failure
    assert failure.failure is FailureKind.DENIED
    assert failure.detail.startswith(
        "Google gave audit@project.iam.gserviceaccount.com no token; give the workload"
        " a service account: Failed to retrieve"
    )


async def test_a_machine_without_a_google_identity_asks_anonymously(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    """Many of Google's repositories are public."""
    tokens = service(GOOGLE, DemoAccount("", "", {"*": ("pull",)}))
    async with at_cloud(authority, GAR, tokens=tokens) as here:
        outcome = await here.audit(*map(here.ref, NAMES))
    assert outcome.kinds == ["image", "image"]


async def test_a_private_registry_says_why_no_identity_was_used(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    async with at_cloud(authority, GAR, tokens=service(GOOGLE)) as here:
        here.faults.on("GET", "/token", Answer(401))
        failure = (await here.audit(here.ref(NAMES[0]))).failure
    assert failure.detail.endswith(
        " requires a login (401); this machine has no Google identity"
        " (tried GOOGLE_APPLICATION_CREDENTIALS, gcloud auth application-default login,"
        " and the metadata server)"
    )


async def test_a_realm_outside_the_cloud_gets_nothing(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    async with (
        on_gce(machine),
        at_cloud(authority, GAR, tokens=service(GOOGLE)) as here,
    ):
        realm = f'Bearer realm="https://{HOSTILE}/token",service="x"'
        here.faults.on("GET", "/v2/", Answer(401, {"WWW-Authenticate": realm}))
        failure = (await here.audit(here.ref(NAMES[0]))).failure
        assert here.faults.count("GET", "/token") == 0
    assert failure.failure is FailureKind.REALM_REFUSED
    assert "it does not get this machine's Google identity" in failure.detail


# -- Azure --------------------------------------------------------------------------


@asynccontextmanager
async def acr(
    authority: Authority,
    patch: pytest.MonkeyPatch,
    forms: list[dict[str, str]],
    *,
    lifetime_s: float = 10_800,
) -> AsyncIterator[tuple[Lab, MetadataServer]]:
    """A registry of Azure with its exchange, and a managed identity."""
    account = DemoAccount("client", "secret", {"*": ("*",)})
    tokens = service(account)
    clocks: list[Lab] = []

    async def exchange(request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        forms.append(form)
        now = clocks[0].clock.epoch()
        refresh = jwt({"exp": now + lifetime_s, "n": len(forms)})
        tokens.give_refresh_token(refresh, account)
        return web.json_response({"refresh_token": refresh})

    async with metadata_server() as metadata:
        patch.setenv("IDENTITY_ENDPOINT", f"http://{metadata.address}/msi/token")
        patch.setenv("IDENTITY_HEADER", "a-header")
        routes = [web.post("/oauth2/exchange", exchange)]
        async with at_cloud(authority, ACR, tokens=tokens, routes=routes) as here:
            clocks.append(here)
            yield here, metadata


async def test_a_registry_of_azure_is_audited_with_a_managed_identity(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    forms: list[dict[str, str]] = []
    async with acr(authority, machine, forms) as (here, metadata):
        outcome = await here.audit(*map(here.ref, NAMES))
        asked = metadata.seen
    assert outcome.kinds == ["image", "image"]
    assert [form["service"] for form in forms] == [ACR]
    assert asked[0].endswith("&resource=https://containerregistry.azure.net")
    for record in outcome.records:
        assert isinstance(record, ImageRecord)
        assert record.access.credential is CredentialSource.AZURE


async def test_a_refresh_token_of_azure_is_replaced_before_it_expires(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    forms: list[dict[str, str]] = []
    async with acr(authority, machine, forms, lifetime_s=900) as (here, _):
        here.faults.on("GET", "/v2/team/app/tags/list", Passes(here.clock, 700))
        outcome = await here.audit(here.ref("team/app:*"), workers=1)
    assert outcome.kinds == ["image", "image"]
    assert len(forms) == 2


async def test_a_refused_exchange_is_one_sentence(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    async with acr(authority, machine, []) as (here, _):
        here.faults.on("POST", "/oauth2/exchange", Answer(401))
        failure = (await here.audit(here.ref(NAMES[0]))).failure
    assert failure.failure is FailureKind.DENIED
    assert failure.detail.startswith(
        f"{ACR} did not accept the Azure identity client id 1111-2222 (managed"
        " identity): "
    )


async def test_a_pod_without_an_azure_identity_asks_anonymously_and_says_so(
    authority: Authority, machine: pytest.MonkeyPatch
) -> None:
    tokens = service(GOOGLE)
    async with at_cloud(authority, ACR, tokens=tokens) as here:
        here.faults.on("GET", "/token", Answer(401))
        failure = (await here.audit(here.ref(NAMES[0]))).failure
    assert "this machine has no Azure identity (tried a service" in failure.detail
