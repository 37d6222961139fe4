"""The AWS identity of this machine, by boto3.

boto3 looks in its documented order ("Credentials"): environment variables, the profile
(`AWS_PROFILE`), web identity (IRSA), shared files and SSO, the roles of containers
(ECS, EKS Pod Identity) and instances.

Sources: Amazon ECR API, GetAuthorizationToken; ECR Public API, the same.
"""

from __future__ import annotations

import base64
import binascii
import threading
from http import HTTPStatus
from typing import Any

from auditor.errors import FailureKind, ProtocolError
from auditor.registry.auth.clouds.machine_token import (
    MachineToken,
    identity_error,
    import_library,
)
from auditor.util.secret import Secret
from auditor.wire.cloud_hosts import Cloud, CloudHost

TRIED = (
    "environment variables, AWS_PROFILE and the shared files, web identity (IRSA), and"
    " the roles of containers and instances"
)
# In CloudTrail.
_SESSION_NAME = "auditor"
# The API answers in tenths of a second. The callers repeat what may succeed later.
_CONNECT_TIMEOUT_S = 3
_READ_TIMEOUT_S = 10
_ATTEMPTS = 1
# "Common errors" of the AWS APIs.
_THROTTLED = frozenset(
    {
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
    }
)
# Only the name of the identity depends on it: a network without STS costs this much.
_NAME_TIMEOUT_S = 2

Boto = Any  # boto3 has no type hints


