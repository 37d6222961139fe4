"""The logins of a run with the identity of this machine, kept until they expire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.fast_dataclass import dataclass
from auditor.model import CredentialSource
from auditor.registry.auth.clouds import (
    aws_identity,
    azure_identity,
    google_identity,
)
from auditor.registry.auth.clouds.aws_identity import AwsIdentity
from auditor.registry.auth.clouds.azure_identity import AzureIdentity
from auditor.registry.auth.clouds.google_identity import GoogleIdentity
from auditor.registry.auth.clouds.machine_token import (
    MachineToken,
    MissingExtraError,
    NoIdentityError,
    call_library,
    identity_error,
)
from auditor.registry.auth.docker_config import FoundCredential, MachineLogin
from auditor.util.clock import Clock
from auditor.util.secret import KnownSecrets, Secret
from auditor.util.tasks import SingleFlight
from auditor.wire.cloud_hosts import Cloud, CloudHost
from auditor.wire.credential import Credential, IdentityToken, Login
from auditor.wire.retry_policy import full_jitter
from auditor.wire.token import read_claims

# For everything that a library does for one login: it looks for an identity in up to
# five places, and sends up to four requests.
TIMEOUT_S = 30.0
# A login is replaced this long before it expires, or after half of a shorter lifetime:
# Google's metadata server gives tokens that are valid for another five minutes.
RENEW_BEFORE_S = 300.0
# The least time between two attempts: after a failure, and with a very short lifetime.
HOLD_S = 60.0

_TRIED = {
    Cloud.AWS: aws_identity.TRIED,
    Cloud.GOOGLE: google_identity.TRIED,
    Cloud.AZURE: azure_identity.TRIED,
}
_SOURCES = {
    Cloud.AWS: CredentialSource.AWS,
    Cloud.GOOGLE: CredentialSource.GOOGLE,
    Cloud.AZURE: CredentialSource.AZURE,
}

# As in `credentials.py`, which imports this module.
Exchange = Callable[[Secret], Awaitable[Secret | Failure]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoIdentity:
    """This machine has no identity of the cloud; `detail` says what was tried."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """An outcome; `asked_at` and `renew_at` are in monotonic seconds."""

    outcome: FoundCredential | NoIdentity | Failure
    asked_at: float
    renew_at: float | None


class CloudLogins:
    """Logins by registry. A login, a failure and a missing identity are all kept."""

    def __init__(
        self, *, clock: Clock, secrets: KnownSecrets, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._clock = clock
        self._secrets = secrets
        self._timeout_s = timeout_s
        self._kept: dict[str, _Kept] = {}
        self._flights = SingleFlight[str, _Kept]()
        self._aws: dict[tuple[str | None, str | None], AwsIdentity] = {}
        self._google = GoogleIdentity()
        self._azure: dict[str, AzureIdentity] = {}

    async def get(
        self,
        host: CloudHost,
        settings: RegistrySettings,
        *,
        exchange: Exchange,
        refresh: bool = False,
    ) -> FoundCredential | NoIdentity | Failure:
        """The login for a registry of a cloud.

        `refresh` asks the cloud again, unless it was asked within `HOLD_S`.
        """
        # One login is for all of Google's registries.
        key = host.cloud.value if host.cloud is Cloud.GOOGLE else host.host
        kept, now = self._kept.get(key), self._clock.monotonic()
        if kept is not None and not _is_due(kept, now, refresh=refresh):
            return kept.outcome
        kept = await self._flights.run(
            key, lambda: self._renew(key, host, settings, exchange)
        )
        return kept.outcome

    def aws(self, settings: RegistrySettings) -> AwsIdentity:
        """The AWS identity for a registry with these settings."""
        key = settings.aws_profile, settings.role_arn
        return self._aws.setdefault(key, AwsIdentity(*key))

    async def _renew(
        self,
        key: str,
        host: CloudHost,
        settings: RegistrySettings,
        exchange: Exchange,
    ) -> _Kept:
        asked_at = self._clock.monotonic()
        outcome = await self._login(host, settings, exchange)
        renew_at: float | None = asked_at + HOLD_S
        if isinstance(outcome, NoIdentity):
            renew_at = None  # no other will come during the run
        elif isinstance(outcome, FoundCredential) and outcome.machine is not None:
            renew_at = outcome.machine.renew_at
        kept = self._kept[key] = _Kept(
            outcome=outcome, asked_at=asked_at, renew_at=renew_at
        )
        return kept

    async def _login(
        self, host: CloudHost, settings: RegistrySettings, exchange: Exchange
    ) -> FoundCredential | NoIdentity | Failure:
        cloud = host.cloud.display_name
        try:
            token = await self._token(host, settings)
        except MissingExtraError as error:
            return NoIdentity(detail=str(error))
        except NoIdentityError as error:
            return NoIdentity(
                detail=identity_error(_no_identity(host.cloud), error).detail
            )
        except TimeoutError:
            limit = f"within {self._timeout_s:g} s"
            detail = f"no answer about this machine's {cloud} identity {limit}"
            return _failure(detail, FailureKind.TIMEOUT)
        except ProtocolError as error:
            return _failure(error.detail, error.kind)
        if token is None:
            return NoIdentity(detail=_no_identity(host.cloud))
        self._secrets.add(token.secret, token.username or None)
        if host.cloud is not Cloud.AZURE:
            login = Login(username=token.username, password=token.secret)
            return self._found(host, login, token)
        refresh_token = await exchange(token.secret)
        if isinstance(refresh_token, Failure):
            detail = (
                f"{host.host} did not accept the Azure identity {token.description}:"
                f" {refresh_token.detail}"
            )
            return replace(refresh_token, detail=detail)
        # A JWT for three hours; other texts are as short-lived as the access token.
        claims = read_claims(refresh_token.reveal())
        if claims is not None and claims.expires_at is not None:
            token = replace(token, expires_at=claims.expires_at)
        return self._found(host, IdentityToken(token=refresh_token), token)

    async def _token(
        self, host: CloudHost, settings: RegistrySettings
    ) -> MachineToken | None:
        """What the library gives, asked again where it may succeed a moment later."""
        call, clock = self._call(host, settings), self._clock
        until, attempt = clock.monotonic() + self._timeout_s, 1
        while True:
            try:
                return await call_library(host.cloud, call, timeout_s=self._timeout_s)
            except ProtocolError as error:
                is_last = attempt >= settings.tries or clock.monotonic() >= until
                if not error.kind.retryable or is_last:
                    raise
            await clock.sleep(full_jitter(attempt, random=clock.random()))
            attempt += 1

    def _call(
        self, host: CloudHost, settings: RegistrySettings
    ) -> Callable[[], MachineToken | None]:
        match host.cloud:
            case Cloud.AWS:
                identity = self.aws(settings)
                return lambda: identity.login(host)
            case Cloud.GOOGLE:
                return self._google.token
            case Cloud.AZURE:
                suffix = host.suffix or "io"
                return self._azure.setdefault(suffix, AzureIdentity(suffix)).token

    def _found(
        self, host: CloudHost, credential: Credential, token: MachineToken
    ) -> FoundCredential:
        now = self._clock.monotonic()
        lifetime_s = HOLD_S
        if token.expires_at is not None:
            # A clock that is wrong must not end a login at once.
            lifetime_s = max(token.expires_at - self._clock.epoch(), HOLD_S)
        renew_in_s = max(lifetime_s - RENEW_BEFORE_S, lifetime_s / 2, HOLD_S)
        return FoundCredential(
            credential=credential,
            source=_SOURCES[host.cloud],
            location=f"the {host.cloud.display_name} identity {token.description}",
            machine=MachineLogin(
                cloud=host.cloud,
                identity=token.identity,
                renew_at=now + renew_in_s,
                expires_at=now + lifetime_s,
            ),
        )


def _no_identity(cloud: Cloud) -> str:
    return f"this machine has no {cloud.display_name} identity (tried {_TRIED[cloud]})"


def _is_due(kept: _Kept, now: float, *, refresh: bool) -> bool:
    if kept.renew_at is None:
        return False
    return now >= kept.renew_at or (refresh and now >= kept.asked_at + HOLD_S)


def _failure(detail: str, kind: FailureKind) -> Failure:
    return Failure(kind=kind, detail=detail, stage=Stage.TOKEN)
