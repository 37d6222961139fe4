"""`cleanup plan` and `protect`: what is selected, what is unknown, what would break."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.analysis.cleanup.inventory import StorageScope
from auditor.analysis.cleanup.plan import Bound, PlanTotals, open_plan
from auditor.analysis.cleanup.rehearsal import Collects, DeleteBy, Semantics
from auditor.analysis.cleanup.selection import (
    DeletionChoice,
    glob_expression,
    path_expression,
)
from auditor.cli.main import run
from auditor.errors import ProtocolError
from auditor.model import Record, Source, Warn, WarningCode
from auditor.oci.reference import TagPattern, parse_selector, path_matches
from auditor.oci.reference_grammar import TAG_PATTERN
from tests.cleanup_bench import Bench, open_bench
from tests.cleanup_stores import HOST, Made, Store, cosign_tag, digest, records
from tests.examples import examples
from tests.records import failure, image
from tests.reports import write_report

APP = f"{HOST}/team/app"
UNKNOWN = Warn(code=WarningCode.ATTACHMENTS_UNKNOWN, detail="not allowed (403)")


def store() -> Store:
    """An index under two tags, its child under another, and what is attached."""
    made = Store()
    app, web = made.manifests["team/app"], made.manifests["team/web"]
    app["a"] = web["a"] = Made("a", 100, (("config a", 7), ("layer", 1000)))
    app["b"] = Made("b", 200, (("config b", 8), ("layer", 1000)))
    app["x"] = Made("x", 50, children=("a", "b"))
    app["sbom"] = Made("sbom", 60, (("blob", 33),), subject="x")
    app["sig"] = Made("sig", 70, (("claim", 44),), about="x")
    made.tags = {
        ("team/app", "1"): "x",
        ("team/app", "latest"): "x",
        ("team/app", "b"): "b",
        ("team/app", cosign_tag("x")): "sig",
        ("team/web", "1"): "a",
    }
    return made


@pytest.fixture
def report(tmp_path: Path) -> str:
    return write_report(tmp_path / "report.jsonl", records(store()))


def printed(
    capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, list[str], list[str]]:
    code = run(["cleanup", *arguments])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def rows(
    capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    code, out, _ = printed(capsys, *arguments, "--format", "jsonl")
    found = [json.loads(line) for line in out]
    return code, found[:-1], found[-1]


def of(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [row for row in found if row["kind"] == kind]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Plans for the report of `store`."""
    path = tmp_path_factory.mktemp("bench") / "report.jsonl"
    with open_bench(write_report(path, records(store()))) as bench:
        yield bench


BY_DIGEST = Semantics(delete_by=DeleteBy.DIGEST)


def test_a_tag_of_the_same_digest_keeps_the_manifest(bench: Bench) -> None:
    # So its signature stays, too.
    plan = bench.plan(f"{APP}:1", with_attachments=True)
    (row,) = plan.of("deletion")
    assert (row["outcome"], row["kept_by"]) == ("kept_by_tag", f"{APP}:latest")
    assert (row["only_name"], row["freed"], plan.totals.freed) == (False, 0, 0)
    assert plan.totals.is_safe


def test_an_index_keeps_a_child_that_loses_its_tag(bench: Bench) -> None:
    (row,) = bench.plan(f"{APP}:b").of("deletion")
    assert (row["outcome"], row["kept_by"]) == ("kept_by_index", f"{APP}:1")
    assert row["only_name"]


def test_a_shared_layer_stays_and_the_signature_is_left_behind(bench: Bench) -> None:
    plan = bench.plan(f"{APP}:1", f"{APP}:latest")
    totals = plan.totals
    # The index and the SBOM go; `a` is stored for team/web, and `b` has a tag.
    assert (totals.freed, totals.manifests) == (50 + 60 + 33, 3)
    assert (totals.bound, totals.is_safe) == (Bound.EXACT, True)
    for row in plan.of("deletion"):
        assert (row["outcome"], row["freed_alone"]) == ("removed", totals.freed)
        assert row["shared_with"] == f"{APP}:b"
    (left,) = plan.of("left_behind")
    assert left["reference"] == f"{APP}:{cosign_tag('x')}"
    assert (left["subject"], left["size"]) == (digest("x"), 70 + 44)


