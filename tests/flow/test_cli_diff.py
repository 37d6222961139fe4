"""The command `auditor diff`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from auditor.cli.main import run
from auditor.errors import FailureKind, Stage
from auditor.model import ContentKind, ImageRecord, Record
from tests.manifests import digest
from tests.records import failure, image, platform
from tests.reports import write_report

GOLDEN = Path(__file__).parents[1] / "golden"


def app(tag: str, **more: object) -> ImageRecord:
    fields = {"reference": f"r.example.com/team/app:{tag}", "tag": tag}
    return image(**(fields | more))


def on(registry: str, record: Record) -> Record:
    _, _, path = record.reference.partition("/")
    return replace(record, registry=registry, reference=f"{registry}/{path}")


def failed(record: ImageRecord, kind: FailureKind = FailureKind.TIMEOUT) -> Record:
    return failure(
        reference=record.reference,
        repository=record.repository,
        tag=record.tag,
        failure=kind,
        status=None,
        detail="no answer in 30 s",
    )


def listing(kind: FailureKind, status: int | None) -> Record:
    return failure(
        reference="r.example.com/team/app:1*",
        repository="team/app",
        tag=None,
        stage=Stage.LIST,
        failure=kind,
        status=status,
    )


MOVED = app(
    "moved",
    digest=digest("d"),
    architectures=("linux/arm64",),
    platforms=(platform("b", size=301), platform("9", architecture="arm64")),
    size=601,
)
OLD = [app("gone"), app("moved"), app("broken"), failed(app("healed")), app("same")]
NEW = [app("new"), MOVED, failed(app("broken")), app("healed"), app("same")]


class Shell:
    """Writes two reports and runs `auditor diff` on them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def diff(
        self, old: list[Record], new: list[Record], *flags: str
    ) -> tuple[int, str, str]:
        paths = [
            write_report(self.folder / name, records)
            for name, records in (("old.jsonl.gz", old), ("new.jsonl", new))
        ]
        code = run(["diff", *paths, *flags])
        out, err = self._capsys.readouterr()
        return code, out, err


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


def changes(out: str) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines.pop()["kind"] == "totals"
    return [(line["change"], line["tag"]) for line in lines]


def test_text_output_matches_the_golden_file(shell: Shell) -> None:
    code, out, err = shell.diff([*OLD], [*NEW], "--growth", "1B")
    assert (code, err) == (0, "")
    assert out == (GOLDEN / "diff.txt").read_text(encoding="utf-8")


def test_json_lines_have_every_difference_and_then_the_totals(shell: Shell) -> None:
    code, out, _ = shell.diff([*OLD], [*NEW], "--format", "jsonl", "--limit", "1")
    assert code == 0
    assert changes(out) == [
        ("failing", "broken"),
        ("removed", "gone"),
        ("moved", "moved"),
        ("added", "new"),
        ("healed", "healed"),
    ]
    moved = json.loads(out.splitlines()[2])
    assert moved["old"]["digest"] == digest("e")
    assert moved["new"]["digest"] == digest("d")
    assert moved["architectures_lost"] == ["linux/amd64"]
    totals = json.loads(out.splitlines()[-1])
    assert totals["changes"]["unchanged"] == 1
    assert totals["facets"] == {
        "architectures_lost": 1,
        "architectures_gained": 1,
        "attachments_lost": 0,
        "attachments_gained": 0,
        "grown": 0,
    }


def test_markdown_output_matches_the_golden_file(shell: Shell) -> None:
    _, out, _ = shell.diff([*OLD], [*NEW], "--format", "markdown")
    assert out == (GOLDEN / "diff.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "new", "code"),
    [
        ((), NEW, 0),
        (("--exit-code",), NEW, 1),
        (("--exit-code",), OLD, 0),
        (("--exit-code", "--format", "jsonl"), NEW, 1),
    ],
)
def test_the_exit_code_says_whether_anything_differs(
    shell: Shell, flags: tuple[str, ...], new: list[Record], code: int
) -> None:
    assert shell.diff([*OLD], [*new], *flags)[0] == code


def test_signatures_and_charts_are_no_images_of_a_report(shell: Shell) -> None:
    signature = app(f"sha256-{'a' * 64}.sig", content=ContentKind.ATTACHMENT)
    new: list[Record] = [
        app("1"),
        signature,
        app("chart", content=ContentKind.ARTIFACT),
    ]
    _, out, _ = shell.diff([app("1")], new)
    old_line, new_line = out.splitlines()[:2]
    assert old_line.startswith("old: 1 image, 0 failures")
    assert new_line.startswith("new: 1 image, 2 other manifests, 0 failures")


