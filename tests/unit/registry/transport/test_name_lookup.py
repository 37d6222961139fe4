from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from auditor.errors import Failure, FailureKind, FailureReason
from auditor.registry.transport.connection_budget import ConnectionBudget
from auditor.registry.transport.http_defaults import DNS_CACHE_S, Timeouts
from auditor.registry.transport.name_lookup import NameLookups
from auditor.registry.transport.transport import Transport
from auditor.wire.url_policy import origin_of
from tests.clock import advance_loop, settle
from tests.patience import HANG_S
from tests.support.silent_resolver import silent_resolver

pytestmark = pytest.mark.anyio
QUICK = Timeouts(connect_s=0.01, read_s=30, request_s=60)


async def _first(lookups: NameLookups, host: str) -> str:
    addresses = await (await lookups.start(host, 443)).addresses()
    return str(addresses[0][4][0])


async def test_a_name_that_never_resolves_does_not_delay_others() -> None:
    with silent_resolver() as resolver:
        lookups = NameLookups()
        silent = [await lookups.start(f"silent{n}.example", 443) for n in range(100)]
        assert await _first(lookups, "registry.example") == "127.0.0.1"
        assert not any(lookup.is_done for lookup in silent)
        assert all(resolver.daemons)
        assert len(resolver.daemons) == 101


async def test_callers_share_one_lookup_of_a_name_even_if_they_give_up() -> None:
    with silent_resolver() as resolver:
        lookups = NameLookups()
        for _ in range(5):
            lookup = await lookups.start("silent.example", 443)
            caller = asyncio.create_task(lookup.addresses())
            await settle()
            caller.cancel()
            await asyncio.wait([caller])
        callers = [
            asyncio.create_task(_first(lookups, "silent.example")) for _ in range(3)
        ]
        await settle()
        resolver.release.set()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert resolver.asked == ["silent.example"]
    assert [type(one) for one in outcomes] == [socket.gaierror] * 3
    assert len({id(one) for one in outcomes}) == 3


@pytest.mark.parametrize("use_http1", [True, False], ids=["http1", "aiohttp"])
@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_a_request_lends_its_permit_until_its_lookup_has_its_turn(
    *, use_http1: bool, is_cancelled: bool
) -> None:
    budget = ConnectionBudget(4)
    assert budget.requests.limit == 2
    transport = Transport(
        origin=origin_of("https://registry.example"),
        max_in_flight=1,
        timeouts=QUICK,
        budget=budget,
        names=NameLookups(max_at_once=1),
        use_http1=use_http1,
    )
    with silent_resolver() as resolver:
        await transport._names.start("silent.example", 443)
        await budget.requests.acquire()
        request = asyncio.create_task(
            transport.request(
                "GET", "https://registry.example/v2/", headers={}, max_bytes=9
            )
        )
        await settle()
        assert budget.requests.free == 2
        if is_cancelled:
            request.cancel()
            await asyncio.wait([request])
        else:
            # Two other requests take the permits: it waits until it has one again.
            await budget.requests.acquire()
            await budget.requests.acquire()
            resolver.release.set()
            await asyncio.wait([request], timeout=0.05)
            assert not request.done()
            budget.requests.release()
            await request
            budget.requests.release()
        assert budget.requests.free == 1
        budget.requests.release()
    await transport.aclose()


async def test_lookups_above_the_limit_wait_for_their_turn_without_a_time_limit() -> (
    None
):
    with silent_resolver() as resolver:
        lookups = NameLookups(max_at_once=1)
        await lookups.start("silent.example", 443)
        # Its time to connect does not run while it waits for its turn.
        transport = Transport(
            origin=origin_of("http://registry.example:1"),
            max_in_flight=2,
            timeouts=Timeouts(connect_s=HANG_S, read_s=HANG_S, request_s=HANG_S),
            names=lookups,
        )
        request = asyncio.create_task(
            transport.request(
                "GET", "http://registry.example:1/v2/", headers={}, max_bytes=9
            )
        )
        await settle()
        advance_loop(3 * HANG_S)
        await settle()
        assert not request.done()
        assert resolver.asked == ["silent.example"]
        resolver.release.set()
        outcome = await request
        await transport.aclose()
    assert resolver.asked == ["silent.example", "registry.example"]
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.CONNECT


async def test_a_caller_that_waits_for_its_turn_can_be_cancelled() -> None:
    with silent_resolver() as resolver:
        lookups = NameLookups(max_at_once=1)
        await lookups.start("silent.example", 443)
        waiting = [
            asyncio.create_task(_first(lookups, "registry.example")) for _ in range(2)
        ]
        await settle()
        waiting[0].cancel()
        await settle()
        resolver.release.set()
        assert await waiting[1] == "127.0.0.1"
        assert waiting[0].cancelled()


@pytest.mark.parametrize("use_http1", [True, False], ids=["http1", "aiohttp"])
async def test_a_silent_dns_server_is_a_failure_of_dns(use_http1: bool) -> None:
    with silent_resolver():
        url = "https://silent.example/v2/"
        transport = Transport(
            origin=origin_of(url), max_in_flight=2, timeouts=QUICK, use_http1=use_http1
        )
        outcome = await transport.request("GET", url, headers={}, max_bytes=9)
        await transport.aclose()
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.DNS
    assert outcome.reason is FailureReason.LOOKUP_TIMEOUT
    assert outcome.detail == (
        "the host name in https://silent.example/v2/ did not resolve within 0.01 s:"
        " no DNS server answered"
    )


def test_the_program_does_not_wait_for_a_lookup_at_its_end() -> None:
    async def main() -> None:
        await NameLookups().start("silent.example", 443)

    with silent_resolver() as resolver:
        asyncio.run(main())  # waits for the threads of the loop's executor
        assert not resolver.release.is_set()
        assert resolver.daemons == [True]
        before = threading.enumerate()
    # The result comes after the end of the loop, and is lost without a word.
    for thread in before:
        if thread.name == "look-up":
            thread.join()


async def test_addresses_are_kept_and_failures_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    with silent_resolver() as resolver:
        lookups = NameLookups()
        for _ in range(2):
            await _first(lookups, "registry.example")
        assert len(resolver.asked) == 1
        now += DNS_CACHE_S
        await _first(lookups, "registry.example")
        assert len(resolver.asked) == 2
        lookups.forget("registry.example", 443)
        await _first(lookups, "registry.example")
        assert len(resolver.asked) == 3
        resolver.release.set()
        for _ in range(2):
            with pytest.raises(socket.gaierror):
                await _first(lookups, "silent.example")
        assert len(resolver.asked) == 5


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "192.0.2.1", "fe80::1%1"])
async def test_an_address_needs_no_thread(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        threads.append(threading.current_thread())
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    # Not even a turn: all of them may be taken by names.
    assert await _first(NameLookups(max_at_once=0), address) == address
    assert threads == [threading.main_thread()]


async def test_without_threads_a_lookup_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    lookups = NameLookups(max_at_once=1)
    for _ in range(2):  # the turn is given back
        with pytest.raises(OSError, match="can't start new thread"):
            await _first(lookups, "registry.example")


async def test_a_name_that_cannot_be_one_is_an_error() -> None:
    with pytest.raises(UnicodeError):
        await _first(NameLookups(), "a" * 64 + ".example")
