"""How a machine is known to a cloud: each way, by the cloud's library on loopback."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest
from aiohttp import web

from auditor.config import RegistrySettings
from auditor.demo.demo_registry import serve
from auditor.errors import Failure, FailureKind
from auditor.registry.auth.clouds.cloud_logins import CloudLogins, NoIdentity
from auditor.registry.auth.docker_config import FoundCredential
from auditor.util.secret import KnownSecrets, Secret
from auditor.wire.cloud_hosts import cloud_host
from auditor.wire.credential import Login
from tests.certificates import Authority
from tests.clock import FakeClock
from tests.flow.cloud_services import aws_services, jwt, no_identity

pytestmark = pytest.mark.anyio

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
GAR = "europe-west1-docker.pkg.dev"
ACR = "company.azurecr.io"
ROLE = "arn:aws:iam::123456789012:role/pod"
TENANT = "11111111-1111-1111-1111-111111111111"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    with no_identity(str(tmp_path)) as patch:
        yield patch


async def found(host: str, **settings: Any) -> Any:
    """The login of this machine at a registry, or why there is none."""
    where = cloud_host(host)
    assert where is not None

    async def exchange(token: Secret) -> Secret:
        return token

    logins = CloudLogins(clock=FakeClock(), secrets=KnownSecrets())
    return await logins.get(where, RegistrySettings(**settings), exchange=exchange)


def variables(patch: pytest.MonkeyPatch, **values: object) -> None:
    for name, value in values.items():
        patch.setenv(name, str(value))


def written(folder: Path, name: str, text: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


# -- AWS ----------------------------------------------------------------------------


@pytest.fixture
def aws(machine: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """moto's server, and no access key in the environment."""
    with aws_services(machine):
        machine.delenv("AWS_ACCESS_KEY_ID")
        machine.delenv("AWS_SECRET_ACCESS_KEY")
        machine.setenv("AWS_METADATA_SERVICE_TIMEOUT", "60")
        yield machine


def is_login(login: object, method: str, identity: str) -> bool:
    """Whether it is moto's password, for an identity found in this way."""
    assert isinstance(login, FoundCredential), login
    assert isinstance(login.credential, Login)
    assert login.credential.password.reveal() == "123456789012-auth-token"
    return login.location == f"the AWS identity {identity} ({method})"


