"""The command `auditor unused`."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditor.analysis import history
from auditor.cli.main import run
from auditor.errors import FailureKind, Stage
from auditor.input.lists import read_list_file
from auditor.model import (
    Alternative,
    ChildManifest,
    FailureRecord,
    ImageRecord,
    Record,
    Source,
)
from tests.manifests import digest
from tests.records import REFUSED, failure, image, layer, platform
from tests.reports import write_report

OLD, NEW = "2026-10-30T02:00:00Z", "2026-11-30T02:00:00Z"
HOST = "r.example.com"


def one(name: str, digit: str, *children: str, **more: Any) -> ImageRecord:
    """An image `repository:tag` or `repository@`, with a layer of its own."""
    repository, _, tag = name.partition(":")
    repository = repository.removesuffix("@")
    host = more.pop("host", HOST)
    reference = f"{host}/{repository}" + (f":{tag}" if tag else f"@{digest(digit)}")
    layers = (layer("f", 1000), layer(digit, 10))
    parts = [platform(part, layers=layers) for part in children or (digit,)]
    fields: dict[str, Any] = {
        "reference": reference,
        "registry": host,
        "repository": repository,
        "tag": tag or None,
        "digest": digest(digit),
        "platforms": tuple(parts),
        "audited_at": NEW,
    }
    return image(**(fields | more))


def lost(name: str, kind: FailureKind, **more: Any) -> FailureRecord:
    repository, _, tag = name.partition(":")
    fields: dict[str, Any] = {
        "reference": f"{HOST}/{name}",
        "repository": repository,
        "tag": tag,
        "failure": kind,
        "audited_at": NEW,
    }
    return failure(**(fields | more))


class Reports:
    """Reports in a folder, and the command about them."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capture = capture
        self.error = ""

    def write(self, name: str, *records: Record) -> str:
        return write_report(self.folder / name, records)

    def run(self, *flags: str, code: int = 0, running: str = "run.jsonl") -> str:
        registry = self.folder / "registry.jsonl"
        assert code == run(
            [
                *("unused", "--registry", str(registry)),
                *("--running", str(self.folder / running), *flags),
            ]
        )
        out, self.error = self.capture.readouterr()
        return out

    def rows(self, *flags: str, **more: Any) -> list[dict[str, Any]]:
        out = self.run("--format", "jsonl", *flags, **more)
        return [json.loads(line) for line in out.splitlines()]

    def names(self, kind: str, *flags: str, **more: Any) -> Sequence[str]:
        return [
            row["reference"].removeprefix(f"{HOST}/")
            for row in self.rows(*flags, **more)
            if row["kind"] == kind
        ]


@pytest.fixture
def reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Reports:
    made = Reports(tmp_path, capsys)
    made.write(
        "registry.jsonl", one("app:1", "1"), one("app:2", "2"), one("web:1", "3")
    )
    made.write("run.jsonl", one("app:1", "1"), one("web:gone", "9", audited_at=OLD))
    return made


def test_both_lists_and_the_bytes_are_printed(reports: Reports) -> None:
    out = reports.run()
    assert "3 references of the registry: 1 used, 2 unused" in out
    assert "would free 20 B of layers" in out
    assert f"{HOST}/app:2" in out
    assert f"{HOST}/web:gone" in out
    assert f"{HOST}/app:1" not in out


def test_the_list_is_input_of_an_audit(reports: Reports) -> None:
    out = reports.run("--format", "list")
    assert out.splitlines() == [f"{HOST}/app:2", f"{HOST}/web:1"]
    file = reports.folder / "list.txt"
    file.write_text(out)
    assert len(list(read_list_file(str(file)))) == 2
    rows = list(csv.DictReader(reports.run("--format", "csv").splitlines()))
    assert [row["reference"] for row in rows] == out.splitlines()
    assert {row["freed_size"] for row in rows} == {"10"}


def test_the_exit_code_says_whether_anything_was_found(reports: Reports) -> None:
    reports.run("--exit-code", code=1)
    reports.write("run.jsonl", one("app:1", "1"), one("app:2", "2"), one("web:1", "3"))
    assert "3 used, 0 unused" in reports.run("--exit-code")


