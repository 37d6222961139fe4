"""What a person who waits for a command is told about silent hosts."""

from __future__ import annotations

import anyio
import pytest

from auditor.cli.silent_hosts import open_watched_registries, report_silent_hosts
from auditor.config import Settings
from auditor.errors import UsageError
from auditor.registry.host_status import HostStatus
from tests.clock import FakeClock

pytestmark = pytest.mark.anyio


def _silent(name: str, seconds: int) -> HostStatus:
    return HostStatus(name=name, text=f"no answer for {seconds} s")


async def test_each_silence_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [
        [],
        [_silent("a", 5)],
        [_silent("a", 6), _silent("b", 5)],
        [HostStatus(name="a", text="retrying a (2 of 3): read timeout")],
        [_silent("a", 5), HostStatus(name="b", text="", at_once=3)],
    ]
    told: list[str] = []

    async def sleep(_: float) -> None:
        if not looks:
            raise TimeoutError

    monkeypatch.setattr("auditor.cli.silent_hosts.anyio.sleep", sleep)
    with pytest.raises(TimeoutError):
        await report_silent_hosts(lambda: looks.pop(0), told.append)
    assert told == [
        "waiting for a: no answer for 5 s",
        "waiting for b: no answer for 5 s",
        "waiting for a: no answer for 5 s",
    ]


@pytest.mark.parametrize("error", [UsageError("not this"), BrokenPipeError("closed")])
async def test_an_error_of_the_command_is_raised_as_it_is(error: Exception) -> None:
    settings = Settings(docker_config=False, registries_conf=False)

    async def fail() -> None:
        async with open_watched_registries(settings, clock=FakeClock()):
            await anyio.lowlevel.checkpoint()
            raise error

    with pytest.raises(type(error)) as caught:
        await fail()
    assert caught.value is error
