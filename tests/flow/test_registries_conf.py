"""Audits, listings, the doctor and the summary with a registries.conf."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor.config import Settings
from auditor.diagnose.doctor import DoctorReport, open_session, run_steps, summarize
from auditor.diagnose.doctor_step import DoctorStep
from auditor.model import ImageRecord
from auditor.oci.reference import parse_reference
from auditor.report.summary_text import summary_lines
from auditor.util.clock import SystemClock
from tests.flow.commands import auditor
from tests.flow.harness import TAGS, Lab, lab, simple

pytestmark = pytest.mark.anyio
NAMES = ["team/app:1", "team/app:2"]


def write(path: Path, here: Lab, more: str = "", namespace: str = "") -> str:
    path.write_text(
        f'[[registry]]\nprefix = "r.example.com"\nlocation = "{here.host}{namespace}"\n'
        + more
    )
    return str(path)


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "registries.conf"
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return path


async def test_names_are_listed_and_fetched_at_their_location(conf: Path) -> None:
    async with lab(simple(NAMES)) as here:
        write(conf, here)
        for pattern in ("r.example.com/team/app:*", "r.example.com/**:*"):
            outcome = await here.audit(pattern, registries_conf=True)
            for record, name in zip(outcome.records, NAMES, strict=True):
                assert isinstance(record, ImageRecord)
                assert record.reference == f"r.example.com/{name}"
                assert record.registry == "r.example.com"
                assert record.location == f"{here.host}/team/app"
                assert record.warnings == ()
        summary = outcome.summary.to_json()
        assert summary["locations"] == {here.host: 2}
        assert summary["registries_conf"] == [str(conf)]
        assert f"  read from: {here.host} 2 ({conf})" in summary_lines(summary)


async def test_listings_come_from_no_mirror(conf: Path) -> None:
    async with lab(simple(NAMES)) as here, lab(simple(NAMES[:1])) as mirror:
        more = f'[[registry.mirror]]\nlocation = "{mirror.host}"\n'
        write(conf, here, more)
        outcome = await here.audit("r.example.com/team/app:*", registries_conf=True)
        assert mirror.targets(TAGS) == []
    first, second = outcome.records
    assert isinstance(first, ImageRecord)
    assert isinstance(second, ImageRecord)
    assert (first.location, first.warnings) == (f"{mirror.host}/team/app", ())
    assert second.location == f"{here.host}/team/app"
    (warning,) = second.warnings
    assert warning.detail.startswith(f"the mirror {mirror.host}: not found")


async def test_what_is_blocked_is_neither_listed_nor_fetched(conf: Path) -> None:
    async with lab(simple(NAMES)) as here:
        write(conf, here, f'[[registry]]\nlocation = "{here.host}"\nblocked = true\n')
        names = ("team/app:1", "team/app:*", "**:*")
        outcome = await here.audit(*map(here.ref, names), registries_conf=True)
        assert here.faults.count() == 0
    assert outcome.kinds == ["denied"] * 3
    for record in outcome.records:
        assert record.detail == f"{here.host} is blocked in {conf}"  # type: ignore[union-attr]


async def test_a_catalog_below_another_path_is_refused(conf: Path) -> None:
    async with lab(simple(NAMES)) as here:
        write(conf, here, namespace="/hub")
        outcome = await here.audit("r.example.com/**:*", registries_conf=True)
        assert here.faults.count() == 0
    assert "the catalog of r.example.com is not listed" in outcome.failure.detail


async def test_tokens_are_requested_at_the_location(conf: Path, tmp_path: Path) -> None:
    environment = {"CONTAINERS_REGISTRIES_CONF": str(conf)}
    names = tmp_path / "names"
    names.write_text("r.example.com/team/app\noci:store\n")
    async with lab(simple(NAMES)) as here:
        write(conf, here)
        done = await auditor("token", "r.example.com/team/app", environment=environment)
        assert (done.code, done.stderr) == (0, [])
        assert here.host in done.out.decode()
        done = await auditor("token", "-f", str(names), environment=environment)
        assert done.code == 1
        assert b"images on disk need no token" in done.out


async def doctor(name: str) -> tuple[DoctorReport, DoctorStep]:
    """The report of the doctor, and its first step."""
    reference = parse_reference(name)
    async with open_session(
        Settings(docker_config=False),
        reference.registry,
        reference,
        has_tag=True,
        clock=SystemClock(),
    ) as session:
        steps = [step async for step in run_steps(session)]
    return summarize(session, steps), steps[0]


async def test_the_doctor_examines_the_location(conf: Path) -> None:
    async with lab(simple(NAMES)) as here:
        mirror = '[[registry.mirror]]\nlocation = "mirror.example.com"\n'
        write(conf, here, mirror)
        report, route = await doctor("r.example.com/team/app:1")
        assert report.works
        assert report.reference == here.ref("team/app:1")
        assert route.details["registries_conf"] == [str(conf)]
        assert route.details["mirrors"] == ["mirror.example.com/team/app:1"]
        assert "r.example.com/team/app:1 is read from here" in route.message
        write(conf, here, "blocked = true\n" + entry(here))
        report, route = await doctor("r.example.com/team/app:1")
        assert report.verdict == "an audit would not work: step route failed"
        assert f"is blocked in {conf}" in route.message


def entry(here: Lab) -> str:
    return f'[[registry]]\nlocation = "{here.host}"\nblocked = true\n'


async def test_the_log_names_the_file_unless_it_is_switched_off(conf: Path) -> None:
    environment = {"CONTAINERS_REGISTRIES_CONF": str(conf)}
    async with lab(simple(NAMES)) as here:
        write(conf, here)
        flags = ("audit", "--log-level", "info", "r.example.com/team/app:1")
        done = await auditor(*flags, environment=environment)
        assert done.code == 0
        assert any(f"registries.conf: {conf}" in line for line in done.stderr)
        conf.write_text("[[registry]]\n")
        done = await auditor(*flags, environment=environment)
        assert done.code == 2
        assert done.messages[-1].startswith(f"{conf}: [[registry]] number 1: needs a")
        other = ("audit", "--no-registries-conf", here.ref(NAMES[0]))
        done = await auditor(*other, environment=environment)
        assert done.code == 0