async def test_a_pod_of_eks_logs_in_by_its_service_account(
    aws: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variables(
        aws,
        AWS_WEB_IDENTITY_TOKEN_FILE=written(tmp_path, "token", jwt({"sub": "pod"})),
        AWS_ROLE_ARN=ROLE,
        AWS_ROLE_SESSION_NAME="night",
    )
    name = "arn:aws:sts::123456789012:assumed-role/pod/night"
    assert is_login(await found(ECR), "assume-role-with-web-identity", name)


KEYS = {
    "AccessKeyId": "ASIAEXAMPLE",
    "SecretAccessKey": "an-access-key",
    "Token": "a-session-token",
    "Expiration": "2099-01-01T00:00:00Z",
}
MOTO = "arn:aws:sts::123456789012:user/moto"


async def test_a_task_of_ecs_logs_in_by_its_role(
    aws: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def credentials(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "a-container-token"
        return web.json_response(KEYS)

    async with services({"/role": credentials}) as url:
        variables(
            aws,
            AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{url}/role",
            AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=written(
                tmp_path, "token", "a-container-token"
            ),
        )
        assert is_login(await found(ECR), "container-role", MOTO)


async def test_an_instance_logs_in_by_its_role(aws: pytest.MonkeyPatch) -> None:
    async def token(request: web.Request) -> web.Response:
        assert request.method == "PUT"
        return web.Response(text="imds-v2")

    async def metadata(request: web.Request) -> web.Response:
        assert request.headers["x-aws-ec2-metadata-token"] == "imds-v2"
        if request.path.endswith("/security-credentials/"):
            return web.Response(text="instance")
        return web.json_response({"Code": "Success", **KEYS})

    paths = {
        "/latest/api/token": token,
        "/latest/meta-data/{path:.*}": metadata,
    }
    async with services(paths) as url:
        variables(
            aws,
            AWS_EC2_METADATA_DISABLED="false",
            AWS_EC2_METADATA_SERVICE_ENDPOINT=f"{url}/",
        )
        assert is_login(await found(ECR), "iam-role", MOTO)


async def test_two_profiles_are_two_accounts(
    aws: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = """
        [profile one]
        role_arn = arn:aws:iam::111111111111:role/audit
        role_session_name = night
        source_profile = base
        [profile base]
        aws_access_key_id = AKIAEXAMPLE
        aws_secret_access_key = an-access-key
    """
    file = written(tmp_path, "config", re.sub(r"^ +", "", text, flags=re.MULTILINE))
    variables(aws, AWS_CONFIG_FILE=file)
    login = await found(ECR, aws_profile="one")
    assert (
        login.machine.identity == "arn:aws:sts::111111111111:assumed-role/audit/night"
    )
    login = await found(ECR, aws_profile="base")
    assert login.machine.identity == MOTO


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere/token", "AWS_ROLE_ARN": ROLE},
            "No such file or directory: /nowhere/token",
        ),
        (
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.example.com/"},
            "Unsupported host 'evil.example.com'.",
        ),
        (
            {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE"},
            "Partial credentials found in env, missing: AWS_SECRET_ACCESS_KEY",
        ),
    ],
    ids=["IRSA", "ECS", "environment"],
)
async def test_an_aws_identity_that_cannot_be_used_is_one_sentence(
    machine: pytest.MonkeyPatch, values: dict[str, str], reason: str
) -> None:
    variables(machine, **values)
    failure = await found(ECR)
    assert isinstance(failure, Failure)
    assert failure.detail.startswith(f"the AWS identity cannot be used: {reason}")


async def test_aws_that_cannot_be_reached_denies_nothing(
    machine: pytest.MonkeyPatch,
) -> None:
    variables(
        machine,
        AWS_ACCESS_KEY_ID="AKIAEXAMPLE",
        AWS_SECRET_ACCESS_KEY="an-access-key",
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
    )
    failure = await found(ECR)
    assert failure.kind is FailureKind.CONNECT
    assert failure.detail.startswith("the AWS API of eu-central-1 failed: Could not")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ThrottlingException", FailureKind.RATE_LIMITED),
        (503, "ServiceUnavailable", FailureKind.SERVER_ERROR),
    ],
)
async def test_aws_that_is_busy_is_asked_again(
    machine: pytest.MonkeyPatch, status: int, code: str, kind: FailureKind
) -> None:
    requests: list[str] = []

    async def busy(request: web.Request) -> web.Response:
        requests.append(request.path)
        return web.json_response({"__type": code, "Message": "later"}, status=status)

    async with services({"/": busy}) as url:
        variables(
            machine,
            AWS_ACCESS_KEY_ID="AKIAEXAMPLE",
            AWS_SECRET_ACCESS_KEY="an-access-key",
            AWS_ENDPOINT_URL=url,
        )
        failure = await found(ECR, tries=3)
    assert failure.kind is kind
    assert len(requests) == 3


# -- Google -------------------------------------------------------------------------