def test_the_digest_of_a_pod_leads_through_its_index(reports: Reports) -> None:
    """containerd gives the digest of the index, CRI-O that of the platform."""
    index, child = one("app:1", "1", "a", "b"), one("app@", "a", untagged=True)
    other = one("app@", "b", untagged=True)
    reports.write("registry.jsonl", index, child, other, one("app:2", "2"))
    for running in (one("app@", "1", "a", "b"), one("app@", "a"), one("app:1", "9")):
        reports.write("run.jsonl", running)
        assert reports.names("unused") == ["app:2"]


def test_a_digest_is_used_wherever_it_runs(reports: Reports) -> None:
    reports.write("run.jsonl", one("copy/app:7", "2", host="mirror.example.com"))
    assert reports.names("unused") == ["app:1", "web:1"]


def test_a_name_of_another_host_is_that_of_the_registry_if_one_says_so(
    reports: Reports,
) -> None:
    moved = one("app:2", "9", host="mirror.example.com")
    reports.write("run.jsonl", moved)
    assert reports.names("unused") == ["app:1", "app:2", "web:1"]
    flag = f"--same-registry=mirror.example.com={HOST}"
    danger = "danger: 1 of the unused has the name of what runs from another host"
    assert danger in reports.run()
    assert flag.replace("=", " ", 1) in reports.run()
    assert "danger" not in reports.run(flag)
    assert reports.names("unused", flag) == ["app:1", "web:1"]
    # A list says it where it does not get into the list.
    assert "danger" not in reports.run("--format", "list")
    assert danger in reports.error
    reports.run("--same-registry=mirror.example.com", code=2)
    assert "expected RUNNING=REGISTRY" in reports.error


def test_a_job_of_last_month_counts(reports: Reports) -> None:
    reports.write("old.jsonl", one("app:2", "2", audited_at=OLD))
    reports.write("new.jsonl", one("app:1", "1"))
    assert reports.names("unused", running="new.jsonl") == ["app:2", "web:1"]
    assert reports.names("unused", running="[on]*[dw].jsonl") == ["web:1"]


def test_the_folder_of_nightly_and_its_history_are_nights(reports: Reports) -> None:
    nights = reports.folder / "nights"
    (nights / "reports").mkdir(parents=True)
    write_report(nights / "reports" / "2026-11-30.jsonl", [one("app:1", "1")])
    old = reports.write("old.jsonl", one("app:2", "2", audited_at=OLD))
    history.add(nights / "history", [old])
    assert reports.names("unused", running="nights") == ["web:1"]
    assert reports.names("unused", running="nights/history") == ["app:1", "web:1"]
    (totals,) = [
        row for row in reports.rows(running="nights") if row["kind"] == "totals"
    ]
    assert (totals["running_from"], totals["running_to"]) == (OLD, NEW)
    reports.run(running="nights/reports", code=2)
    assert "neither a folder of auditor nightly nor a data set" in reports.error


def test_what_could_not_be_audited_counts_as_running(reports: Reports) -> None:
    denied = lost("app:2", FailureKind.DENIED)
    listing = lost("web:*", FailureKind.DENIED, tag=None, stage=Stage.LIST)
    reports.write("run.jsonl", one("app:1", "1"), denied)
    assert reports.names("unused") == ["web:1"]
    assert "1 of them could not be audited, and counts as running" in reports.run()
    reports.write("run.jsonl", one("app:1", "1"), listing)
    assert reports.names("unused") == ["app:2"]
    assert "1 listing of what runs failed" in reports.run()


def test_a_running_list_with_holes_is_no_base_for_an_answer(reports: Reports) -> None:
    reports.write("run.jsonl", one("app:1", "1"), REFUSED)
    assert reports.run(code=2) == ""
    assert "--running is incomplete" in reports.error
    assert "list.txt:3" in reports.error
    out = reports.run("--allow-incomplete")
    assert "incomplete: 1 line names no image" in out


