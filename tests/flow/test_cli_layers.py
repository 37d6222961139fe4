"""The command `auditor layers`."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditor.analysis.html.storage_section import read_storage
from auditor.cli.main import run
from auditor.model import (
    BaseImage,
    ContentKind,
    ImageRecord,
    Layer,
    Record,
    Warn,
    WarningCode,
)
from tests.manifests import digest
from tests.records import EVERYTHING, failure, image, layer, platform
from tests.reports import write_report

BASE = (layer("1", 1000), layer("2", 200))

GOLDEN = Path(__file__).parents[1] / "golden"


def one(repository: str, digit: str, *more: Any) -> ImageRecord:
    """An image of one platform: the base layers and more."""
    return image(
        reference=f"r.example.com/{repository}:1",
        repository=repository,
        digest=digest(digit),
        platforms=(platform(digit, config_digest=digest("0"), layers=(*BASE, *more)),),
    )


REPORT: list[Record] = [
    one("library/base", "a"),
    one("team/app", "b", layer("3", 30)),
    one("team/db", "c", layer("4", 4)),
    failure(),
]


@pytest.fixture
def report(tmp_path: Path) -> str:
    return write_report(tmp_path / "report.jsonl", REPORT)


def run_layers(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert run(["layers", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


def test_text_output_matches_the_golden_file(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = (GOLDEN / "layers.txt").read_text(encoding="utf-8")
    assert run_layers(capsys, report) == golden.splitlines()


@pytest.mark.parametrize(
    ("contents", "base"),
    [
        ([ContentKind.IMAGE] * 3, "r.example.com/library/base:1"),
        # Weights that several models start with; a signature with the layers of others.
        ([ContentKind.ARTIFACT] * 3, None),
        ([ContentKind.IMAGE, ContentKind.ARTIFACT, ContentKind.ATTACHMENT], None),
    ],
)
def test_only_images_are_built_on_an_image(
    contents: list[ContentKind],
    base: str | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = [
        one("library/base", "a"),
        one("team/app", "b", layer("3", 30)),
        one("team/db", "c", layer("4", 4)),
    ]
    records = [
        replace(each, content=content)
        for each, content in zip(images, contents, strict=True)
    ]
    report = write_report(tmp_path / "r.jsonl", records)
    lines = map(json.loads, run_layers(capsys, report, "--format", "jsonl"))
    bases = [line["image"] for line in lines if line["kind"] == "base"]
    assert bases == ([base] if base else [])


def test_several_reports_are_one_inventory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [
        write_report(tmp_path / f"{number}.jsonl", [record])
        for number, record in enumerate(REPORT)
    ]
    totals = json.loads(run_layers(capsys, *parts, "--format", "jsonl")[-1])
    assert (totals["images"], totals["failures"]) == (3, 1)


def test_json_lines_have_every_row_and_then_the_totals(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run_layers(capsys, report, "--format", "jsonl", "--limit", "1")
    lines = [json.loads(line) for line in found]
    kinds = [line["kind"] for line in lines]
    assert kinds == [
        *["repository"] * 3, *["namespace"] * 2, "architecture",
        *["shared_layer"] * 2, "base", "totals",
    ]  # fmt: skip
    assert lines[-2] == {
        "schema": 1,
        "kind": "base",
        "image": "r.example.com/library/base:1",
        "platform": "linux/amd64",
        "layers": 2,
        "size": 1200,
        "unsized": 0,
        "top": digest("2"),
        "manifests": 2,
        "repositories": 2,
    }
    assert lines[-1]["size"] == 1234


def test_declared_base_images_are_compared_with_their_layers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def built(repository: str, digit: str, base: str, *layers: Layer) -> ImageRecord:
        part = platform(
            digit, layers=layers, base=BaseImage(name="library/base:1", digest=base)
        )
        return replace(one(repository, digit), platforms=(part,))

    base = one("library/base", "a")
    report = [
        replace(base, registry="docker.io", reference="docker.io/library/base:1"),
        built("team/app", "b", digest("a"), *BASE, layer("3")),
        built("team/db", "c", digest("a"), layer("3")),
        built("team/old", "d", digest("9"), layer("3")),
    ]
    shown = run_layers(capsys, write_report(tmp_path / "r", report))
    rows = [
        line.split("  ") for line in shown[shown.index("declared base images (2)") :]
    ]
    texts = [[cell.strip() for cell in row if cell.strip()] for row in rows[3:]]
    assert texts == [
        ["library/base:1", digest("a"), "2", "2", "1", "1", "same digest"],
        ["library/base:1", digest("9"), "1", "1", "0", "0", "moved"],
    ]


def test_tables_say_how_many_rows_are_left_out(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run_layers(capsys, report, "--limit", "1")
    assert "  and 2 more; --limit 0 shows all" in found


def test_a_layer_is_found_in_its_images(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_layers(capsys, report, "--digest", digest("3")) == [
        "1 reference could not be audited; layers unknown",
        "",
        f"images that contain the layer {digest('3')} (1)",
        "  reference                 platform     layer from the base",
        "  r.example.com/team/app:1  linux/amd64                    2",
    ]


def test_a_manifest_is_found_in_its_tags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latest = image(reference="r.example.com/team/app:latest", tag="latest")
    path = write_report(tmp_path / "r.jsonl.gz", [image(), latest, EVERYTHING])
    flags = ("--format", "jsonl", "--digest", digest("e"), "--digest", digest("b"))
    *found, totals = map(json.loads, run_layers(capsys, path, *flags))
    assert [(line["role"], line["digest"], line["tag"]) for line in found] == [
        ("image", digest("e"), "1"),
        ("image", digest("e"), "latest"),
        ("platform", digest("b"), "1"),
    ]
    assert totals == {"schema": 1, "kind": "totals", "failures": 0, "missing": 1}


def test_every_role_of_a_digest_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_report(tmp_path / "r.jsonl", [EVERYTHING])
    roles = {
        digest("e"): "image",
        digest("b"): "platform",
        digest("c"): "config",
        digest("3"): "layer",
        digest("9"): "attachment",
    }
    flags = [flag for one in roles for flag in ("--digest", one)]
    *found, totals = map(
        json.loads, run_layers(capsys, path, "--format", "jsonl", *flags)
    )
    assert {line["digest"]: line["role"] for line in found} == roles
    assert totals["missing"] == 1
    markdown = run_layers(capsys, path, "--format", "markdown", *flags)
    assert f"### tags that point at {digest('e')} (1)" in markdown


def test_a_digest_of_another_algorithm_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # descriptor.md registers blake3; an audit records it and does not verify it
    blake3 = "blake3:" + "a" * 64
    layers = (replace(layer("1"), digest=blake3),)
    path = write_report(
        tmp_path / "r.jsonl", [image(platforms=(platform(layers=layers),))]
    )
    line, *_ = run_layers(capsys, path, "--digest", blake3, "--format", "jsonl")
    assert json.loads(line)["role"] == "layer"


def test_a_digest_in_no_image_is_reported(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run_layers(capsys, report, "--digest", digest("7"))
    assert found[0] == f"no image in this report contains {digest('7')}"


def test_the_digest_of_a_failure_is_not_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_report(tmp_path / "r.jsonl", [failure(digest=digest("7"), tag=None)])
    found = run_layers(capsys, path, "--digest", digest("7"))
    assert found[0] == f"no image in this report contains {digest('7')}"


ELSEWHERE = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def _foreign(*digits: str, more: int = 0) -> tuple[Warn, ...]:
    details = [
        f"layer {digest(digit)} is stored elsewhere: it has URLs of its own"
        for digit in digits
    ]
    if more:
        details.append(f"{more} more layers of {digest('d')} are stored elsewhere")
    return tuple(Warn(code=WarningCode.FOREIGN_LAYER, detail=one) for one in details)


@pytest.mark.parametrize(
    ("layers", "warnings", "stored", "foreign"),
    [
        # descriptor.md, `urls`: of any media type
        ((layer("8", 10**13),), _foreign("8"), 1200, 1),
        ((layer("8", 10**13), layer("9", 7)), _foreign("8"), 1207, 1),
        # not each is named in a warning
        (
            (
                layer("8", 10**13),
                Layer(digest=digest("9"), size=10**12, media_type=ELSEWHERE),
            ),
            _foreign("8", more=1),
            1200,
            2,
        ),
        # pushed with its content (docker push, allow-nondistributable-artifacts)
        ((Layer(digest=digest("9"), size=9, media_type=ELSEWHERE),), (), 1209, 0),
        # another image of the registry has it as a layer of its own
        ((layer("2", 200),), _foreign("2"), 1200, 0),
    ],
)
def test_layers_that_are_not_in_the_registry_are_not_stored(
    layers: tuple[Layer, ...],
    warnings: tuple[Warn, ...],
    stored: int,
    foreign: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    windows = image(
        reference="r.example.com/windows:1",
        repository="windows",
        digest=digest("d"),
        platforms=(platform("d", layers=layers),),
        warnings=warnings,
    )
    path = write_report(tmp_path / "r.jsonl", [REPORT[0], windows])
    *rows, totals = map(json.loads, run_layers(capsys, path, "--format", "jsonl"))
    assert (totals["size"], totals["foreign"]) == (stored, foreign)
    sizes = {
        row["name"]: row["unique"] + row["shared"]
        for row in rows
        if row["kind"] == "repository"
    }
    own = sum(one.size or 0 for one in layers if one.size and one.size < 10**12)
    assert sizes == {
        "library/base": 1200,
        "windows": 0 if warnings == _foreign("2") else own,
    }
    text = "\n".join(run_layers(capsys, path))
    assert (f"{foreign} layer" in text and "not in the registry" in text) is bool(
        foreign
    )
    storage = read_storage([path])
    assert (storage.totals.size, storage.totals.foreign) == (stored, foreign)


def test_sums_beyond_64_bits_are_capped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    huge = (layer("8", 2**63 - 1), layer("9", 2**63 - 1))
    hostile = image(size=None, platforms=(platform(layers=huge, size=None),))
    path = write_report(tmp_path / "r.jsonl", [hostile])
    *_, totals = run_layers(capsys, path, "--format", "jsonl")
    assert json.loads(totals)["size"] == 2**63 - 1


@pytest.mark.parametrize(
    "text", ["sha256:12", "latest", "app:latest", "1" * 65, "\x1b"]
)
def test_an_invalid_digest_is_a_usage_error(
    text: str, report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["layers", report, "--digest", text]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "not a digest: sha256: and 64 hexadecimal digits" in line


@pytest.mark.parametrize("text", ["sha256:222222222222", "222222", "2" * 64])
def test_the_first_digits_of_a_digest_are_enough(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_report(tmp_path / "r.jsonl", [image()])
    use, _ = run_layers(capsys, path, "--digest", text, "--format", "jsonl")
    assert json.loads(use)["digest"] == digest("2")


def test_digits_of_several_digests_are_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = [f"sha256:{'7' * 12}{end * 52}" for end in "12"]
    layers = tuple(replace(layer(), digest=one) for one in two)
    path = write_report(
        tmp_path / "r.jsonl", [image(platforms=(platform(layers=layers),))]
    )
    assert run(["layers", path, "--digest", "7" * 12]) == 2
    assert capsys.readouterr().err == (
        f"auditor: --digest sha256:{'7' * 12}: several digests begin so: {two[0]},"
        f" {two[1]}; give more digits\n"
    )


def test_csv_has_the_storage_or_the_uses_of_a_digest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_report(tmp_path / "r.jsonl", [image()])
    storage = list(csv.DictReader(run_layers(capsys, path, "--format", "csv")))
    assert [row["kind"] for row in storage] == [
        "repository", "namespace", "architecture",
    ]  # fmt: skip
    assert storage[0]["size"] == "300"
    (use,) = csv.DictReader(
        run_layers(capsys, path, "--format", "csv", "--digest", "2" * 12)
    )
    assert (use["role"], use["position"]) == ("layer", "1")


def test_what_has_no_tag_is_counted_and_what_it_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = replace(
        one("team/app", "b", layer("3", 30)),
        reference=f"r.example.com/team/app@{digest('b')}",
        tag=None,
        untagged=True,
    )
    report = write_report(tmp_path / "r.jsonl", [one("team/app", "a"), old])
    out = "\n".join(run_layers(capsys, report))
    assert (
        "1 manifest without a tag: 1 that nothing needs, with 30 B of their own" in out
    )


def test_a_manifest_that_lost_its_tag_last_night_is_unused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the two lines of the tag, only the last one names something."""
    old = one("team/app", "b", layer("3", 30))
    new = replace(one("team/app", "c"), audited_at="2026-11-25T02:00:00Z")
    lost = replace(
        old, reference=f"r.example.com/team/app@{old.digest}", tag=None, untagged=True,
        audited_at=new.audited_at,
    )  # fmt: skip
    nights = [
        write_report(tmp_path / "1.jsonl", [old]),
        write_report(tmp_path / "2.jsonl", [new, lost]),
    ]
    totals = json.loads(run_layers(capsys, *nights, "--format", "jsonl")[-1])
    assert (totals["untagged"], totals["untagged_unused"]) == (1, 1)
    assert totals["untagged_size"] == 30


def test_a_report_of_several_days_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Layers of a tag that was deleted since count as stored."""
    old = replace(one("team/app", "b"), audited_at="2026-11-20T02:00:00Z")
    report = write_report(tmp_path / "r.jsonl", [old, one("library/base", "a")])
    assert run(["layers", report]) == 0
    (note,) = (
        line for line in capsys.readouterr().out.splitlines() if "several days" in line
    )
    assert note.startswith("note: r.example.com was audited on several days (2026-11-")
    for form in ("csv", "jsonl"):
        assert run(["layers", report, "--format", form]) == 0
        assert capsys.readouterr().err == f"auditor: {note}\n"