def test_attachments_go_with_the_image(bench: Bench) -> None:
    plan = bench.plan(f"{APP}:[1l]*", with_attachments=True)
    assert plan.totals.freed == 50 + 60 + 33 + 70 + 44
    assert not plan.of("left_behind")
    assert len(plan.of("deletion")) == 3


@pytest.mark.parametrize(
    ("deletion", "semantics"),
    [
        (f"{APP}:b", BY_DIGEST),
        (f"{APP}:b", Semantics(delete_by=DeleteBy.LAST_TAG)),
        (f"{APP}@{digest('b')}", Semantics()),
    ],
)
def test_a_child_that_is_deleted_by_digest_breaks_its_index(
    deletion: str, semantics: Semantics, bench: Bench
) -> None:
    plan = bench.plan(deletion, semantics=semantics)
    (row,) = plan.of("broken_index")
    assert (row["reference"], row["child"]) == (f"{APP}:1", digest("b"))
    assert (row["deleted"], plan.totals.is_safe) == (deletion, False)


def test_a_tag_that_goes_with_the_digest_of_another_is_named(
    bench: Bench, tmp_path: Path
) -> None:
    # `latest` names the digest of `1`, and runs with the digest that it had before.
    before = replace(next(records(store())), reference=f"{APP}:latest", tag="latest")
    runs = write_report(
        tmp_path / "cluster.jsonl", [replace(before, digest=digest("b"))]
    )
    keeps = tmp_path / "keep.toml"
    keeps.write_text('[rules.app]\nrepositories = ["team/app"]\nkeep_tags = ["[!1]*"]')
    for plan in (
        bench.plan(f"{APP}:1", semantics=BY_DIGEST, running=runs),
        bench.plan(f"{APP}:1", f"{APP}@{digest('x')}", running=runs),
        bench.plan(keep_rules=keeps, semantics=BY_DIGEST, running=runs),
    ):
        (row,) = plan.of("lost_tag")
        assert (row["reference"], row["digest"]) == (f"{APP}:latest", digest("x"))
        assert (row["deleted"], plan.totals.lost_tags) == (f"{APP}:1", 1)
        assert not plan.totals.is_safe
        losses = [(one["running"], one["loses"]) for one in plan.of("running")]
        assert (f"{APP}:latest", "tag") in losses
        assert (
            "danger: 1 tag that is not to be deleted would go with its digest"
            in plan.text
        )
    plan = bench.plan(f"{APP}:1")
    assert (plan.of("lost_tag"), plan.totals.lost_tags) == ([], 0)


def test_what_runs_and_goes_is_named(bench: Bench, tmp_path: Path) -> None:
    runs = write_report(
        tmp_path / "cluster.jsonl",
        [*records(store()), failure(reference=f"{HOST}/team/gone:1")],
    )
    plan = bench.plan(f"{HOST}/**:*", running=runs)
    losses = [(row["running"], row["loses"]) for row in plan.of("running")]
    # An index is named once, not with each of its children.
    assert len(losses) == len(set(losses))
    assert {(f"{APP}:b", "digest"), (f"{APP}:b", "tag"), (f"{APP}:1", "digest")} <= {
        *losses
    }
    totals = plan.totals
    assert totals.running == len(store().tags)
    assert (totals.running_unknown, totals.running_elsewhere) == (0, 1)
    assert not totals.is_safe
    # Of the tag alone: the digest has another name.
    plan = bench.plan(f"{APP}:1", running=runs)
    assert [row["loses"] for row in plan.of("running")] == ["tag"]


