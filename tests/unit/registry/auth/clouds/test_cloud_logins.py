"""How often a cloud is asked for a login, by the clock of the test."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.registry.auth.clouds.aws_identity import AwsIdentity
from auditor.registry.auth.clouds.cloud_logins import (
    HOLD_S,
    RENEW_BEFORE_S,
    CloudLogins,
    NoIdentity,
)
from auditor.registry.auth.clouds.machine_token import MachineToken
from auditor.registry.auth.docker_config import FoundCredential
from auditor.util.secret import KnownSecrets, Secret
from auditor.wire.cloud_hosts import cloud_host
from tests.clock import FakeClock, ManualClock

pytestmark = pytest.mark.anyio

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


class Machine:
    """Answers `AwsIdentity.login`; `calls` counts."""

    def __init__(self, patch: pytest.MonkeyPatch, **changes: Any) -> None:
        self.clock: Any = changes.setdefault("clock", ManualClock())
        self.calls = 0
        self.lifetime_s = 12 * 3600.0
        self.answer: Callable[[], MachineToken | None] = self.token
        self.logins = CloudLogins(secrets=KnownSecrets(), **changes)
        patch.setattr(AwsIdentity, "login", self.login)

    def login(self, host: object) -> MachineToken | None:
        self.calls += 1
        return self.answer()

    def token(self) -> MachineToken:
        return MachineToken(
            username="AWS",
            secret=Secret(f"password-{self.calls}"),
            expires_at=self.clock.epoch() + self.lifetime_s,
            identity="arn:aws:iam::123456789012:role/audit",
        )

    async def get(self, *, refresh: bool = False) -> Any:
        host = cloud_host(ECR)
        assert host is not None

        async def exchange(token: Secret) -> Secret:
            pytest.fail("only Azure's tokens are exchanged")

        return await self.logins.get(
            host, RegistrySettings(), exchange=exchange, refresh=refresh
        )


async def test_callers_at_the_same_time_share_one_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    found: list[Any] = []

    async def ask() -> None:
        found.append(await machine.get())

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(ask)
    assert machine.calls == 1
    assert len(found) == 10
    assert len({id(one) for one in found}) == 1


@pytest.mark.parametrize(
    ("lifetime_s", "renewed_after_s"),
    [
        (12 * 3600.0, 12 * 3600.0 - RENEW_BEFORE_S),
        (3600.0, 3600.0 - RENEW_BEFORE_S),
        (320.0, 160.0),
        (-1000.0, HOLD_S),
    ],
    ids=["ECR", "an hour", "minutes", "a wrong clock"],
)
async def test_a_login_is_replaced_before_it_expires(
    monkeypatch: pytest.MonkeyPatch, lifetime_s: float, renewed_after_s: float
) -> None:
    machine = Machine(monkeypatch)
    machine.lifetime_s = lifetime_s
    first = await machine.get()
    machine.clock.now += renewed_after_s - 1
    assert await machine.get() is first
    machine.clock.now += 1
    second = await machine.get()
    assert isinstance(second, FoundCredential)
    assert second != first
    assert machine.calls == 2


async def test_a_refused_login_is_asked_for_again_but_not_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    first = await machine.get()
    assert await machine.get(refresh=True) is first
    machine.clock.now += HOLD_S
    assert await machine.get(refresh=True) != first


async def test_a_failure_holds_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)

    def fail() -> MachineToken:
        raise ProtocolError("AWS says no", FailureKind.DENIED)

    machine.answer = fail
    for _ in range(3):
        failure = await machine.get()
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.detail) == (FailureKind.DENIED, "AWS says no")
    assert machine.calls == 1
    machine.clock.now += HOLD_S
    machine.answer = machine.token
    assert isinstance(await machine.get(), FoundCredential)


async def test_a_failure_of_the_network_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch, clock=FakeClock())

    def fail() -> MachineToken:
        if machine.calls == 3:
            return machine.token()
        raise ProtocolError("no connection", FailureKind.CONNECT)

    machine.answer = fail
    assert isinstance(await machine.get(), FoundCredential)
    assert machine.calls == 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "No such file", "/token"), "No such file: /token"),
        (OSError("no more files"), "no more files"),
        (ValueError("Invalid endpoint: x"), "Invalid endpoint: x"),
        (KeyError("id"), "KeyError: 'id'"),
    ],
)
async def test_every_error_of_a_library_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    machine = Machine(monkeypatch)

    def fail() -> MachineToken:
        raise error

    machine.answer = fail
    failure = await machine.get()
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.DENIED
    assert failure.detail == f"the AWS identity cannot be used: {reason}"


async def test_that_there_is_no_identity_holds_for_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    machine.answer = lambda: None
    for _ in range(3):
        found = await machine.get(refresh=True)
        assert isinstance(found, NoIdentity)
        assert found.detail.startswith("this machine has no AWS identity (tried ")
        machine.clock.now += 24 * 3600
    assert machine.calls == 1


async def test_a_library_that_does_not_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch, timeout_s=0.0)
    ended = threading.Event()

    def wait() -> None:
        ended.wait()

    machine.answer = wait
    failure = await machine.get()
    ended.set()
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.TIMEOUT
    assert failure.detail == ("no answer about this machine's AWS identity within 0 s")