def test_equal_reports_have_no_differences(shell: Shell) -> None:
    _, out, _ = shell.diff([*OLD], [*OLD])
    assert out.splitlines()[2:] == ["no differences: 1 still failing, 4 unchanged"]


@pytest.mark.parametrize(
    "older", ["linux/arm64/v8", "linux/arm64/8", "linux/aarch64", "Linux/ARM64"]
)
def test_another_name_of_a_platform_in_an_older_report_is_not_a_difference(
    older: str, shell: Shell
) -> None:
    def arm(name: str, digit: str, size: int) -> ImageRecord:
        os, architecture, *variant = name.split("/")
        part = platform(
            "b",
            os=os,
            architecture=architecture,
            variant="".join(variant) or None,
            size=size,
        )
        return app("1", digest=digest(digit), architectures=(name,), platforms=(part,))

    old = arm(older, "e", 300)
    _, out, _ = shell.diff([old], [arm("linux/arm64", "e", 300)])
    assert out.splitlines()[2:] == ["no differences: 1 unchanged"]
    _, out, _ = shell.diff([old], [arm("linux/arm64", "d", 900)])
    assert "architectures" not in out
    assert "  r.example.com/team/app:1  linux/arm64" in out


def test_a_lost_signature_is_a_difference(shell: Shell) -> None:
    old = [app("1", signed=True, has_sbom=False), app("2", signed=True)]
    new = [app("1", signed=False, has_sbom=True), app("2", signed=None)]
    code, out, _ = shell.diff([*old], [*new], "--exit-code")
    assert code == 1
    shown = out.splitlines()
    assert shown[2] == "1 altered, 1 unchanged"
    assert "signatures, SBOMs or provenance lost (1)" in shown
    assert "signatures, SBOMs or provenance gained (1)" in shown
    assert "  r.example.com/team/app:1  +sbom -signature" in shown


def test_an_interrupted_reference_is_unreached_not_failing(shell: Shell) -> None:
    ended = failed(app("1"), FailureKind.INTERRUPTED)
    _, out, _ = shell.diff([app("1")], [ended])
    assert "unknown: the new run was interrupted before it reached them (1)" in out
    _, out, _ = shell.diff([ended], [failed(app("1"))], "--format", "jsonl")
    assert changes(out) == [("failing", "1")]
    _, out, _ = shell.diff([ended], [app("1")], "--format", "jsonl")
    assert changes(out) == [("relisted", "1")]
    _, out, _ = shell.diff([ended], [ended], "--format", "jsonl")
    assert changes(out) == []


@pytest.mark.parametrize(
    ("kind", "status", "change"),
    [
        (FailureKind.TIMEOUT, None, "unlisted"),
        (FailureKind.NOT_FOUND, 404, "unlisted"),
        # the listing succeeded, and no tag matched
        (FailureKind.NOT_FOUND, None, "removed"),
    ],
)
def test_a_tag_whose_listing_failed_is_not_removed(
    shell: Shell, kind: FailureKind, status: int | None, change: str
) -> None:
    old = [app("1.0"), app("2.0")]
    _, out, _ = shell.diff([*old], [listing(kind, status)], "--format", "jsonl")
    assert sorted(changes(out)[1:]) == sorted([("removed", "2.0"), (change, "1.0")])


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("**", "unlisted"),
        ("team/*", "unlisted"),
        ("team/**", "unlisted"),
        ("**/app", "unlisted"),
        ("team/**/app", "unlisted"),
        ("[st]eam/a?p", "unlisted"),
        ("other/**", "removed"),
    ],
)
def test_a_tag_whose_catalog_was_denied_is_not_removed(
    shell: Shell, path: str, change: str
) -> None:
    denied = failure(
        reference=f"r.example.com/{path}:1*",
        repository=path,
        tag=None,
        stage=Stage.LIST,
        failure=FailureKind.DENIED,
        status=403,
    )
    old = [app("1.0"), app("2.0")]
    _, out, _ = shell.diff([*old], [denied], "--format", "jsonl")
    assert sorted(changes(out)[1:]) == sorted([("removed", "2.0"), (change, "1.0")])
    _, out, _ = shell.diff([denied], [*old], "--format", "jsonl")
    relisted = ("relisted" if change == "unlisted" else "added", "1.0")
    assert relisted in changes(out)