@pytest.mark.parametrize("name", ["run.jsonl.partial", "empty.jsonl"])
def test_a_report_without_an_end_or_a_line_is_refused(
    name: str, reports: Reports
) -> None:
    reports.write(name, *([one("app:1", "1")] if "partial" in name else []))
    assert reports.run(running=name, code=2) == ""
    assert "did not come to its end" in reports.error or (
        "everything would be unused" in reports.error
    )


def test_a_gap_of_the_registry_makes_its_repository_unknown(reports: Reports) -> None:
    """The index that could not be read may be that of app:2."""
    reports.write(
        "registry.jsonl",
        one("app:1", "1"),
        one("app:2", "2"),
        lost("app:multi", FailureKind.DENIED),
        one("web:1", "3"),
    )
    assert reports.names("unused") == ["web:1"]
    (totals,) = [row for row in reports.rows() if row["kind"] == "totals"]
    assert (totals["used"], totals["unused"], totals["unknown"]) == (1, 1, 1)


def test_what_is_attached_to_a_used_image_is_used(reports: Reports) -> None:
    def signature(digit: str) -> ImageRecord:
        tag = digest(digit).replace(":", "-") + ".sig"
        return one(f"app:{tag}", "7" if digit == "1" else "8")

    reports.write(
        "registry.jsonl", one("app:1", "1"), one("app:2", "2"),
        signature("1"), signature("2"),
    )  # fmt: skip
    unused = {row["reference"]: row for row in reports.rows() if "part_of" in row}
    assert set(unused) == {f"{HOST}/app:2", signature("2").reference}
    assert unused[signature("2").reference]["part_of"] == f"{HOST}/app@{digest('2')}"


@pytest.mark.parametrize(
    ("running", "found", "certain"),
    [
        (lost("app:7", FailureKind.NOT_FOUND), ["app:7"], True),
        (lost("app:7", FailureKind.DENIED), ["app:7"], False),
        (one("app:7", "9", audited_at=OLD), ["app:7"], False),
        # It was there when the registry was listed, perhaps without this tag.
        (one("app:7", "9", audited_at=NEW), [], None),
        (one("other:7", "9", audited_at=OLD), [], None),
        (one("app@", "9", audited_at=OLD), [], None),
        (one("app:7", "9", audited_at=OLD, host="x.example.com"), [], None),
    ],
)
def test_what_runs_is_gone_only_if_the_reports_say_so(
    running: Record, found: list[str], certain: bool | None, reports: Reports
) -> None:
    reports.write("run.jsonl", one("app:1", "1"), running)
    gone = [row for row in reports.rows() if row["kind"] == "gone"]
    assert [row["reference"].removeprefix(f"{HOST}/") for row in gone] == found
    assert [row["certain"] for row in gone] == [certain] * len(gone)


def test_a_reference_that_is_gone_says_what_uses_it(reports: Reports) -> None:
    web = Source(list=None, place="cluster", namespace="shop", workload="Job/mail")
    more = Source(list="jobs.txt", place="jobs.txt:7")
    gone = lost("app:7", FailureKind.NOT_FOUND, sources=(web, more))
    reports.write("run.jsonl", one("app:1", "1"), gone)
    (row,) = [row for row in reports.rows() if row["kind"] == "gone"]
    assert [source["workload"] for source in row["sources"]] == ["Job/mail", None]
    assert "shop/Job/mail and 1 more" in reports.run()


def test_a_report_of_an_earlier_version_is_read(reports: Reports) -> None:
    path = reports.folder / "registry.jsonl"
    new = {
        "untagged",
        "subject",
        "other_children",
        "manifest_size",
        "pushed_at",
        "sources",
    }
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text(
        "".join(
            json.dumps({key: line[key] for key in line if key not in new}) + "\n"
            for line in lines
        )
    )
    assert reports.names("unused") == ["app:2", "web:1"]


def test_an_index_of_an_earlier_version_may_have_the_platform_that_runs(
    reports: Reports,
) -> None:
    """It counts the platforms that `--platform` left out, and does not name them."""
    path = reports.folder / "registry.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["other_children"]
        line["platforms_left_out"] = int(line["repository"] == "app")
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert reports.names("unused") == ["web:1"]
    assert "unknown" in reports.run()