def _totals(tmp_path: Path, lines: Iterable[Record], *deletions: str) -> PlanTotals:
    report = write_report(tmp_path / "report.jsonl", lines)
    selectors = [
        parse_selector(one) for one in deletions or (f"{APP}:1", f"{APP}:latest")
    ]
    with open_plan([report], selection=DeletionChoice(selectors=selectors)) as plan:
        return plan.totals


def test_garbage_is_an_upper_bound_if_something_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = store()
    made.manifests["team/app"]["c"] = Made("c", 1, (("config c", 2),))
    found = [
        replace(one, untagged=True) if one.tag is None else one for one in records(made)
    ]
    for failures, text in (
        ([], "also frees 3 B that"),
        ([failure(registry=HOST)], "also frees at most 3 B that"),
    ):
        report = write_report(tmp_path / "report.jsonl", [*found, *failures])
        _, out, _ = printed(capsys, "plan", report, "--delete", f"{APP}:1")
        assert any(text in line for line in out)


def test_a_report_of_several_days_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *others = records(store())
    lines = [replace(first, audited_at="2026-11-20T02:00:00Z"), *others]
    report = write_report(tmp_path / "report.jsonl", lines)
    _, out, _ = printed(capsys, "plan", report, "--delete", f"{APP}:1")
    (note,) = (line for line in out if line.startswith("note: "))
    assert note.startswith(
        f"note: {HOST} was audited on several days (2026-11-20 to 2026-11-24): what was"
    )


def test_what_is_unknown_makes_the_bytes_a_lower_bound(tmp_path: Path) -> None:
    changes: dict[str, dict[str, Any]] = {
        f"{APP}:1": {"signed": None, "manifest_size": None},
        f"{APP}:latest": {"warnings": (UNKNOWN,), "manifest_size": None},
    }
    lines = [replace(one, **changes.get(one.reference, {})) for one in records(store())]
    totals = _totals(tmp_path, lines)
    assert (totals.unexamined, totals.unsized) == (2, 1)
    assert (totals.bound, totals.is_safe) == (Bound.AT_LEAST, True)


def test_failures_make_the_bytes_an_upper_bound(tmp_path: Path) -> None:
    pattern = f"{APP}:v*"
    failures = [
        failure(registry=HOST),
        failure(registry=HOST, reference=f"{APP}:*", stage="list", tag=None),
        failure(registry=None, repository=None, reference="list.txt"),
        # These keep nothing.
        failure(registry=HOST, reference=f"{APP}:9", failure="vanished"),
        failure(registry=HOST, reference=pattern, tag=None, status=None),
        failure(registry="other.example.com", reference="other.example.com/a:1"),
    ]
    totals = _totals(tmp_path, [*records(store()), *failures])
    assert (totals.bound, totals.is_safe) == (Bound.AT_MOST, False)
    assert (totals.failures, totals.listings) == (3, 1)


def test_what_a_readable_repository_does_not_have_needs_nothing(
    tmp_path: Path,
) -> None:
    """A registry answers 404 for what it hides, too: of other repositories."""
    missing = failure(registry=HOST, repository="team/app", reference=f"{APP}:9")
    totals = _totals(tmp_path, [*records(store()), missing])
    assert (totals.bound, totals.is_safe, totals.failures) == (Bound.EXACT, True, 0)
    hidden = replace(missing, repository="team/no", reference=f"{HOST}/team/no:9")
    totals = _totals(tmp_path, [*records(store()), hidden])
    assert (totals.bound, totals.is_safe, totals.failures) == (Bound.AT_MOST, False, 1)


