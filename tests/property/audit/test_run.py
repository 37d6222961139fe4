"""N distinct references give N records, each once, under random faults."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from auditor.audit.run import AuditRun
from auditor.config import AttachmentMode, ImageConfigMode
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import image, index
from auditor.demo.schema1_builder import schema1_image
from auditor.input.lists import input_items
from auditor.model import Order
from auditor.registry.registries import open_registries
from auditor.report.shapes import encoder
from auditor.report.writer import ReportWriter
from tests.examples import examples
from tests.flow.harness import ADMIN, Lab, lab
from tests.support.attached_images import notation_signature
from tests.support.fault_mix import HOSTILE, TRANSIENT, Mix
from tests.support.faults import Faults
from tests.support.token_service import FakeTokenService

REPOSITORIES = ("a", "b/c", "d")
TAGS = ("1", "2", "3", "latest")
MALFORMED = ("UPPER/case", "a b", "", "x:tag:tag", "x@sha256:0", "../x", "\x1b[2J")
# One more attempt than the mix of temporary faults has faults in a row.
TRIES = 4


def _content() -> DemoContent:
    """Tags of one digest, indexes that share children, and a lone manifest each."""
    content = DemoContent()
    children = [image("app", platform=one) for one in ("linux/amd64", "linux/arm64")]
    for name in REPOSITORIES:
        content.add(name, index(children), "1", "2")
        content.add(name, index(children, annotations={"of": name}), "3")
        content.add(name, image(name), "latest")
        content.add(name, notation_signature(index(children).root))
        content.add(name, schema1_image(name, "old"), "old")
    return content


CONTENT = _content()


@dataclass(frozen=True, kw_only=True)
class Case:
    """Lines of a list; `{host}` is replaced by the registry."""

    lines: tuple[str, ...]
    workers: int
    window: int
    requests_at_once: int
    image_config: ImageConfigMode
    with_tokens: bool
    looking: dict[str, Any]
    mix: Mix


# The attachment mode: mostly the default.
LOOKING: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"attachments": AttachmentMode.ALL, "verify_blobs": True},
    {"platforms": ("linux/arm64",), "labels": ("*",), "verify_blobs": True},
)

plain = st.builds(
    lambda name, tag: "{host}/" + f"{name}:{tag}",
    st.sampled_from((*REPOSITORIES, "gone")),
    st.sampled_from((*TAGS, "old", "gone")),
)
a_line = st.one_of(plain, plain, plain, st.sampled_from(MALFORMED))
# Mostly long lists; short ones come from shrinking and from the second strategy.
lines = st.one_of(
    st.lists(a_line, min_size=12, max_size=40), st.lists(a_line, max_size=4)
)


def cases(mix: st.SearchStrategy[Mix]) -> st.SearchStrategy[Case]:
    return st.builds(
        Case,
        lines=lines.map(tuple),
        workers=st.integers(1, 9),
        window=st.integers(1, 12),
        requests_at_once=st.integers(1, 9),
        image_config=st.sampled_from(ImageConfigMode),
        with_tokens=st.booleans(),
        looking=st.sampled_from(LOOKING),
        mix=mix,
    )


passing = st.builds(Mix, seed=st.integers(0, 2**32), rate=st.floats(0, 0.6))
# Permanent faults, wrong responses, and all temporary faults.
lasting = st.builds(
    Mix,
    seed=st.integers(0, 2**32),
    rate=st.floats(0.1, 1),
    faults=st.just((*TRANSIENT, *HOSTILE)),
    at_most_in_a_row=st.sampled_from([None, 1, 5]),
)

unhurried = examples(
    60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def _expected(here: Lab, case: Case) -> list[str]:
    """The expected references of a report: distinct ones and malformed lines."""
    expected: list[str] = []
    for line in case.lines:
        reference = line.replace("{host}", here.host)
        if line in MALFORMED or reference not in expected:
            expected.append(reference)
    # Empty lines are skipped, and unprintable characters are escaped.
    return [one.replace("\x1b", "\\x1b") for one in expected if one]


def _opened(case: Case) -> tuple[Faults, FakeTokenService | None]:
    tokens = FakeTokenService(accounts=[ADMIN]) if case.with_tokens else None
    return Faults(case.mix), tokens


async def _audited(case: Case, order: Order) -> tuple[list[str], list[str], list[str]]:
    """The expected and the actual references, and the kinds of the records."""
    faults, tokens = _opened(case)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "list.txt")
        async with lab(CONTENT, faults=faults, tokens=tokens) as here:
            path.write_text("\n".join(case.lines).replace("{host}", here.host))
            outcome = await here.audit(
                lists=(str(path),),
                allow_empty=True,
                workers=case.workers,
                window=case.window,
                requests_at_once=case.requests_at_once,
                image_config=case.image_config,
                order=order,
                **case.looking,
                tries=TRIES,
            )
            expected = _expected(here, case)
    summary = outcome.summary
    assert summary.asked == len(outcome.records)
    assert summary.to_do == 0
    assert summary.duplicates == sum(map(bool, case.lines)) - len(expected)
    return expected, outcome.references, outcome.kinds


@unhurried
@given(case=cases(passing))
def test_temporary_faults_lose_no_record(case: Case) -> None:
    expected, found, kinds = asyncio.run(_audited(case, Order.INPUT))
    assert found == expected
    for reference, kind in zip(found, kinds, strict=True):
        if "/gone:" in reference or reference.endswith(":gone"):
            assert kind == "not_found"
        else:
            is_bad = reference.replace("\\x1b", "\x1b") in MALFORMED
            assert kind == ("invalid_reference" if is_bad else "image")


@unhurried
@given(case=cases(lasting))
def test_permanent_faults_become_one_failure_record_per_reference(case: Case) -> None:
    expected, found, _ = asyncio.run(_audited(case, Order.INPUT))
    assert found == expected


@unhurried
@given(case=cases(st.one_of(passing, lasting)))
def test_in_completion_order_every_reference_has_one_record(case: Case) -> None:
    expected, found, _ = asyncio.run(_audited(case, Order.COMPLETION))
    assert sorted(found) == sorted(expected)


@unhurried
@given(case=cases(passing), patterns=st.lists(st.sampled_from(["*", "[123]", "l*"])))
def test_patterns_and_references_give_one_record_per_reference(
    case: Case, patterns: list[str]
) -> None:
    async def main() -> None:
        faults, tokens = _opened(case)
        async with lab(CONTENT, faults=faults, tokens=tokens) as here:
            asked = [
                here.ref(f"{REPOSITORIES[number % 3]}:{pattern}")
                for number, pattern in enumerate(patterns)
            ]
            asked += [line.replace("{host}", here.host) for line in case.lines if line]
            outcome = await here.audit(
                *asked, workers=case.workers, window=case.window, tries=TRIES
            )
        found = [one for one in outcome.references if one.startswith(here.host)]
        assert len(found) == len(set(found))
        distinct = {one for one in asked if one.startswith(here.host)}
        assert {one for one in distinct if "*" not in one and "[" not in one} <= set(
            found
        )
        assert outcome.summary.to_do == 0
        assert outcome.summary.asked == len(outcome.records)

    asyncio.run(main())


@unhurried
@given(
    case=cases(st.one_of(passing, lasting)),
    order=st.sampled_from(Order),
    stop_at_request=st.integers(1, 60),
    grace_s=st.sampled_from([0.0, 60.0]),
)
def test_a_stopped_run_leaves_complete_lines_without_duplicates(
    case: Case, order: Order, stop_at_request: int, grace_s: float
) -> None:
    async def main(report: Path, listed: Path) -> None:
        faults, tokens = _opened(case)
        async with lab(CONTENT, faults=faults, tokens=tokens) as here:
            listed.write_text("\n".join(case.lines).replace("{host}", here.host))
            run_settings = here.settings(
                lists=(str(listed),),
                allow_empty=True,
                workers=case.workers,
                window=case.window,
                order=order,
                tries=TRIES,
            )
            encode = encoder(run_settings.shape)
            async with (
                open_registries(run_settings, clock=here.clock) as registries,
                ReportWriter(str(report)) as writer,
            ):
                run = AuditRun(
                    run_settings,
                    input_items(run_settings),
                    registries=registries,
                    clock=here.clock,
                    write=lambda record: writer.write(encode(record)),
                )
                async with here.when(
                    lambda: faults.count() >= stop_at_request,
                    lambda: run.stop(grace_s),
                ):
                    await run.run()
                partial = writer.partial
            assert partial is not None
            assert not report.exists()
            data = partial.read_bytes()
            expected = _expected(here, case)
        assert data == b"" or data.endswith(b"\n")
        found = [orjson.loads(line)["reference"] for line in data.splitlines()]
        summary = run.summary()
        assert len(found) == summary.tally.audited + summary.tally.failed
        assert summary.asked == len(found) + summary.to_do
        rest = list(expected)
        for reference in found if order is Order.INPUT else sorted(found):
            assert reference in rest, "twice, or out of order"
            if order is Order.INPUT:
                del rest[: rest.index(reference) + 1]
            else:
                rest.remove(reference)
        if not summary.interrupted:
            assert sorted(found) == sorted(expected)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder, "report.jsonl"), Path(folder, "list.txt")))