def test_the_last_line_of_a_reference_counts(reports: Reports) -> None:
    moved = replace(one("app:2", "4"), audited_at=NEW)
    before = replace(one("app:2", "2"), audited_at=OLD)
    reports.write("registry.jsonl", moved, before, one("app:1", "1"))
    rows = [row for row in reports.rows() if row["kind"] == "unused"]
    # Without the layer that it had before; the other one is used.
    assert [(row["digest"], row["freed_size"]) for row in rows] == [(digest("4"), 10)]


def test_layers_of_unknown_size_free_no_bytes(reports: Reports) -> None:
    parts = (platform("2", layers=(layer("2", None),)),)
    reports.write(
        "registry.jsonl", one("app:1", "1"), one("app:2", "2", platforms=parts)
    )
    (row,) = [row for row in reports.rows() if row["kind"] == "unused"]
    assert row["freed_size"] == 0
    assert "1 layer of unknown size" in reports.run()


def test_what_a_used_image_has_in_another_compression_is_not_freed(
    reports: Reports,
) -> None:
    other = Alternative(
        digest=digest("7"), media_type=None, config_digest=None, size=10,
        layers=(layer("2", 10), layer("3", 10)), layer_traits=(),
    )  # fmt: skip
    parts = (replace(platform("1", layers=(layer("1"),)), alternatives=(other,)),)
    used = one("app:1", "1", platforms=parts)
    reports.write("registry.jsonl", used, one("web:2", "2"))
    reports.write("run.jsonl", used)
    (row,) = [row for row in reports.rows() if row["kind"] == "unused"]
    assert (row["repository"], row["freed_size"]) == ("web", 1000)  # not layer 2


def test_a_platform_that_a_used_index_only_names_keeps_its_layers(
    reports: Reports,
) -> None:
    """The audit of the used index had `--platform`, the other one had not."""
    child = ChildManifest(digest=digest("a"), media_type=None, size=1)
    used = one("app:1", "1", "b", other_children=(child,), platforms_left_out=1)
    reports.write("registry.jsonl", used, one("app:2", "2", "a", "b"))
    assert reports.names("unused") == ["app:2"]
    (row,) = [row for row in reports.rows() if row["kind"] == "unused"]
    assert row["freed_size"] == 0


def test_a_child_that_the_registry_lacks_can_be_gone(reports: Reports) -> None:
    """The index lists it, and the registry answers 404."""
    sparse = one("app:1", "1", platforms=(
        platform("a", layers=(layer("1"),)),
        platform("b", layers=None, config_digest=None),
    ))  # fmt: skip
    reports.write("registry.jsonl", sparse)
    runs = [
        lost(f"app@{digest(digit)}", FailureKind.NOT_FOUND, tag=None,
             repository="app", digest=digest(digit))
        for digit in "ab"
    ]  # fmt: skip
    reports.write("run.jsonl", *runs)
    assert reports.names("gone") == [f"app@{digest('b')}"]


def test_the_layers_of_what_a_moved_tag_runs_are_not_freed(reports: Reports) -> None:
    """The pod runs the manifest of before the move, which shares a layer."""
    before = one("app:1", "1", audited_at=OLD, platforms=(
        platform("1", layers=(layer("f", 1000), layer("1", 10))),))  # fmt: skip
    after = one("app:1", "4", platforms=(platform("4", layers=(layer("4", 7),)),))
    unused = one("app:2", "2")
    reports.write("run.jsonl", before)
    for lines in ((before, after, unused), (after, unused)):
        reports.write("registry.jsonl", *lines)
        (row,) = (row for row in reports.rows() if row["kind"] == "unused")
        assert (row["reference"], row["freed_size"]) == (unused.reference, 10)
        assert "would free 10 B" in reports.run()
    # From another registry, it has its own copy of the layer.
    other = replace(before, registry="other.example.com", digest=digest("8"),
        reference="other.example.com/app:1", platforms=(
        platform("8", layers=before.platforms[0].layers),))  # fmt: skip
    reports.write("run.jsonl", other)
    assert "would free 1.0 kB" in reports.run("--allow-incomplete")