def test_running_images_that_the_report_lacks_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Store()
    made.manifests["team/app"]["old"] = Made("old", 9, (("config old", 2),))
    made.tags = {("team/app", "1"): "old"}
    (moved,) = records(made)
    before = replace(moved, audited_at="2026-11-01T02:00:00Z")
    runs = write_report(tmp_path / "runs.jsonl", [before])
    plain = [
        replace(one, audited_at="2026-11-24T02:00:00Z") for one in records(store())
    ]
    report = write_report(tmp_path / "report.jsonl", plain)
    plan = ("plan", report, "--delete", f"{APP}:b", "--running", runs)
    code, _, totals = rows(capsys, *plan)
    assert (code, totals["running_absent"], totals["running_gone"]) == (1, 1, 0)
    # Nothing removes it where garbage collection keeps untagged manifests.
    code, _, totals = rows(capsys, *plan, "--collects", "deleted")
    assert (code, totals["running_absent"]) == (0, 1)
    _, out, _ = printed(capsys, *plan)
    (line,) = (line for line in out if "running image" in line)
    assert line.startswith("danger: of 1 running image the manifest is not in")
    assert f": {APP}:1; auditor cleanup protect --running" in line
    # A listing of what has no tag did not have it, after it ran, or before.
    (untagged,) = records(
        Store(manifests={"team/app": {"c": Made("c", 1, (("config c", 2),))}})
    )
    listed = replace(untagged, untagged=True, audited_at=plain[0].audited_at)
    report = write_report(tmp_path / "report.jsonl", [*plain, listed])
    code, _, totals = rows(capsys, *plan)
    assert (code, totals["running_absent"], totals["running_gone"]) == (0, 0, 1)
    write_report(tmp_path / "runs.jsonl", [replace(moved, audited_at="2026-12-01")])
    code, _, totals = rows(capsys, *plan)
    assert (code, totals["running_absent"], totals["running_gone"]) == (1, 1, 0)


def test_a_manifest_that_stays_unread_may_keep_layers(tmp_path: Path) -> None:
    lines = [
        replace(one, platforms=(replace(one.platforms[0], layers=None),))
        if one.repository == "team/web"
        else one
        for one in records(store())
    ]
    lines = [replace(one, platforms=one.platforms[1:]) for one in lines[:2]] + lines[2:]
    totals = _totals(tmp_path, lines)
    assert (totals.unread_left, totals.bound) == (1, Bound.AT_MOST)
    assert not totals.is_safe


def test_a_signature_under_a_tag_that_the_report_lacks_stays(tmp_path: Path) -> None:
    lines = [one for one in records(store()) if not (one.tag or "").startswith("sha")]
    totals = _totals(tmp_path, lines)
    assert (totals.hidden_tags, totals.left_behind) == (1, 1)
    assert totals.freed == 50 + 60 + 33


