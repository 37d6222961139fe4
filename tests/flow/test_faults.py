"""Programmed faults, as a plain HTTP client meets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from auditor.demo.demo_registry import DemoContent, serve
from auditor.demo.image_builder import image
from tests.patience import HANG_S
from tests.support.fault_actions import (
    Action,
    Answer,
    Close,
    Delay,
    Drip,
    Edit,
    Flood,
    Gate,
    Hold,
    Pass,
    Raw,
    Truncate,
)
from tests.support.fault_mix import HOSTILE, TRANSIENT, Mix
from tests.support.faults import Faults
from tests.support.registry import registry_app

pytestmark = pytest.mark.anyio

PATH = "/v2/app/manifests/1"
IMAGE = image("app")


class Client:
    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self.session = session
        self.base_url = base_url

    async def get(self, path: str = PATH) -> tuple[int, bytes]:
        headers = {"Accept": IMAGE.root.media_type}
        async with self.session.get(self.base_url + path, headers=headers) as response:
            return response.status, await response.read()


@asynccontextmanager
async def client_of(faults: Faults) -> AsyncIterator[Client]:
    content = DemoContent()
    content.add("app", IMAGE, "1")
    app = registry_app(content, middlewares=[faults.middleware])
    async with serve(app) as base_url, aiohttp.ClientSession() as session:
        # aiohttp's client would ask a second time on its own.
        session._retry_connection = False
        yield Client(session, base_url)


GOOD = (200, IMAGE.root.raw)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Pass(), GOOD),
        (Answer(429, {"Retry-After": "1"}, b"slow down"), (429, b"slow down")),
        (Edit(status=203), (203, IMAGE.root.raw)),
        (Edit(body=b"<html>"), (200, b"<html>")),
        (Edit(body=bytes.upper), (200, IMAGE.root.raw.upper())),
        (Delay(0), GOOD),
        (Delay(0, then=Answer(500)), (500, b"")),
        (Drip(interval_s=0, chunk_bytes=100), GOOD),
        (Flood(100_000), (200, b" " * 100_000)),
        (Raw(b"HTTP/1.0 299 Odd\r\n\r\nhi"), (299, b"hi")),
    ],
)
async def test_an_action_changes_one_response(
    action: Action, expected: tuple[int, bytes]
) -> None:
    faults = Faults()
    faults.on("GET", "/v2/*/manifests/*", action)
    async with client_of(faults) as client:
        assert await client.get() == expected
        assert await client.get() == GOOD
    faults.assert_used_up()
    faults.assert_no_unmatched()


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (Close(), aiohttp.ServerDisconnectedError),
        (Close(reset=True), aiohttp.ClientOSError),
        (Truncate(at_bytes=10), aiohttp.ClientPayloadError),
        (Truncate(at_bytes=10, reset=True), aiohttp.ClientError),
        (Raw(b"hello\r\n\r\n"), aiohttp.ClientResponseError),
    ],
)
async def test_an_action_breaks_one_connection(
    action: Action, error: type[Exception]
) -> None:
    faults = Faults()
    faults.on("GET", PATH, action)
    async with client_of(faults) as client:
        with pytest.raises(error):
            await client.get()
        assert await client.get() == GOOD
    assert [seen.status for seen in faults.log] == [None, 200]


async def test_headers_are_changed_and_removed() -> None:
    faults = Faults()
    faults.on("GET", PATH, Edit(headers={"Docker-Content-Digest": None, "etag": "x"}))
    async with (
        client_of(faults) as client,
        client.session.get(
            client.base_url + PATH, headers={"Accept": "*/*"}
        ) as response,
    ):
        assert "Docker-Content-Digest" not in response.headers
        assert response.status == 404


async def test_a_rule_uses_its_actions_in_order_after_skipped_matches() -> None:
    faults = Faults()
    faults.on("GET", PATH, Answer(500), Answer(503), skip=1)
    async with client_of(faults) as client:
        statuses = [(await client.get())[0] for _ in range(4)]
    assert statuses == [200, 500, 503, 200]


async def test_a_rule_can_repeat_forever_and_match_the_query() -> None:
    faults = Faults()
    faults.on("*", "/v2/*/tags/list", Answer(504), query={"n": "1000"}, forever=True)
    async with client_of(faults) as client:
        path = "/v2/app/tags/list"
        assert [(await client.get(f"{path}?n=1000"))[0] for _ in range(3)] == [504] * 3
        assert (await client.get(f"{path}?n=100"))[0] == 200


def test_a_rule_without_an_action_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs an action"):
        Faults().on("GET", "/")


async def test_the_first_rule_with_an_action_left_is_used() -> None:
    faults = Faults()
    faults.on("GET", "*", Answer(500))
    faults.on("GET", PATH, Answer(503))
    async with client_of(faults) as client:
        statuses = [(await client.get())[0] for _ in range(3)]
    assert statuses == [500, 503, 200]


async def test_the_log_has_each_request_and_its_outcome() -> None:
    faults = Faults()
    faults.on("GET", PATH, Answer(500))
    async with client_of(faults) as client:
        for path in (PATH, PATH, "/v2/?a=b"):
            await client.get(path)
    assert [(one.target, one.status) for one in faults.log] == [
        (PATH, 500),
        (PATH, 200),
        ("/v2/?a=b", 200),
    ]
    assert faults.count("GET", "/v2/*/manifests/*") == faults.count(path=PATH) == 2
    assert faults.count("HEAD") == 0
    assert faults.repeated() == [PATH]
    assert faults.log[0].headers["accept"] == IMAGE.root.media_type
    assert len({one.connection for one in faults.log}) == 1
    assert faults.peak() == 1


async def test_held_requests_wait_together_until_the_gate_opens() -> None:
    faults, gate = Faults(), Gate()
    faults.on("GET", PATH, Hold(gate), forever=True)
    async with client_of(faults) as client, asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.get()) for _ in range(5)]
        await faults.until(lambda: faults.count(path=PATH) == 5)
        assert not any(task.done() for task in tasks)
        gate.open()
    assert [task.result() for task in tasks] == [GOOD] * 5
    assert faults.peak(path=PATH) == 5


async def test_a_condition_is_checked_when_a_request_waits_at_a_gate() -> None:
    faults, gate = Faults(), Gate()
    faults.on("GET", PATH, Hold(gate))
    async with client_of(faults) as client:
        task = asyncio.create_task(client.get())
        await faults.until(lambda: gate.waiting == 1)
        gate.open()
        assert await task == GOOD


async def test_a_client_that_disconnects_ends_its_held_request() -> None:
    faults, gate = Faults(), Gate()
    faults.on("GET", PATH, Hold(gate))
    async with client_of(faults) as client:
        task = asyncio.create_task(client.get())
        await faults.until(lambda: faults.count() == 1)
        task.cancel()
        await faults.until(lambda: faults.log[0].ended is not None)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (gate.waiting, faults.log[0].status) == (0, None)


async def test_a_server_with_held_requests_stops() -> None:
    faults = Faults()
    faults.on("GET", PATH, Hold())
    async with asyncio.timeout(HANG_S), client_of(faults) as client:
        task = asyncio.create_task(client.get())
        await faults.until(lambda: faults.count() == 1)
    with pytest.raises(aiohttp.ClientError):
        await task


async def test_an_unexpected_request_fails_the_test() -> None:
    faults = Faults()
    faults.on("GET", "/known", Answer(204), Answer(204))
    app = faults.scripted_app()
    async with serve(app) as base_url, aiohttp.ClientSession() as session:
        client = Client(session, base_url)
        assert (await client.get("/known"))[0] == 204
        faults.assert_no_unmatched()
        assert (await client.get("/unknown?a=b"))[0] == 404
    with pytest.raises(AssertionError, match=r"GET /unknown\?a=b"):
        faults.assert_no_unmatched()
    with pytest.raises(AssertionError, match="actions not used"):
        faults.assert_used_up()


# -- random mixes ----------------------------------------------------------------


def _drawn(mix: Mix, target: str, times: int = 200) -> list[Action | None]:
    return [mix.next_action(target) for _ in range(times)]


def test_the_same_seed_gives_each_target_the_same_faults() -> None:
    one, other = Mix(seed=7), Mix(seed=7)
    first = [_drawn(one, target) for target in ("a", "b")]
    second = [_drawn(other, target) for target in ("b", "a")]
    assert first == second[::-1]
    assert first[0] != first[1]
    assert _drawn(Mix(seed=8), "a") != first[0]


@pytest.mark.parametrize("at_most", [0, 1, 2, 5])
def test_consecutive_faults_are_limited(at_most: int) -> None:
    faulty = [
        action is not None
        for action in _drawn(Mix(seed=1, rate=1, at_most_in_a_row=at_most), "a", 60)
    ]
    assert faulty == ([True] * at_most + [False]) * (60 // (at_most + 1))


def test_a_mix_without_a_limit_can_fail_forever() -> None:
    assert None not in _drawn(Mix(seed=1, rate=1, at_most_in_a_row=None), "a")


async def test_a_client_that_retries_gets_through_transient_faults() -> None:
    faults = Faults(Mix(seed=3, rate=0.8, faults=TRANSIENT, at_most_in_a_row=2))
    answers = []
    async with client_of(faults) as client:
        for _ in range(20):
            tries = 0
            while True:
                tries += 1
                try:
                    answer = await client.get()
                except (aiohttp.ClientError, OSError):
                    continue
                if answer[0] == 200:
                    break
            answers.append(answer)
            assert tries <= 3
    assert answers == [GOOD] * 20
    assert any(seen.fault for seen in faults.log)


@pytest.mark.parametrize("action", [action for action, _ in HOSTILE])
async def test_hostile_responses_are_complete(action: Action) -> None:
    faults = Faults()
    faults.on("GET", PATH, action)
    async with client_of(faults) as client:
        await client.get()
    assert faults.log[0].status is not None
