"""Registries that lie, stall or break: the audit goes on and loses nothing silently."""

from __future__ import annotations

import orjson
import pytest

from auditor.audit.run import AuditRun
from auditor.config import ImageConfigMode
from auditor.diagnose.token_check import TokenCheck, check_token
from auditor.errors import Failure
from auditor.input.lists import input_items
from auditor.model import Order, Record, Shape
from auditor.oci.descriptor import OCI_CONFIG, OCI_MANIFEST
from auditor.registry.registries import open_registries
from auditor.report.shapes import encoder
from tests.flow.harness import TAGS, lab, simple
from tests.support.fault_actions import Answer, Gate, Hold

pytestmark = pytest.mark.anyio
NAMES = [f"team/app:{number}" for number in range(4)]


async def test_a_size_beyond_64_bits_is_null() -> None:
    layer = {"mediaType": "x/y", "size": 2**63 - 1}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": f"sha256:{'c' * 64}", "size": 2},
        "layers": [{**layer, "digest": f"sha256:{sign * 64}"} for sign in "123"],
    }
    body = orjson.dumps(manifest)
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/*/manifests/0", Answer(200, {}, body))
        outcome = await here.audit(
            *map(here.ref, NAMES), image_config=ImageConfigMode.NEVER
        )
    assert outcome.kinds == ["image"] * 4
    first = outcome.records[0]
    assert first.kind == "image"
    assert orjson.loads(encoder(Shape.IMAGE)(first))["size"] is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"errors":[{"code":"UNKNOWN"}]}', "protocol_violation"),
        (b"{}", "protocol_violation"),
        (b'{"Tags":["1"]}', "protocol_violation"),
        (b'{"tags":[1,2,3]}', "incomplete_listing"),
        (b'{"tags":{}}', "protocol_violation"),
        # One of the two would be left out without a word.
        (b'{"tags":["0","1"],"tags":["2"]}', "ambiguous_document"),
        (b'{"tags":["0"],"t\\u0061gs":["1"]}', "ambiguous_document"),
        (b'{"tags":["0"],"Tags":["1"]}', "ambiguous_document"),
        (b'{"tags":["0"],"tag\xc5\xbf":["1"]}', "ambiguous_document"),
        (b'{"tags":["0"],"x":' + b"[" * 500 + b"]" * 500 + b"}", "protocol_violation"),
    ],
)
async def test_a_malformed_listing_is_a_failure(body: bytes, kind: str) -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/*/tags/list", Answer(200, {}, body))
        outcome = await here.audit(here.ref("team/app:*"))
    assert outcome.failure.failure == kind
    assert outcome.failure.stage == "list"


async def test_tags_before_a_link_to_another_host_are_audited() -> None:
    link = {"Link": '<http://elsewhere.example/v2/x/tags/list>; rel="next"'}
    async with lab(simple(NAMES)) as here:
        here.faults.on(
            "GET", "/v2/*/tags/list", Answer(200, link, b'{"tags":["0","1"]}')
        )
        outcome = await here.audit(here.ref("team/app:*"))
    assert outcome.kinds == ["image", "image", "incomplete_listing"]


async def test_a_listing_with_changing_cursors_ends() -> None:
    answers = [
        Answer(
            200,
            {"Link": f'</v2/team/app/tags/list?last={number}>; rel="next"'},
            b'{"tags":["%d"]}' % (number % 2),
        )
        for number in range(9)
    ]
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/*/tags/list", *answers, forever=True)
        outcome = await here.audit(here.ref("team/app:*"))
        assert here.faults.count("GET", "/v2/*/tags/list") == 3
    assert outcome.kinds == ["image", "image", "incomplete_listing"]


@pytest.mark.parametrize(
    "ping",
    [
        Answer(200, {}, b"{}"),
        Answer(404),
        Answer(401, {"WWW-Authenticate": "Negotiate"}),
    ],
)
@pytest.mark.parametrize("status", [200, 401, 403, 404])
async def test_only_a_listing_shows_anonymous_access(ping: Answer, status: int) -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/", ping)
        if status != 200:
            here.faults.on("GET", TAGS, Answer(status), forever=True)
        async with open_registries(here.settings(), clock=here.clock) as registries:
            registry = await registries.get(here.host)
            found = await check_token(registry, "team/app")
    if status == 200:
        assert isinstance(found, TokenCheck)
        assert found.pull
    else:
        assert isinstance(found, Failure)
        assert found.status == status


async def test_a_silent_host_does_not_delay_others() -> None:
    gate = Gate()
    written: list[str] = []

    async def write(record: Record) -> None:
        written.append(record.reference)
        if len(written) == len(NAMES):
            gate.open()  # only now may the slow host answer

    async with lab(simple(NAMES)) as slow, lab(simple(NAMES)) as quick:
        slow.faults.on("GET", "/v2/*/manifests/*", Hold(gate), forever=True)
        references = (*map(slow.ref, NAMES), *map(quick.ref, NAMES))
        settings = slow.settings(*references, workers=2, order=Order.COMPLETION)
        async with open_registries(settings, clock=slow.clock) as registries:
            await AuditRun(
                settings,
                input_items(settings),
                registries=registries,
                clock=slow.clock,
                write=write,
            ).run()
    assert sorted(written[:4]) == sorted(map(quick.ref, NAMES))
    assert sorted(written) == sorted(references)


async def test_a_long_retry_after_costs_one_request_per_host() -> None:
    async with lab(simple(NAMES)) as here:
        quota = Answer(429, {"Retry-After": "21600"})
        here.faults.on("GET", "/v2/*/manifests/*", quota, forever=True)
        outcome = await here.audit(*map(here.ref, NAMES), workers=1)
        assert here.faults.count("GET", "/v2/*/manifests/*") == 1
    assert outcome.kinds == ["rate_limited"] * 4
    assert outcome.summary.tally.not_asked == 3
    assert here.clock.slept == []