async def test_a_federated_workload_logs_in_at_google(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def exchange(request: web.Request) -> web.Response:
        assert (await request.post())["subject_token"] == "a-pod-token"
        document = {
            "access_token": "federated",
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": 3600,
        }
        return web.json_response(document)

    async def impersonate(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer federated"
        document = {"accessToken": "ya29.x", "expireTime": "2099-01-01T00:00:00Z"}
        return web.json_response(document)

    account = "audit@project.iam.gserviceaccount.com"
    path = f"/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
    async with services({"/v1/token": exchange, path: impersonate}) as url:
        source = written(tmp_path, "token", "a-pod-token")
        document = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/"
            "workloadIdentityPools/pool/providers/cluster",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{url}/v1/token",
            "service_account_impersonation_url": f"{url}{path}",
            "credential_source": {"file": str(source)},
        }
        file = written(tmp_path, "google.json", orjson.dumps(document))
        variables(machine, GOOGLE_APPLICATION_CREDENTIALS=file)
        login = await found(GAR)
    assert login.credential.password.reveal() == "ya29.x"
    assert login.location == (
        f"the Google identity {account} (workload identity federation)"
    )


async def test_a_person_logs_in_at_google_as_in_gcloud(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import google.oauth2.credentials as library  # noqa: PLC0415  (slow)

    async def token(request: web.Request) -> web.Response:
        assert (await request.post())["refresh_token"] == "a-refresh-token"
        return web.json_response({"access_token": "ya29.y", "expires_in": 3600})

    document = {
        "type": "authorized_user",
        "client_id": "gcloud",
        "client_secret": "of-gcloud",
        "refresh_token": "a-refresh-token",
        "account": "someone@example.com",
    }
    folder = tmp_path / ".config" / "gcloud"
    folder.mkdir(parents=True)
    written(folder, "application_default_credentials.json", orjson.dumps(document))
    async with services({"/token": token}) as url:
        machine.setattr(library, "_GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{url}/token")
        login = await found(GAR)
    assert login.credential.password.reveal() == "ya29.y"
    assert login.location == (
        "the Google identity someone@example.com (application default credentials)"
    )


@pytest.mark.parametrize("text", ["[1]", "secret-key", None])
async def test_a_file_of_google_that_cannot_be_used_is_one_sentence(
    machine: pytest.MonkeyPatch, tmp_path: Path, text: str | None
) -> None:
    file = tmp_path if text is None else written(tmp_path, "google.json", text)
    variables(machine, GOOGLE_APPLICATION_CREDENTIALS=file)
    failure = await found(GAR)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.DENIED
    assert "cannot be used: " in failure.detail
    assert "secret" not in failure.detail


# -- Azure --------------------------------------------------------------------------


@contextmanager
def entra(
    patch: pytest.MonkeyPatch, folder: Path, forms: list[dict[str, str]]
) -> Iterator[None]:
    """An authority of Azure, which gives a token to every form."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            base = f"https://{self.headers['Host']}/{TENANT}"
            self.answer(
                issuer=f"{base}/v2.0",
                authorization_endpoint=f"{base}/oauth2/v2.0/authorize",
                token_endpoint=f"{base}/oauth2/v2.0/token",
            )

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            forms.append(dict(parse_qsl(body.decode())))
            token = jwt({"appid": "1111-2222"})
            self.answer(access_token=token, expires_in=3600, token_type="Bearer")

        def answer(self, **document: object) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(orjson.dumps(document))

        def log_message(self, *args: object) -> None:
            pass

    authority = Authority(folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        context = authority.server("127.0.0.1")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        variables(
            patch,
            AZURE_AUTHORITY_HOST=f"https://127.0.0.1:{server.server_port}",
            AZURE_TENANT_ID=TENANT,
            AZURE_CLIENT_ID="1111-2222",
            REQUESTS_CA_BUNDLE=authority.file,
        )
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


async def test_a_pod_of_aks_logs_in_by_its_service_account(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forms: list[dict[str, str]] = []
    with entra(machine, tmp_path, forms):
        file = written(tmp_path, "token", "a-pod-token")
        variables(machine, AZURE_FEDERATED_TOKEN_FILE=file)
        login = await found(ACR)
    assert login.location == (
        "the Azure identity client id 1111-2222 (workload identity)"
    )
    assert forms[0]["client_assertion"] == "a-pod-token"
    assert forms[0]["scope"] == "https://containerregistry.azure.net/.default"


async def test_a_service_principal_logs_in_at_azure(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forms: list[dict[str, str]] = []
    with entra(machine, tmp_path, forms):
        variables(machine, AZURE_CLIENT_SECRET="a-client-secret")
        login = await found(ACR)
    assert login.location == (
        "the Azure identity client id 1111-2222 (service principal)"
    )
    assert forms[0]["client_secret"] == "a-client-secret"


async def test_a_missing_token_file_of_azure_is_one_sentence(
    machine: pytest.MonkeyPatch,
) -> None:
    variables(
        machine,
        AZURE_FEDERATED_TOKEN_FILE="/nowhere/token",
        AZURE_TENANT_ID=TENANT,
        AZURE_CLIENT_ID="1111-2222",
    )
    assert (await found(ACR)).detail == (
        "the Azure identity cannot be used: No such file or directory: /nowhere/token"
    )


async def test_why_azure_gives_no_managed_identity_is_said(
    machine: pytest.MonkeyPatch,
) -> None:
    reason = "Multiple user assigned identities exist, please specify the clientId"

    async def refuse(request: web.Request) -> web.Response:
        document = {"error": "invalid_request", "error_description": reason}
        return web.json_response(document, status=400)

    async with services({"/metadata/identity/oauth2/token": refuse}) as url:
        variables(machine, AZURE_POD_IDENTITY_AUTHORITY_HOST=url)
        none = await found(ACR)
    assert isinstance(none, NoIdentity)
    assert none.detail.startswith("this machine has no Azure identity (tried a service")
    assert reason in none.detail


# -- services -----------------------------------------------------------------------


@asynccontextmanager
async def services(
    paths: Mapping[str, Callable[[web.Request], Any]], **arguments: Any
) -> AsyncIterator[str]:
    """A server with these handlers; its URL."""
    app = web.Application()
    for path, handler in paths.items():
        app.router.add_route("*", path, handler)
    async with serve(app, **arguments) as url:
        yield url
