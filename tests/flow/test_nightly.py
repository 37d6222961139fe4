"""`auditor nightly`: whole nights, and what others see of them."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import orjson
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from auditor.analysis.history import show
from auditor.config import FailOn, NotifyOn, NotifySettings
from auditor.demo.demo_tokens import DemoAccount
from auditor.demo.image_builder import image
from auditor.errors import LockedError, OutputError
from auditor.nightly import night_folder, night_run, notifications
from auditor.nightly.night_folder import open_night_folder
from auditor.nightly.notifications import Announcer
from tests.flow.harness import MANIFESTS, Lab, lab, simple
from tests.flow.http_sink import http_sink
from tests.flow.nights import Nights, nights_of, read_report
from tests.scripted_server import respond, scripted_server
from tests.support.fault_actions import Answer
from tests.support.registry import Basic

pytestmark = pytest.mark.anyio

POLICY = """
[rules.everything]
forbid_failures = true
required_platforms = ["linux/amd64"]

[rules.tags]
severity = "warning"
immutable_tags = ["1.*"]
"""


def _nights(here: Lab, folder: Path, *asked: str, **settings: Any) -> Nights:
    """Nights without a page, which takes most of their time."""
    return nights_of(
        here, folder, *(asked or ("team/app:*",)), **{"page": False} | settings
    )


def _policy(folder: Path) -> str:
    file = folder / "policy.toml"
    file.write_text(POLICY)
    return str(file)


async def test_a_good_night_prints_nothing_and_is_published(tmp_path: Path) -> None:
    async with lab(simple(["team/app:1.0", "team/app:1.1"])) as here:
        nights = _nights(here, tmp_path, page=True)
        result = await nights.night("2026-12-01")
    assert result is not None
    assert result.exit_code == 0
    (night,) = nights.known
    assert (night.name, night.complete, night.audited) == ("2026-12-01", True, 2)
    assert night.changes is None  # there is nothing to compare with
    lines = read_report(nights.folder / "latest.jsonl.zst")
    assert [line["tag"] for line in lines] == ["1.0", "1.1"]
    assert (nights.folder / "latest.html").read_text().startswith("<!DOCTYPE html>")
    assert not list(nights.folder.glob("tonight*"))


async def test_the_report_of_a_night_is_that_of_an_audit(tmp_path: Path) -> None:
    async with lab(simple(f"team/app:{n}" for n in range(5))) as here:
        outcome = await here.audit(here.ref("team/app:*"), here.ref("team/none:1"))
        nights = _nights(here, tmp_path, "team/app:*", "team/none:1")
        await nights.night("2026-12-01")
    lines = read_report(nights.folder / "reports" / "2026-12-01.jsonl.zst")
    expected = [orjson.loads(orjson.dumps(record)) for record in outcome.records]
    for line in (*lines, *expected):
        del line["audited_at"]
    assert lines == expected


async def test_a_moved_tag_breaks_the_policy_and_fills_ten_lines_at_most(
    tmp_path: Path,
) -> None:
    content = simple(f"team/app:1.{n}" for n in range(30))
    async with lab(content) as here:
        nights = _nights(
            here, tmp_path, policy=_policy(tmp_path), fail_on=FailOn.WARNING
        )
        assert (await nights.night("2026-12-01")).exit_code == 0  # type: ignore[union-attr]
        for n in range(30):
            content.add("team/app", image(f"new {n}"), f"1.{n}")
        result = await nights.night("2026-12-02")
    assert result is not None
    assert result.exit_code == 1
    assert result.night.changes == {"moved": 30}
    assert result.night.violations == {"error": 0, "warning": 30}
    assert len(result.lines) == 10
    assert (
        result.lines[0]
        == "night 2026-12-02: 0 of 30 references failed; 30 moved; 30 policy violations"
    )
    report = nights.folder / "reports" / "2026-12-02.jsonl.zst"
    assert result.lines[-1] == f"report: {report}"


@pytest.mark.parametrize(
    ("fail_on", "code"), [(FailOn.ERROR, 0), (FailOn.WARNING, 1), (FailOn.NEVER, 0)]
)
async def test_fail_on_is_the_least_severity_that_fails(
    fail_on: FailOn, code: int, tmp_path: Path
) -> None:
    content = simple(["team/app:1.0"])
    async with lab(content) as here:
        nights = _nights(here, tmp_path, policy=_policy(tmp_path), fail_on=fail_on)
        await nights.night("2026-12-01")
        content.add("team/app", image("moved"), "1.0")
        result = await nights.night("2026-12-02")
    assert result is not None
    assert result.exit_code == code


async def test_an_outage_never_takes_the_place_of_a_good_night(tmp_path: Path) -> None:
    content = simple(["team/app:1.0"])
    async with lab(content) as here:
        nights = _nights(here, tmp_path, "team/app:1.0")
        await nights.night("2026-12-01")
        good = (nights.folder / "latest.jsonl.zst").resolve()
        here.faults.on("*", MANIFESTS, Answer(403), forever=True)
        outage = await nights.night("2026-12-02")
        here.faults.rules.clear()
        content.add("team/app", image("moved"), "1.0")
        assert (nights.folder / "latest.jsonl.zst").resolve() == good
        after = await nights.night("2026-12-03")
    assert outage is not None
    assert after is not None
    assert outage.exit_code == 1
    assert outage.night.remark == "no image could be audited (1 failed)"
    assert (after.night.compared_with, after.night.changes) == (
        "2026-12-01",
        {"moved": 1},
    )
    # The outage is no state of the tag: the history has the two digests only.
    with show(nights.folder / "history", here.ref("team/app:1.0")) as result:
        assert len(list(result.rows())) == 2


async def test_a_stopped_night_is_continued_past_midnight(tmp_path: Path) -> None:
    async with lab(simple(f"team/app:{n}" for n in range(6))) as here:
        nights = _nights(here, tmp_path)
        assert await nights.night("2026-12-01T23:50:00Z", stop=True) is None
        assert [night.finished_at for night in nights.known] == [None]
        result = await nights.night("2026-12-02T00:10:00Z")
    assert result is not None
    assert (result.night.name, result.night.audited) == ("2026-12-01", 6)
    assert [night.name for night in nights.known] == ["2026-12-01"]


@pytest.mark.parametrize(
    ("later", "changes", "reason"),
    [
        (
            "2026-12-02T02:00:00Z",
            {},
            "it was not continued within 12 hours (--resume-max-age)",
        ),
        (
            "2026-12-01T03:00:00Z",
            {"platforms": ("linux/amd64",)},
            "the configuration was changed",
        ),
    ],
    ids=["too late", "other options"],
)
async def test_a_night_that_is_not_continued_is_recorded(
    later: str, changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    async with lab(simple(f"team/app:{n}" for n in range(6))) as here:
        nights = _nights(here, tmp_path)
        await nights.night("2026-12-01T02:00:00Z", stop=True)
        nights.audit |= changes
        result = await nights.night(later)
    assert result is not None
    first, second = nights.known
    assert (first.complete, second.complete) == (False, True)
    assert first.remark is not None
    assert first.remark.endswith(reason)
    assert any(f"the night {first.name} is left out" in line for line in result.lines)


async def test_resume_max_age_says_how_long_a_night_is_continued(
    tmp_path: Path,
) -> None:
    async with lab(simple(f"team/app:{n}" for n in range(6))) as here:
        nights = _nights(here, tmp_path)
        nights.audit["resume_max_age_s"] = 26 * 3600.0
        await nights.night("2026-12-01T02:00:00Z", stop=True)
        result = await nights.night("2026-12-02T02:00:00Z")
    assert result is not None
    assert (result.night.name, result.night.audited) == ("2026-12-01", 6)


async def test_a_night_that_reaches_its_deadline_is_kept_but_not_published(
    tmp_path: Path,
) -> None:
    async with lab(simple(f"team/app:{n}" for n in range(3))) as here:
        nights = _nights(here, tmp_path)
        nights.audit["deadline_s"] = 0.1
        result = await nights.night("2026-12-01")
    assert result is not None
    assert (result.exit_code, result.night.complete) == (1, False)
    assert result.night.report == "reports/2026-12-01.jsonl.zst"
    assert result.night.remark is not None
    assert "deadline" in result.night.remark
    assert not (nights.folder / "latest.jsonl.zst").exists()


async def test_only_one_night_runs_in_a_folder(tmp_path: Path) -> None:
    async with lab(simple(["team/app:1"])) as here:
        nights = _nights(here, tmp_path)
        with (
            open_night_folder(nights.settings.folder),
            pytest.raises(LockedError, match="another auditor nightly works"),
        ):
            await nights.night("2026-12-01")


async def test_nights_of_one_day_and_of_a_clock_set_back_stay_in_order(
    tmp_path: Path,
) -> None:
    async with lab(simple(["team/app:1"])) as here:
        nights = _nights(here, tmp_path)
        for at in ("T03:00:00Z", "T02:00:00Z", "T02:30:00Z"):
            result = await nights.night(f"2026-12-01{at}")
        assert result is not None
        assert [night.name for night in nights.known] == [
            "2026-12-01",
            "2026-12-01-2",
            "2026-12-01-3",
        ]
        assert result.night.compared_with == "2026-12-01-2"
        for name in ("2026-12-01", "2026-12-01-2"):
            (nights.folder / "nights" / f"{name}.json").unlink()
        result = await nights.night("2026-12-01T04:00:00Z")
        assert result is not None
        assert result.night.name == "2026-12-01-4"


# -- killed between two steps ------------------------------------------------------


class _Killed(BaseException):
    """The process ends here."""


def _killed(*_: Any) -> None:
    raise _Killed


async def test_a_full_disk_leaves_the_night_to_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    async with lab(simple(["team/app:1"])) as here:
        nights = _nights(here, tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(night_folder, "compress_file", full)
            with pytest.raises(OutputError, match="No space left"):
                await nights.night("2026-12-01T02:00:00Z")
        requests = len(here.faults.log)
        result = await nights.night("2026-12-01T03:00:00Z")
        assert result is not None
        # The night of 02:00 was finished from its report, and 03:00 is another one.
        assert [night.name for night in nights.known] == ["2026-12-01", "2026-12-01-2"]
        assert len(here.faults.log) > requests


async def test_what_a_killed_night_found_is_told_by_the_run_that_finishes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = simple(["team/app:1.0"])
    async with lab(content) as here:
        nights = _nights(
            here, tmp_path, policy=_policy(tmp_path), fail_on=FailOn.WARNING
        )
        await nights.night("2026-12-01")
        content.add("team/app", image("moved"), "1.0")
        with monkeypatch.context() as patch:
            patch.setattr(Announcer, "finished", _killed)
            with pytest.raises(_Killed):
                await nights.night("2026-12-02T02:00:00Z")
        result = await nights.night("2026-12-02T03:00:00Z")
    assert result is not None
    assert (result.exit_code, result.lines) == (0, ())  # nothing moved since then
    assert nights.earlier is not None
    assert nights.earlier.exit_code == 1
    assert nights.earlier.lines[0] == (
        "night 2026-12-02: 0 of 1 reference failed; 1 moved; 1 policy violation"
    )


@pytest.mark.parametrize("file", ["tonight.jsonl", "tonight.summary.json"])
async def test_a_kill_while_a_night_is_ended_leaves_its_record(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def killed_after(path: Path, *, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        if path.name == file:
            raise _Killed

    async with lab(simple(["team/app:1.0"])) as here:
        nights = _nights(here, tmp_path, page=False)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", killed_after)
            with pytest.raises(_Killed):
                await nights.night("2026-12-01")
        await nights.night("2026-12-02")
    assert [(night.name, night.complete) for night in nights.known] == [
        ("2026-12-01", True),
        ("2026-12-02", True),
    ]
    assert not list(nights.folder.glob("tonight*"))


async def test_shards_of_a_night_that_is_left_out_are_counted_and_removed(
    tmp_path: Path,
) -> None:
    async with lab(simple(["team/app:1.0"])) as here:
        nights = _nights(here, tmp_path)
        await nights.night("2026-12-01", stop=True)
        for left in nights.folder.glob("tonight.jsonl.*"):
            left.unlink()
        shards = nights.folder / "tonight.jsonl.shards"
        shards.mkdir()
        (shards / "1-of-2.jsonl").write_bytes(b"{}\n{}\n")
        (shards / "2-of-2.jsonl.partial").write_bytes(b"{}\n{")
        (shards / "2-of-2.jsonl.journal").write_bytes(b"{}\n")
        result = await nights.night("2026-12-02")
    assert result is not None
    assert result.exit_code == 0
    assert result.lines == (
        "the night 2026-12-01 is left out: its audit ended after 3 records: it was not"
        " continued within 12 hours (--resume-max-age)",
    )
    assert not list(nights.folder.glob("tonight*"))


async def test_only_a_night_that_is_continued_resumes_its_audit(tmp_path: Path) -> None:
    """What an earlier night left, in a `shard_dir` too, is no part of a new one."""
    async with lab(simple(f"team/app:{n}" for n in range(3))) as here:
        nights = _nights(here, tmp_path)
        resumed = []
        for at, stop in (
            ("2026-12-01", True),
            ("2026-12-01T03:00:00Z", False),
            ("2026-12-02", True),
            ("2026-12-03", False),
        ):
            await nights.night(at, stop=stop)
            resumed.append(nights.resumed)
    assert resumed == [False, True, False, False]


async def test_metrics_count_changes_only_of_nights_that_were_compared(
    tmp_path: Path,
) -> None:
    samples = []
    async with lab(simple(["team/app:1.0"])) as here:
        nights = _nights(here, tmp_path)
        nights.metrics = tmp_path / "registry.prom"
        for day in ("2026-12-01", "2026-12-02"):
            await nights.night(day)
            text = nights.metrics.read_text()
            samples.append(
                re.findall(r'(?m)^auditor_night_changes.*"moved".* (.+)$', text)
            )
    assert samples == [[], ["0.0"]]


async def test_metrics_that_cannot_be_written_do_not_hold_up_the_nights_to_come(
    tmp_path: Path,
) -> None:
    async with lab(simple(["team/app:1.0"])) as here, http_sink() as sink:
        nights = _nights(here, tmp_path, push_url=sink.url)
        nights.metrics = tmp_path / "none" / "registry.prom"
        for day in ("2026-12-01", "2026-12-02"):
            result = await nights.night(day)
            assert result is not None
            assert result.exit_code == 3
            assert any("registry.prom: the metrics" in line for line in result.lines)
            assert result.lines[-1].startswith("report: ")
            assert not list(nights.folder.glob("tonight*"))
    assert [night.exit_code for night in nights.known] == [3, 3]
    assert b'auditor_night_exit_code{audit="registry"} 3.0' in sink.seen[-1][2]


@pytest.mark.parametrize("name", ["latest.html", "latest.md", "latest.jsonl.zst"])
async def test_a_latest_file_that_cannot_be_replaced_holds_up_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(night_run, "make_page", lambda *_, **__: "<!DOCTYPE html>")
    async with lab(simple(["team/app:1.0"])) as here:
        nights = _nights(here, tmp_path, page=True)
        (nights.folder / name).mkdir(parents=True)
        result = await nights.night("2026-12-01")
        assert result is not None
        assert result.exit_code == 3
        (line,) = (line for line in result.lines if line.startswith("warning: "))
        assert name in line
        assert "cannot be written: " in line
        (nights.folder / name).rmdir()
        after = await nights.night("2026-12-02")
    assert after is not None
    assert after.exit_code == 0
    assert after.night.compared_with == "2026-12-01"
    assert (nights.folder / name).is_file()


# -- others are told ---------------------------------------------------------------


async def test_a_notification_has_the_markdown_and_no_secret(tmp_path: Path) -> None:
    content = simple(["team/app:1.0"])
    async with lab(content) as here, http_sink() as sink:
        host = sink.url.removeprefix("http://")
        nights = _nights(
            here,
            tmp_path,
            notify=NotifySettings(urls_env="URLS", on=NotifyOn.CHANGE),
            policy=_policy(tmp_path),
        )
        nights.environment["URLS"] = f"json://bot:token@{host}/hook"
        await nights.night("2026-12-01")
        assert not sink.seen  # nothing changed
        content.add("team/app", image("moved"), "1.0")
        result = await nights.night("2026-12-02")
    ((method, path, body),) = sink.seen
    assert (method, path) == ("POST", "/hook")
    message = orjson.loads(body)
    assert (
        message["title"]
        == "auditor: night 2026-12-02: 0 of 1 reference failed; 1 moved;"
        " 1 policy violation"
    )
    assert "team/app:1.0" in message["message"]
    assert b"token" not in body
    assert result is not None
    assert result.night.notified is True


async def test_no_secret_that_a_registry_repeats_is_notified(tmp_path: Path) -> None:
    login = DemoAccount("audit", "horse")
    body = orjson.dumps(
        {"errors": [{"code": "DENIED", "message": "horse may not, audit:horse"}]}
    )
    registry = lab(simple(["team/app:1"]), access=Basic([login]), login=login)
    async with registry as here, http_sink() as sink:
        here.faults.on("GET", MANIFESTS, Answer(403, body=body), forever=True)
        notify = NotifySettings(urls_env="URLS", on=NotifyOn.FAILURE)
        nights = _nights(here, tmp_path, "team/app:1", notify=notify)
        nights.environment["URLS"] = sink.url.replace("http", "json")
        result = await nights.night("2026-12-01")
    ((_, _, message),) = sink.seen
    assert b"*** may not" in message
    assert b"horse" not in message
    assert result is not None
    assert not any("horse" in line for line in result.lines)


@pytest.mark.parametrize("on", [NotifyOn.FAILURE, NotifyOn.CHANGE])
async def test_a_good_night_without_changes_notifies_only_always(
    on: NotifyOn, tmp_path: Path
) -> None:
    async with lab(simple(["team/app:1.0"])) as here, http_sink() as sink:
        host = sink.url.removeprefix("http://")
        nights = _nights(here, tmp_path, notify=NotifySettings(urls_env="URLS", on=on))
        nights.environment["URLS"] = f"json://{host}"
        await nights.night("2026-12-01")
        await nights.night("2026-12-02")
        assert not sink.seen
        assert nights.settings.notify is not None
        always = replace(nights.settings.notify, on=NotifyOn.ALWAYS)
        nights.settings = replace(nights.settings, notify=always)
        await nights.night("2026-12-03")
        assert len(sink.seen) == 1


async def test_a_notification_that_fails_is_a_warning(tmp_path: Path) -> None:
    async with lab(simple(["team/app:1.0"])) as here, http_sink(500) as sink:
        host = sink.url.removeprefix("http://")
        urls = tmp_path / "urls"
        urls.write_text(f"# our chat\njson://secret@{host}\nnonsense\n")
        nights = _nights(
            here,
            tmp_path,
            notify=NotifySettings(urls_file=str(urls), on=NotifyOn.ALWAYS),
            ping_url=f"{sink.url}/ping/key",
            push_url=sink.url,
            otlp_url=f"{sink.url}/v1/metrics",
            run_after=("/nonexistent/command",),
        )
        result = await nights.night("2026-12-01")
    assert result is not None
    assert result.exit_code == 0
    assert result.night.notified is False
    assert list(result.lines) == [
        f"warning: push_url: {sink.url} answered 500",
        f"warning: otlp_url: {sink.url} took no metrics",
        "warning: run_after: /nonexistent/command cannot be run: No such file or"
        " directory",
        f"warning: 1 notification URL in {urls} not understood; see apprise's list of"
        " services",
        f"warning: ping_url: {sink.url} answered 500",
    ]


async def test_a_variable_without_a_url_is_named(tmp_path: Path) -> None:
    async with lab(simple(["team/app:1.0"])) as here:
        notify = NotifySettings(urls_env="URLS", on=NotifyOn.ALWAYS)
        nights = _nights(here, tmp_path, notify=notify)
        nights.environment["URLS"] = "# switched off"
        result = await nights.night("2026-12-01")
    assert result is not None
    assert "warning: no notification was sent: URLS contains no URL" in result.lines


def _gauges(body: bytes) -> list[tuple[str, dict[str, str], float]]:
    """The name, the attributes and the value of each gauge of an OTLP request."""
    if body.startswith(b"\x1f\x8b"):
        body = gzip.decompress(body)
    (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    return [
        (
            metric.name,
            {one.key: one.value.string_value for one in point.attributes},
            point.as_double or float(point.as_int),
        )
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.gauge.data_points
    ]


async def test_the_switch_the_push_and_the_command_get_the_night(
    tmp_path: Path,
) -> None:
    out = tmp_path / "night.json"
    async with lab(simple(["team/app:1.0"])) as here, http_sink() as sink:
        nights = _nights(
            here,
            tmp_path,
            "team/app:1.0",
            "team/app:gone",
            ping_url=f"{sink.url}/ping/key",
            push_url=f"{sink.url}/push/",
            otlp_url=f"{sink.url}/v1/metrics",
            run_after=("sh", "-c", f"cat > {out}"),
        )
        nights.metrics = tmp_path / "registry.prom"
        await nights.night("2026-12-01")
    assert sink.paths() == [
        "/push/metrics/job/auditor-registry",
        "/v1/metrics",
        "/ping/key/fail",
    ]
    assert ("auditor_night_complete", {"audit": "registry"}, 1.0) in _gauges(
        sink.seen[1][2]
    )
    assert sink.seen[0][0] == "PUT"
    assert sink.seen[0][2] == nights.metrics.read_bytes()
    assert b'auditor_night_complete{audit="registry"} 1.0' in sink.seen[0][2]
    document = orjson.loads(out.read_bytes())
    assert document["failed"] == 1
    assert Path(document["folder"], document["report"]).exists()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        # healthchecks.io, "Pinging API": `create` and `rid` are parameters.
        ("/key?create=1", "/key/start?create=1"),
        ("/key/?rid=2&create=1", "/key/start?rid=2&create=1"),
        ("", "/start"),
    ],
)
async def test_the_event_is_part_of_the_path_of_a_ping(url: str, path: str) -> None:
    async with http_sink() as sink:
        await anyio.to_thread.run_sync(notifications.ping, f"{sink.url}{url}", "/start")
    assert sink.paths() == [path]


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 x\r\n\r\n"]
)
async def test_an_answer_that_is_not_http_is_a_warning(answer: bytes) -> None:
    async with scripted_server(respond(answer)) as server:
        url = f"http://127.0.0.1:{server.origin.port}"
        problem = await anyio.to_thread.run_sync(notifications.ping, f"{url}/secret")
    assert problem is not None
    assert problem.startswith(f"ping_url: {url} ")
    assert "secret" not in problem