def test_a_report_of_the_last_version_is_read(tmp_path: Path) -> None:
    """Without the fields that a plan needs, sizes are unknown, and this is said."""
    newer = {
        *("manifest_size", "config_size", "other_children", "subject", "untagged"),
        *("blobs", "in_index"),
    }

    def older(value: object) -> object:
        if isinstance(value, dict):
            left_out = newer | ({"size"} if "predicates" in value else set())
            return {k: older(one) for k, one in value.items() if k not in left_out}
        return [older(one) for one in value] if isinstance(value, list) else value

    path = Path(write_report(tmp_path / "report.jsonl", records(store())))
    lines = [
        json.dumps(older(json.loads(line))) for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")
    choice = DeletionChoice(selectors=[parse_selector(f"{HOST}/**:*")])
    with open_plan([str(path)], selection=choice) as plan:
        totals = plan.totals
    assert totals.freed == 1000
    assert totals.unsized
    assert totals.bound is Bound.AT_LEAST


def test_a_reference_that_is_not_in_the_report_is_said(bench: Bench) -> None:
    plan = bench.plan(f"{APP}:b", f"{APP}:gone")
    assert not plan.totals.is_safe
    assert any(f"could not be audited: {APP}:gone" in line for line in plan.text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name what would be deleted with --delete, or what is kept with"),
        (["--delete", f"{APP}:b", "--keep-rules", "k"], "with --keep-rules, not both"),
        (["--delete", f"{APP}:v*"], "the report has no such tag"),
        (["--delete", APP], f"name the tags, such as {APP}:* for all of them"),
        (["--delete", "a b"], '"a b" is not a reference'),
        (["--delete", "@gone.txt"], "gone.txt"),
        (
            ["--delete", "select tag, digest from images"],
            "must have a column reference",
        ),
        (["--delete", "select refrence from images"], "refrence"),
        (["--delete", "select reference from 'x.csv'"], "x.csv"),
        (["--delete", "copy images to 'x'"], "not a reference"),
        (["--delete", "select 1 as reference; select 2"], "must be one SELECT"),
    ],
)
def test_mistakes_have_a_sentence(
    report: str,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, err = printed(capsys, "plan", report, *options)
    assert (code, len(err)) == (2, 1)
    assert message in err[0]


def test_lists_and_queries_select_references(
    report: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.txt").write_text(f"{APP}:1\n# comment\n{HOST}/team/we*:*\n")
    (tmp_path / "more").write_text(f"{APP}:latest\n")
    options = ("--delete", f"@{tmp_path}/old.txt", "--delete", f"{tmp_path}/more")
    _, found, _ = rows(capsys, "plan", report, *options)
    names = {row["reference"] for row in of(found, "deletion")}
    assert names == {f"{APP}:1", f"{APP}:latest", f"{HOST}/team/web:1"}


def test_queries_select_references(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    queries = (
        "select reference from images where tag = 'b'",
        "from images select digest, Reference where tag = 'latest'",
        "with x as (select reference from images where repository = 'team/web') from x",
        "select reference from images where false",
    )
    options = [part for query in queries for part in ("--delete", query)]
    code, out, err = printed(capsys, "plan", report, *options, "--format", "csv")
    assert code == 0
    assert err[0].startswith("auditor: deleting 3 references frees 0 B")
    assert sorted(line.split(",")[1] for line in out[1:]) == [
        f"{APP}:b", f"{APP}:latest", f"{HOST}/team/web:1",
    ]  # fmt: skip


def test_nothing_to_delete_frees_nothing(bench: Bench) -> None:
    assert bench.plan().text[0].startswith("deleting 0 references frees 0 B of")


def test_what_a_plan_assumes_is_said(bench: Bench) -> None:
    semantics = Semantics(delete_by=DeleteBy.DIGEST, collects=Collects.DELETED,
                          storage=StorageScope.REPOSITORY)  # fmt: skip
    text = bench.plan(f"{APP}:1", semantics=semantics).text
    options = ("--delete-by digest", "--collects deleted", "--storage repository")
    assert all(option in text[1] for option in options)
    assert "Nothing was deleted." in text[0]


def test_the_plan_is_written_to_a_file_but_not_over_a_report(
    report: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "plan.md"
    options = ("--delete", f"{APP}:b", "--format", "markdown")
    code, out, _ = printed(capsys, "plan", report, *options, "-o", str(target))
    assert (code, out) == (0, [])
    assert "### deletions (1)" in target.read_text()
    code, _, err = printed(capsys, "plan", report, *options, "-o", report)
    assert code == 2
    assert "is an input of this command" in err[0]


def test_who_uses_a_running_image_and_copies_in_other_registries(
    bench: Bench, tmp_path: Path
) -> None:
    used = (
        Source(list="pods.json", place="pods.json: Pod", namespace="shop",
               workload="Deployment/web", container="web"),
        Source(list="pods.json", place="pods.json: Pod 2", namespace="shop"),
    )  # fmt: skip
    one = store()
    one.tags = {("team/app", "b"): "b"}
    (of_b,) = (each for each in records(one) if each.digest == digest("b"))
    mirror = replace(of_b, registry="m.example.com", reference="m.example.com/b:b")
    # The mirror has another image under the name of a deleted tag.
    moved = replace(
        of_b,
        registry="m.example.com",
        reference="m.example.com/team/app:latest",
        digest=digest("q"),
        platforms=(),
    )
    elsewhere = replace(of_b, repository="team/copy", reference=f"{HOST}/team/copy:b")
    runs = write_report(
        tmp_path / "runs.jsonl",
        [replace(of_b, sources=used), mirror, moved, elsewhere],
    )
    plan = bench.plan(f"{APP}:*", running=runs)
    assert {
        (row["running"], row["loses"], row["used_by"], row["used_by_count"])
        for row in plan.of("running")
    } == {
        (f"{APP}:b", "digest", "shop Deployment/web web", 2),
        (f"{APP}:b", "tag", "shop Deployment/web web", 2),
        ("m.example.com/b:b", "copy", None, 0),
        ("m.example.com/team/app:latest", "copy", None, 0),
    }
    assert any("shop Deployment/web web and 1 more" in line for line in plan.text)


def test_what_runs_and_is_garbage_or_unknown_is_a_danger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A garbage collection removes what runs without a tag; mirrors run it, too."""
    made = store()
    made.manifests["team/app"]["c"] = Made("c", 1, (("config c", 2),))
    registry = list(records(made))
    report = write_report(tmp_path / "report.jsonl", registry)
    (of_c,) = (one for one in registry if one.digest == digest("c"))
    copy = replace(of_c, registry="m.example.com", reference="m.example.com/c:1")
    unreadable = failure(
        reference="pods.json",
        registry=None,
        repository=None,
        failure="invalid_reference",
    )
    hidden = replace(unreadable, reference=f"{APP}:2", registry=HOST)
    runs = write_report(tmp_path / "runs.jsonl", [of_c, copy, unreadable, hidden])
    code, found, totals = rows(
        *(capsys, "plan", report, "--delete", f"{APP}:1", "--running", runs)
    )
    assert {
        (row["running"], row["loses"], row["deleted"]) for row in of(found, "running")
    } == {(of_c.reference, "digest", None), (copy.reference, "copy", None)}
    assert (totals["running"], totals["running_unknown"], code) == (2, 2, 1)
    code, found, totals = rows(capsys, "protect", report, "--running", runs)
    (row,) = (row for row in found if row["digest"] == digest("c"))
    assert (row["role"], row["others"]) == ("running", 1)
    assert (totals["running_unknown"], totals["failures"], code) == (2, 0, 1)


def test_what_runs_by_a_tag_that_has_moved_is_protected(
    report: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report does not have its digest any more, and the registry does."""
    made = Store()
    made.manifests["team/app"]["old"] = Made("old", 9, (("config old", 2),))
    made.tags = {("team/app", "1"): "old"}
    (moved,) = records(made)
    here = replace(moved, reference=f"{APP}@{moved.digest}", tag=None)
    gone = failure(
        reference=f"{APP}@{digest('gone')}", registry=HOST, repository="team/app",
        tag=None, digest=digest("gone"),
    )  # fmt: skip
    elsewhere = replace(here, registry="m.example.com", reference="m.example.com/c:1")
    runs = write_report(tmp_path / "runs.jsonl", [here, gone, elsewhere])
    _, before, _ = rows(capsys, "protect", report)
    _, found, totals = rows(capsys, "protect", report, "--running", runs)
    (added,) = (row for row in found if row not in before)
    assert (added["digest"], added["role"]) == (moved.digest, "running")
    assert (added["needed_by"], added["repository"]) == (here.reference, "team/app")
    assert totals["digests"] == len(before) + 1
    # Its blobs are not in the report of the registry.
    code, _, totals = rows(capsys, "protect", report, "--running", runs, "--blobs")
    assert (totals["unread"], code) == (1, 1)


def test_a_subject_keeps_its_attachment_only_where_the_referrers_api_is(
    tmp_path: Path,
) -> None:
    made = store()
    made.tags["team/app", "sbom"] = "sbom"
    lines = [replace(one, attachments=()) for one in records(made)]
    totals = _totals(tmp_path, lines, f"{APP}:sbom")
    assert (totals.freed, totals.kept_deletions) == (0, 1)
    assert (totals.kept_unconfirmed, totals.bound) == (1, Bound.AT_LEAST)


def test_the_last_line_of_a_reference_counts(tmp_path: Path) -> None:
    """What a tag named in an earlier night may be deleted already."""
    lines = list(records(store()))
    later = [replace(one, audited_at="2026-12-24T02:00:00Z") for one in lines]
    old = [image(reference=f"{APP}:{one}", tag=one, digest=digest(f"old {one}"),
                 manifest_size=5) for one in ("1", "b")]  # fmt: skip
    totals = _totals(tmp_path, [*old, *later], f"{APP}:b")
    blobs = 7 + 8 + 1000 + 33 + 44
    assert (totals.garbage, totals.stored) == (0, 50 + 100 + 200 + 60 + 70 + blobs)


# -- protect --


def test_protected_digests_and_why(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found, totals = rows(capsys, "protect", report)
    roles = {(row["repository"], row["digest"]): row["role"] for row in found}
    assert roles == {
        ("team/app", digest("x")): "tag",
        ("team/app", digest("b")): "tag",
        ("team/app", digest("a")): "child",
        ("team/app", digest("sbom")): "referrer",
        ("team/app", digest("sig")): "tag",
        ("team/web", digest("a")): "tag",
    }
    assert (totals["digests"], totals["unprotected"], code) == (6, 0, 0)


def test_configs_and_layers_are_protected_for_tools_that_delete_blobs(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found, _ = rows(capsys, "protect", report, "--blobs")
    of_web = {row["digest"]: row["role"] for row in found if "web" in row["repository"]}
    assert of_web == {
        digest("a"): "tag",
        digest("config a"): "config",
        digest("layer"): "layer",
    }


def test_what_could_not_be_audited_is_not_protected_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = store()
    made.manifests["team/app"]["c"] = Made("c", 1, (("config c", 2),))
    by_digest = image(reference=f"{APP}@{digest('q')}", tag=None, digest=digest("q"))
    report = write_report(
        tmp_path / "report.jsonl", [*records(made), by_digest, failure()]
    )
    code, out, err = printed(capsys, "protect", report, "--format", "csv")
    assert code == 1
    assert "incomplete: 1 reference could not be audited" in "".join(err)
    # Nothing needs `c`, which has no tag; what the input names by digest may have one.
    assert "nothing needs 1 manifest of" in err[0]
    assert not any(digest("c") in line for line in out)
    assert any(digest("q") in line and ",reference," in line for line in out)


def test_what_was_not_searched_for_attachments_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [replace(one, signed=None) for one in records(store())]
    report = write_report(tmp_path / "report.jsonl", found)
    code, out, _ = printed(capsys, "protect", report)
    assert code == 1
    assert any("searched for attachments, which are not" in line for line in out)


def test_children_that_an_earlier_version_left_out_are_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as those of `--platform`: the index says how many, and not which."""
    path = Path(write_report(tmp_path / "report.jsonl", records(store())))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["tag"] in {"1", "latest"} and line["repository"] == "team/app":
            line["platforms"] = line["platforms"][:1]
            line["platforms_left_out"] = 1
        del line["other_children"]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    code, _, totals = rows(capsys, "protect", str(path))
    assert (totals["unexamined"], code) == (2, 1)
    # The index stays: its other child may need what goes.
    code, _, totals = rows(capsys, "plan", str(path), "--delete", f"{APP}:b")
    assert (totals["bound"], totals["unread_left"], code) == ("at_most", 1, 1)
    # It goes, and its other child, too.
    _, _, totals = rows(capsys, "plan", str(path), "--delete", f"{APP}:[1l]*")
    assert (totals["bound"], totals["unread"]) == ("at_least", 1)


@pytest.mark.parametrize("command", [("plan", "--delete", f"{APP}:1"), ("protect",)])
@pytest.mark.parametrize("is_running", [False, True])
def test_a_report_without_an_end_is_refused(
    command: tuple[str, ...],
    is_running: bool,
    report: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    partial = str(Path(report).rename(f"{report}.partial"))
    write_report(Path(report), records(store()))
    reports = (report, "--running", partial) if is_running else (partial,)
    code, out, err = printed(capsys, *command, *reports)
    assert (code, out) == (2, [])
    assert "the report of an audit that did not come to its end" in err[0]


def test_a_child_that_was_missing_when_its_index_was_read_is_protected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was there a moment later, in a listing of manifests without a tag."""
    made = Store()
    app = made.manifests["team/app"]
    app["a"] = Made("a", 100, (("layer", 1000),))
    app["x"] = Made("x", 50, children=("a",))
    made.tags = {("team/app", "1"): "x"}
    (index,) = records(made)
    (child,) = index.platforms
    missing = replace(
        child, layers=None, config_digest=None, size=None, manifest_size=None
    )
    late = image(
        reference=f"{APP}@{child.digest}", registry=HOST, repository="team/app",
        tag=None, untagged=True, digest=child.digest, platforms=(child,),
    )  # fmt: skip
    early = replace(index, platforms=(missing,))
    report = write_report(tmp_path / "report.jsonl", [early, late])
    _, found, totals = rows(capsys, "protect", report)
    assert {(row["digest"], row["role"]) for row in found} == {
        (index.digest, "tag"),
        (child.digest, "child"),
    }
    assert totals["unprotected"] == 0
    # A manifest that no other record has is not there.
    report = write_report(tmp_path / "report.jsonl", [early])
    _, found, _ = rows(capsys, "protect", report)
    assert [row["digest"] for row in found] == [index.digest]


# -- patterns --

_COMPONENT = st.text(alphabet="abc-.", min_size=1, max_size=3)
# Classes are those of the grammar, also with ranges that are reversed. Others are
# refused wherever patterns are read; `fnmatch` reads the "!" of "[b-a!]" as "not".
_CLASS = st.builds(
    "[{}{}]".format,
    st.sampled_from(["", "!"]),
    st.text(alphabet="abc-.", min_size=1, max_size=6),
)
_GLOB = st.lists(st.sampled_from("ab-.*?") | _CLASS, min_size=1, max_size=5).map(
    "".join
)


@examples(400)
@given(pattern=_GLOB, text=_COMPONENT)
def test_a_pattern_of_tags_matches_as_in_lists(pattern: str, text: str) -> None:
    assert re.fullmatch(TAG_PATTERN, pattern)
    in_lists = TagPattern(registry=HOST, repository="app", pattern=pattern)
    matches = re.fullmatch(glob_expression(pattern), text) is not None
    assert matches == in_lists.matches(text)


@pytest.mark.parametrize("members", ["[-?!", "b-a!", "a!", "a[", "[a"])
def test_a_class_that_could_be_read_in_two_ways_is_refused(members: str) -> None:
    for text in (f"{HOST}/app:[{members}]", f"{HOST}/[{members}]:*"):
        with pytest.raises(ProtocolError, match="closed classes"):
            parse_selector(text)


@examples(400)
@given(
    pattern=st.lists(
        st.sampled_from(["**", "*", "a", "b*", "?", "[!a]b", "[!b]*"]),
        min_size=1,
        max_size=5,
    ),
    path=st.lists(st.sampled_from(["a", "b", "ab", "ba"]), min_size=1, max_size=5),
)
def test_a_pattern_of_repositories_matches_as_in_lists(
    pattern: list[str], path: list[str]
) -> None:
    matches = re.fullmatch(path_expression("/".join(pattern)), "/".join(path))
    assert (matches is not None) == path_matches("/".join(pattern), "/".join(path))