def test_text_output_lists_unlisted_tags_as_unknown(shell: Shell) -> None:
    _, out, _ = shell.diff([app("1")], [listing(FailureKind.TIMEOUT, None)])
    assert "unknown: the new run could not list them (1)" in out
    assert "removed" not in out


def test_the_tags_of_a_healed_listing_are_not_new(
    shell: Shell,
) -> None:
    old = [listing(FailureKind.TIMEOUT, None)]
    _, out, _ = shell.diff([*old], [app("1"), app("2")], "--format", "jsonl")
    assert changes(out) == [("added", "2"), ("relisted", "1"), ("healed", None)]


def test_a_mirror_is_compared_with_its_origin(shell: Shell) -> None:
    mirror = [on("mirror.example:5000", record) for record in OLD]
    _, out, _ = shell.diff([*OLD], mirror)
    assert "4 removed" in out
    _, out, _ = shell.diff([*OLD], mirror, "--ignore-registry")
    assert "no differences: 1 still failing, 4 unchanged" in out


def test_ignore_registry_refuses_one_name_from_two_registries(shell: Shell) -> None:
    both = [app("1"), on("mirror.example:5000", app("1"))]
    code, out, err = shell.diff(both, [app("1")], "--ignore-registry")
    assert (code, out) == (2, "")
    assert err == (
        "auditor: --ignore-registry: the old report has team/app:1 from"
        " mirror.example:5000 and from r.example.com; compare reports of one registry"
        " each\n"
    )


def test_everything_is_added_to_an_empty_report(shell: Shell) -> None:
    _, out, _ = shell.diff([], [app("1")])
    assert out.splitlines()[:3] == [
        "old: 0 images, 0 failures",
        "new: 1 image, 0 failures, audited 2026-11-24T02:00:00Z",
        "1 added",
    ]


def test_a_report_can_be_several_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        write_report(tmp_path / f"old-{number}.jsonl", [app(str(number))])
    new = write_report(tmp_path / "new.jsonl", [app("0"), app("1")])
    assert run(["diff", str(tmp_path / "old-*.jsonl"), new, "--exit-code"]) == 0
    assert "no differences: 2 unchanged" in capsys.readouterr().out


def test_control_characters_are_escaped(shell: Shell) -> None:
    hostile = failure(
        reference="\x1b[2J\u202eevil|`", registry=None, repository=None, tag=None
    )
    for form in ("text", "markdown", "jsonl"):
        _, out, _ = shell.diff([], [hostile], "--format", form)
        assert "\x1b" not in out
    _, out, _ = shell.diff([], [hostile])
    assert "\\x1b[2J\\u202eevil|`" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.jsonl", "none.jsonl"], "none.jsonl: no such report"),
        (
            ["none.jsonl", "none.jsonl", "--growth", "ten"],
            '--growth: expected a percentage or a size (10%, 50MB), got "ten"',
        ),
    ],
)
def test_a_usage_error_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["diff", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_reports_that_may_be_the_wrong_ones_are_named(shell: Shell) -> None:
    def notes(old: list[Record], new: list[Record], *flags: str) -> list[str]:
        _, out, _ = shell.diff(old, new, *flags)
        return [line for line in out.splitlines() if line.startswith("note: ")]

    before = app("1", audited_at="2026-11-01T02:00:00Z")
    after = app("1", audited_at="2026-11-02T02:00:00Z")
    assert notes([before], [after]) == []
    swapped = "note: the new report was audited before the old one: OLD comes first"
    assert notes([after], [before]) == [swapped]
    _, _, errors = shell.diff([after], [before], "--format", "jsonl")
    assert errors == f"auditor: {swapped}\n"
    assert notes([before], []) == [
        "note: the new report is empty, so that what it lacks may still be there"
    ]
    assert notes([], [after]) == []
    mirror = on("mirror.example.com", after)
    nothing = "note: no reference is in both reports"
    hint = "; --ignore-registry compares a mirror with its origin"
    assert notes([before], [mirror]) == [nothing + hint]
    assert notes([before], [mirror], "--ignore-registry") == []
    assert notes([before], [app("2")], "--ignore-registry") == [nothing]