def test_failures_make_the_bytes_an_upper_bound(reports: Reports) -> None:
    images = one("app:1", "1"), one("app:2", "2")
    for found, bytes_ in (
        # Of a repository that the reports have, and of one that may be hidden.
        (lost("app:9", FailureKind.NOT_FOUND), "free 10 B"),
        (lost("web:9", FailureKind.VANISHED), "free 10 B"),
        (lost("web:9", FailureKind.NOT_FOUND), "free at most 10 B"),
        (lost("web:9", FailureKind.DENIED), "free at most 10 B"),
    ):
        reports.write("registry.jsonl", *images, found)
        assert bytes_ in reports.run()
        assert reports.names("unused") == ["app:2"]


def test_tags_that_could_not_be_listed_are_unknown(reports: Reports) -> None:
    """A registry can answer 404 to the listing of a repository with images."""
    listing = replace(
        lost("app:*", FailureKind.NOT_FOUND), tag=None, stage=Stage.LIST, status=404
    )
    reports.write(
        "registry.jsonl",
        one("app:1", "1"),
        one("app:2", "2"),
        one("web:1", "3"),
        listing,
    )
    assert reports.names("unused") == ["web:1"]
    assert reports.rows()[-1]["unknown"] == 1


def test_a_registry_line_without_an_image_is_no_base(reports: Reports) -> None:
    broken = replace(
        lost("app:3", FailureKind.INVALID_REFERENCE),
        reference="list.txt:3", registry=None, repository=None, tag=None,
    )  # fmt: skip
    reports.write("registry.jsonl", one("app:1", "1"), one("app:2", "2"), broken)
    assert reports.run(code=2) == ""
    assert "--registry is incomplete" in reports.error
    assert "1 of its lines name no image, for example: list.txt:3;" in reports.error
    out = reports.run("--allow-incomplete")
    assert "incomplete: 1 line names no image" in out
    assert "free at most 10 B" in out


def test_another_name_of_no_registry_is_a_mistake(reports: Reports) -> None:
    flag = "--same-registry"
    assert reports.run(flag, "m.example.com=r.exmaple.com", code=2) == ""
    assert reports.error == (
        "auditor: --same-registry m.example.com=r.exmaple.com: the reports of the"
        f" registry have nothing of r.exmaple.com; they have {HOST}\n"
    )
    notice = (
        f"--same-registry mirorr.example.com={HOST}: nothing ran from"
        f" mirorr.example.com; what ran is from {HOST}"
    )
    assert notice in reports.run(flag, f"mirorr.example.com={HOST}")


def test_the_time_is_that_of_all_nights(reports: Reports) -> None:
    """What ran in each of them is in the last one, too."""
    night = reports.write("1.jsonl", one("app:1", "1", audited_at=OLD))
    history.add(reports.folder / "runs", [night])
    reports.write("2.jsonl", one("app:1", "1"))
    for running in ("[12].jsonl", "runs"):
        last = reports.rows("--running", str(reports.folder / "2.jsonl"),
                            running=running)[-1]  # fmt: skip
        assert (last["running_from"], last["running_to"]) == (OLD, NEW)


def test_a_registry_of_several_days_is_named(reports: Reports) -> None:
    """A tag that was deleted since is in the earlier report only."""
    reports.write(
        "registry.jsonl", one("app:1", "1"), one("app:2", "2", audited_at=OLD)
    )
    note = (
        f"note: {HOST} was audited on several days (2026-10-30 to 2026-11-30): what was"
        " deleted in between counts as there; of several nights, give the last one's"
        " reports only"
    )
    assert note in reports.run().splitlines()
    reports.rows()
    assert reports.error == f"auditor: {note}\n"
    reports.write("registry.jsonl", one("app:1", "1"), one("app:2", "2"))
    assert "several days" not in reports.run()