class AwsIdentity:
    """One identity: of a profile, or of the environment, and a role to assume.

    Its methods block and may be called from several threads. They raise `ProtocolError`
    and `MissingExtraError`.
    """

    def __init__(self, profile: str | None = None, role_arn: str | None = None) -> None:
        self._profile = profile
        self._role_arn = role_arn
        self._lock = threading.Lock()
        self._is_none = False
        self._session: Boto = None
        self._credentials: Boto = None
        self._name: str | None = None
        self._clients: dict[tuple[object, ...], Boto] = {}

    def login(self, host: CloudHost) -> MachineToken | None:
        """A login to a registry of ECR; None if there is no AWS identity."""
        service = "ecr-public" if host.is_public else "ecr"
        client = self.client(host)
        if client is None:
            return None
        response = self.call(host, client.get_authorization_token)
        data = response["authorizationData"]
        # An array for private registries, one object for the public one.
        entry = data[0] if isinstance(data, list) else data
        try:
            pair = base64.b64decode(entry["authorizationToken"], validate=True).decode()
        except (binascii.Error, ValueError, KeyError):
            raise identity_error(f"{service} returned no authorization token") from None
        username, _, password = pair.partition(":")
        return MachineToken(
            username=username,
            secret=Secret(password),
            expires_at=entry["expiresAt"].timestamp(),
            identity=self._identity(host),
            method=self._credentials.method,
        )

    def client(self, host: CloudHost) -> Boto | None:
        """A client of the API of a registry, None if there is no AWS identity.

        Clients are kept as long as the credentials that they use.
        """
        service = "ecr-public" if host.is_public else "ecr"
        with self._lock:
            credentials = self._found_credentials(host)
            if credentials is None:
                return None
            return self._client(service, host, credentials)

    def call(self, host: CloudHost, method: Any, **parameters: Any) -> Any:
        """The response of a client's method; its errors as one sentence."""
        from botocore import exceptions  # noqa: PLC0415  (an extra)

        try:
            return method(**parameters)
        except exceptions.ClientError as error:
            raise self._client_error(host, error) from None
        except exceptions.ParamValidationError as error:
            # A name that no repository can have.
            raise identity_error("not in ECR", error, FailureKind.NOT_FOUND) from None
        except exceptions.BotoCoreError as error:
            sentence = f"the AWS API of {host.region} failed"
            raise identity_error(sentence, error, _kind(error)) from None

    def _found_credentials(self, host: CloudHost) -> Any:
        """The frozen credentials, renewed by boto3 before they expire."""
        if self._is_none:
            return None
        boto3 = import_library(Cloud.AWS, _boto3)
        from botocore import exceptions  # noqa: PLC0415  (an extra)

        try:
            if self._credentials is None:
                session = boto3.Session(profile_name=self._profile)
                if session.region_name is None:
                    # A profile with a role asks STS, which needs a region.
                    session = boto3.Session(
                        profile_name=self._profile, region_name=host.region
                    )
                credentials = session.get_credentials()
                if credentials is None:
                    self._is_none = True
                    return None
                if self._role_arn is not None:
                    credentials = self._assumed(session, credentials, host)
                self._session, self._credentials = session, credentials
            return self._credentials.get_frozen_credentials()
        except exceptions.ClientError as error:
            raise self._client_error(host, error) from None
        except exceptions.BotoCoreError as error:
            # A profile that does not exist, an SSO session that has ended, a metadata
            # service that refuses.
            sentence = "the AWS identity cannot be used"
            raise identity_error(sentence, error, _kind(error)) from None

    def _assumed(self, session: Boto, source: Boto, host: CloudHost) -> Any:
        """Credentials of the role, renewed by botocore with those of `source`."""
        from botocore import config, credentials  # noqa: PLC0415  (an extra)

        def create_client(service: str, **arguments: Any) -> Boto:
            return session.client(
                service,
                region_name=host.region,
                config=_config(config.Config),
                **arguments,
            )

        fetcher = credentials.AssumeRoleCredentialFetcher(
            create_client,
            source,
            self._role_arn,
            extra_args={"RoleSessionName": _SESSION_NAME},
        )
        return credentials.DeferredRefreshableCredentials(
            method="assume-role", refresh_using=fetcher.fetch_credentials
        )

    def _client(self, service: str, host: CloudHost, frozen: Any) -> Boto:
        from botocore.config import Config  # noqa: PLC0415  (an extra)

        key = service, host.region, host.is_fips, host.is_dual_stack
        known = self._clients.get(key)
        if known is None or known[0] != frozen:
            client = self._session.client(
                service,
                region_name=host.region,
                aws_access_key_id=frozen.access_key,
                aws_secret_access_key=frozen.secret_key,
                aws_session_token=frozen.token,
                config=_config(
                    Config,
                    use_fips_endpoint=host.is_fips or None,
                    use_dualstack_endpoint=host.is_dual_stack or None,
                ),
            )
            known = self._clients[key] = frozen, client
        return known[1]

    def _identity(self, host: CloudHost) -> str | None:
        """The ARN by STS, which every identity may ask; None if STS does not answer."""
        if self._name is not None:
            return self._name
        from botocore import config, exceptions  # noqa: PLC0415  (an extra)

        with self._lock:
            frozen = self._credentials.get_frozen_credentials()
            try:
                client = self._session.client(
                    "sts",
                    region_name=host.region,
                    aws_access_key_id=frozen.access_key,
                    aws_secret_access_key=frozen.secret_key,
                    aws_session_token=frozen.token,
                    config=config.Config(
                        connect_timeout=_NAME_TIMEOUT_S,
                        read_timeout=_NAME_TIMEOUT_S,
                        retries={"total_max_attempts": 1},
                    ),
                )
                self._name = str(client.get_caller_identity()["Arn"])
            except (exceptions.ClientError, exceptions.BotoCoreError, KeyError):
                return self._role_arn
        return self._name

    def _client_error(self, host: CloudHost, error: Any) -> ProtocolError:
        """What AWS refused, and what to do, in one sentence."""
        answer = error.response.get("Error", {})
        code, message = str(answer.get("Code", "error")), answer.get("Message")
        action = f"{_service(error)}:{error.operation_name}"
        account = f" of account {host.account}" if host.account else ""
        where = f"{action} in {host.region}{account}"
        if code in {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}:
            name = self._name or self._role_arn or "the identity of this machine"
            return identity_error(
                f"AWS denies {name} {where}; allow it this action", message
            )
        if code in {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}:
            return identity_error(
                f"AWS refused {where}: the credentials have expired; log in again"
                " (aws sso login), or replace them"
            )
        sentence = f"AWS refused {where} ({code})"
        if code == "RepositoryNotFoundException":
            return ProtocolError(sentence, FailureKind.NOT_FOUND)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        kind = FailureKind.DENIED
        if code in _THROTTLED or status == HTTPStatus.TOO_MANY_REQUESTS:
            kind = FailureKind.RATE_LIMITED
        elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            kind = FailureKind.SERVER_ERROR
        return identity_error(sentence, message, kind)


def _boto3() -> Boto:
    import boto3  # noqa: PLC0415  (an extra)

    return boto3


def _kind(error: Any) -> FailureKind:
    """What went wrong with the network, or that the identity was refused."""
    from botocore import exceptions  # noqa: PLC0415  (an extra)

    if isinstance(error, exceptions.SSLError):
        return FailureKind.TLS
    if isinstance(error, exceptions.ConnectTimeoutError | exceptions.ReadTimeoutError):
        return FailureKind.TIMEOUT
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
        return FailureKind.CONNECT
    return FailureKind.DENIED


def _config(make: Any, **arguments: Any) -> Any:
    return make(
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        **arguments,
    )


def _service(error: Any) -> str:
    return "sts" if error.operation_name.startswith(("Assume", "GetCaller")) else "ecr"
