"""The sections of the page of `auditor html`, without a browser."""

from __future__ import annotations

import hashlib
import html
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from auditor.analysis.diff import Change
from auditor.analysis.history import add
from auditor.analysis.html import report_lines, table_data
from auditor.analysis.html.headline import find_worst
from auditor.analysis.html.image_sections import (
    image_share,
    read_ages,
    read_attachments,
    read_platforms,
)
from auditor.analysis.html.page import csp_hash, make_page, search_link
from auditor.analysis.html.report_lines import load_lines, read_source
from auditor.analysis.html.storage_section import read_storage
from auditor.analysis.html.table_data import read_layers, read_references, script_json
from auditor.analysis.html.trend_section import (
    TrendPoint,
    history_points,
    read_trend,
)
from auditor.cli.main import run
from auditor.cli.output import print_pieces
from auditor.errors import ExitCode, OutputError
from auditor.model import (
    BaseImage,
    ConfigDetails,
    ContentKind,
    ImageRecord,
    Layer,
    Record,
)
from tests.manifests import digest
from tests.records import EVERYTHING, RECORDS, failure, image, layer, platform
from tests.reports import write_report

TODAY = date(2026, 11, 24)
FIVE_MB = 5_000_000


def app(repository: str, tag: str, **more: Any) -> ImageRecord:
    reference = f"r.example.com/{repository}:{tag}"
    return image(reference=reference, repository=repository, tag=tag, **more)


def page_of(tmp_path: Path, *records: Any, name: str = "r.jsonl", **more: Any) -> str:
    return make_page([write_report(tmp_path / name, records)], today=TODAY, **more)


@pytest.mark.parametrize(
    "text", ["</script>", "<!--<script>", "a&b", "\u2028\u2029", '"\\', "<\\/"]
)
def test_json_cannot_end_its_script_element(text: str) -> None:
    embedded = script_json({"key": [text]})
    assert not set("<>&\u2028\u2029") & set(embedded)
    assert orjson.loads(embedded) == {"key": [text]}


@pytest.mark.parametrize(
    ("terms", "link"),
    [
        ({"repo": "team/app"}, "#find=repo%3Ateam%2Fapp"),
        ({"repo": "a b"}, "#find=a%20b"),
        ({"repo": '"><b>'}, "#find=%22%3E%3Cb%3E"),
        ({"repo": "a\x1b"}, "#find=repo%3Aa%5Cx1b"),
        ({"repo": None}, "#find="),
    ],
)
def test_a_search_link_escapes_hostile_names(
    terms: dict[str, str | None], link: str
) -> None:
    assert search_link(**terms) == link


def test_the_content_security_policy_allows_only_the_script_of_the_page(
    tmp_path: Path,
) -> None:
    page = page_of(tmp_path, *RECORDS)
    found = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert found
    policy = html.unescape(found[1])
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert f"script-src {csp_hash(script)};" in policy
    assert f"style-src {csp_hash(style)};" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    # Nothing that the policy would block.
    assert not re.search(r"\s(style|on\w+)=", page.replace(script, ""))
    assert not re.search(r"(src|href)=.?(https?:)?//", page)


def test_the_page_names_its_report_by_digest_and_date(tmp_path: Path) -> None:
    page = page_of(tmp_path, *RECORDS)
    expected = hashlib.sha256((tmp_path / "r.jsonl").read_bytes()).hexdigest()
    assert f'<meta name="auditor-report-digest" content="sha256:{expected}">' in page
    assert 'name="auditor-report-date" content="2026-11-24T02:00:00Z"' in page


def test_several_files_have_the_digest_of_their_sha256sum(tmp_path: Path) -> None:
    for name in ("b.jsonl.gz", "a.jsonl"):
        write_report(tmp_path / name, RECORDS)
    source = read_source([str(tmp_path / "*.jsonl*")])
    assert [file.name for file in source.files] == ["a.jsonl", "b.jsonl.gz"]
    printed = "".join(f"{file.digest[7:]}  {file.name}\n" for file in source.files)
    assert source.digest == f"sha256:{hashlib.sha256(printed.encode()).hexdigest()}"
    assert source.name == "a.jsonl and 1 more"


def test_the_same_report_gives_the_same_page(tmp_path: Path) -> None:
    assert page_of(tmp_path, *RECORDS) == page_of(tmp_path, *RECORDS)


@pytest.mark.parametrize("records", [(), (failure(),), (EVERYTHING,), RECORDS])
def test_every_report_has_a_page(tmp_path: Path, records: Any) -> None:
    old = write_report(tmp_path / "old.jsonl", RECORDS)
    if not records:
        policy = tmp_path / "policy.toml"
        policy.write_text("[rules.a]\nforbid_failures = true\n")
        page = page_of(tmp_path, policy_file=str(policy))
        assert "The report is empty" in page
        assert "The policy check passed" not in page
    else:
        assert "What changed" in page_of(tmp_path, *records, previous=[old])


def test_a_pattern_that_failed_is_no_repository(tmp_path: Path) -> None:
    records: list[Record] = [
        app("team/app", "1"),
        failure(reference="r.example.com/gone/app:1", repository="gone/app"),
        failure(reference="r.example.com/none/**:*", repository="none/**"),
    ]
    with load_lines([write_report(tmp_path / "r.jsonl", records)]) as lines:
        rows = read_platforms(lines).repositories.rows
        assert [row.name for row in rows] == ["team/app", "gone/app"]
        assert lines.totals.repositories == 2


def test_the_platform_matrix_counts_the_images_of_a_repository(tmp_path: Path) -> None:
    arm = ("linux/amd64", "linux/arm64")
    records = [
        app("team/app", "1", architectures=arm),
        app("team/app", "2", architectures=arm),
        app("team/app", "3"),
        app("team/one", "1", architectures=("windows/amd64",)),
    ]
    with load_lines([write_report(tmp_path / "r.jsonl", records)]) as lines:
        matrix = read_platforms(lines)
    names = [platform.name for platform in matrix.platforms.rows]
    assert names == ["linux/amd64", "linux/arm64", "windows/amd64"]
    assert matrix.systems == (("linux", 2), ("windows", 1))
    cells = {
        row.name: [(cell.images, cell.level) for cell in row.cells if cell]
        for row in matrix.repositories.rows
    }
    assert cells == {
        "team/app": [(3, 4), (2, 3), (0, 0)],
        "team/one": [(0, 0), (0, 0), (1, 4)],
    }


@pytest.mark.parametrize(
    ("created", "age"),
    [
        ("2026-11-24T01:00:00Z", "up to a week"),
        ("2026-11-17T10:00:00.123456789Z", "up to a week"),
        ("2026-11-16T10:00:00Z", "up to a month"),
        ("2025-01-01T00:00:00Z", "up to 2 years"),
        ("2020-01-01T00:00:00Z", "older than 2 years"),
        # A week before the audit in UTC, eight days by its own clock.
        ("2026-11-16T23:00:00-05:00", "up to a week"),
        # Reproducible builds have no date.
        ("1970-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("2030-01-01T00:00:00Z", "dated after the audit"),
        ("yesterday", None),
        (None, None),
    ],
)
def test_an_image_is_as_old_as_its_youngest_platform(
    tmp_path: Path, created: str | None, age: str | None
) -> None:
    record = image(platforms=(platform("a", created=created), platform("b")))
    with load_lines([write_report(tmp_path / "r.jsonl", [record])]) as lines:
        ages = read_ages(lines)
        (row,) = read_references(lines).data["rows"]
    counted = [one for one in ages.ages if one.images]
    assert [one.name for one in counted] == ([age] if age else [])
    for one in ages.ages:  # its link finds the image, no other link does
        is_found = row[5] is not None and (
            (one.since or "") <= row[5] <= (one.until or "9999")
        )
        assert is_found == (one.name == age)
    assert ages.partly == (1 if age else 0)
    assert ages.undated == (0 if age else 1)


def test_the_age_is_that_of_the_annotation_if_no_config_was_fetched(
    tmp_path: Path,
) -> None:
    # OCI image-spec, annotations.md.
    record = image(
        platforms=(platform("a", created=None),),
        annotations={"org.opencontainers.image.created": "2025-01-01T00:00:00Z"},
    )
    with load_lines([write_report(tmp_path / "r.jsonl", [record])]) as lines:
        assert read_ages(lines).undated == 0


def test_only_images_count_as_images(tmp_path: Path) -> None:
    signature = f"sha256-{'a' * 64}.sig"
    records = [
        image(signed=True),
        *(
            image(
                tag=tag,
                reference=f"r.example.com/team/app:{tag}",
                content=content,
                artifact_type="application/vnd.cncf.helm.config.v1+json",
                platforms=(platform("a", created="2020-01-01T00:00:00Z"),),
                signed=False,
            )
            for tag, content in [
                ("chart", ContentKind.ARTIFACT),
                (signature, ContentKind.ATTACHMENT),
                (signature.removesuffix(".sig"), ContentKind.ATTACHMENT),
            ]
        ),
    ]
    with load_lines([write_report(tmp_path / "r.jsonl", records)]) as lines:
        assert (lines.totals.images, lines.totals.others, lines.totals.lines) == (
            1,
            3,
            4,
        )
        platforms = read_platforms(lines)
        assert [one.images for one in platforms.repositories.rows] == [1]
        assert [one.images for one in platforms.platforms.rows] == [1]
        trust = read_attachments(lines).coverage[0]
        assert (trust.yes, trust.no, trust.unknown) == (1, 0, 0)
        ages = read_ages(lines)
        assert (ages.dated, ages.undated) == (0, 1)
        rows = read_references(lines).data["rows"]
        assert sorted(row[6] for row in rows) == [
            "", "artifact", "attachment", "attachment",
        ]  # fmt: skip


def test_the_tiles_of_the_treemap_add_up_to_what_is_stored(tmp_path: Path) -> None:
    records = [
        app("team/a", "1", platforms=(
            platform("a", layers=(layer("1", 100), layer("2", 900))),)),
        app("team/b", "1", platforms=(
            platform("b", layers=(layer("1", 100), layer("3", 500))),)),
    ]  # fmt: skip
    space = read_storage([write_report(tmp_path / "r.jsonl", records)])
    shares = [(tile.share.label, tile.share.size) for tile in space.wide]
    assert shares == [("a", 900), ("b", 500), ("shared layers", 100)]
    assert space.totals.size == 1500
    assert space.shared == 100


def test_many_small_repositories_are_shown_by_their_namespaces(tmp_path: Path) -> None:
    digests = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(200)]
    records = [
        app(f"team-{number % 4}/app{number}", "1", platforms=(
            platform(digest=f"sha256:{name}", layers=(
                Layer(digest=f"sha256:{name}", size=10, media_type=None),)),
        ))
        for number, name in enumerate(digests)
    ]  # fmt: skip
    space = read_storage([write_report(tmp_path / "r.jsonl", records)])
    shares = [(tile.share.label, tile.share.size) for tile in space.wide]
    assert shares == [(f"team-{number}", 500) for number in range(4)]


def test_the_last_line_of_a_reference_counts(tmp_path: Path) -> None:
    page = page_of(tmp_path, failure(reference=image().reference), image())
    assert "1 reference audited" in page


def test_truncated_tables_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_lines, "MAX_FAILURES", 3)
    monkeypatch.setattr(table_data, "MAX_ROWS", 4)
    records = [failure(reference=f"r.example.com/a:{n}", tag=str(n)) for n in range(5)]
    page = page_of(tmp_path, *records, app("team/app", "1"))
    assert "showing 3 of 5 failures (ordered by cause)." in page
    assert "showing 4 of 6 references (failures first" in page


def test_a_page_of_ten_thousand_images_is_below_5_mb(tmp_path: Path) -> None:
    names = [f"linux/arch{number}" for number in range(8)]
    records = [
        app(
            f"library/some-repository-{number % 144}",
            f"3.12.{number}-slim-bookworm",
            digest="sha256:" + hashlib.sha256(b"%d" % (number // 4)).hexdigest(),
            architectures=tuple(names[: 1 + number % 8]),
        )
        for number in range(10_000)
    ]
    page = page_of(tmp_path, *records)
    assert "10,000 references" in page
    assert len(page.encode()) < FIVE_MB
    assert "Truncated:" not in page


def test_long_hostile_names_do_not_exceed_the_limit(tmp_path: Path) -> None:
    records = [
        failure(reference=f"{'<' * 400}{number}", repository=None, registry=None)
        for number in range(5000)
    ]
    with load_lines([write_report(tmp_path / "r.jsonl", records)]) as lines:
        references = read_references(lines)
    assert 0 < references.shown < references.total == 5000
    # One row may exceed it.
    most = table_data.MAX_DATA_BYTES + len(script_json(records[0].reference))
    assert len(script_json(references.data)) <= most + 100


def test_the_page_is_written_atomically(tmp_path: Path) -> None:
    print_pieces(["<p>"], str(tmp_path / "page.html"))
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(OutputError, match="its folder does not exist"):
        print_pieces(["<p>"], str(tmp_path / "nowhere" / "page.html"))
    with pytest.raises(OutputError, match="it is a folder"):
        print_pieces(["<p>"], str(tmp_path))


def test_the_command_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = write_report(tmp_path / "r.jsonl", RECORDS)
    assert run(["html", report, "-o", "-"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("<!DOCTYPE html>")
    assert digest("e")[:19] in page
    assert run(["html", str(tmp_path / "none"), "-o", "-"]) == 2
    assert run(["html", report, "-o", str(tmp_path / "no" / "page.html")]) == 3


def test_labels_bases_and_attachments_are_counted(tmp_path: Path) -> None:
    def one(tag: str, team: str | None, base: str, **more: Any) -> ImageRecord:
        labels = None if team is None else {"team": team}
        config = ConfigDetails(user=None, history=0, labels=labels)
        part = platform(config=config, base=BaseImage(name=base, digest=None))
        arm = replace(part, architecture="arm64")
        reference = f"r.example.com/team/app:{tag}"
        return image(reference=reference, tag=tag, platforms=(part, arm), **more)

    records = [
        one("1", "blue", "debian:12", signed=True),
        one("2", "blue", "debian:12", signed=False, has_sbom=True),
        one("3", "red", "alpine:3"),
        one("4", None, "alpine:3"),
        replace(one("5", "red", "debian:12"), repository="team/db"),
    ]
    with load_lines([write_report(tmp_path / "r.jsonl", records)]) as lines:
        trust = read_attachments(lines)
    assert [(one.name, one.yes, one.no, one.unknown) for one in trust.coverage] == [
        ("Signature", 1, 1, 3),
        ("SBOM", 1, 0, 4),
        ("Provenance", 0, 0, 5),
    ]
    assert trust.is_known
    (app, db) = trust.repositories.rows
    assert app.name == "team/app"
    assert app.cells == [image_share(1, 2), image_share(1, 1), None]
    assert db.cells == [None, None, None]
    (label,) = trust.labels.rows
    assert (label.name, label.images, label.values) == ("team", 4, 2)
    assert (label.most, label.most_images) == ("red", 2)
    assert [(one.name, one.images, one.repositories) for one in trust.bases.rows] == [
        ("debian:12", 3, 2),
        ("alpine:3", 2, 1),
    ]


def test_the_page_says_that_the_report_has_no_attachment_data(tmp_path: Path) -> None:
    page = page_of(tmp_path, image())
    assert "The report has no data about attachments" in page


def test_an_image_opens_to_its_layers_and_shared_ones_are_stored_once(
    tmp_path: Path,
) -> None:
    shared = layer("1", 100)
    records: list[Record] = [
        app("team/a", "1", platforms=(platform("a", layers=(shared, layer("2", 7))),)),
        app("team/b", "1", platforms=(platform("b", layers=(shared,)),)),
        app("team/b", "2", platforms=(platform("b", layers=(shared,)),)),
        failure(),
    ]
    with load_lines([write_report(tmp_path / "r.jsonl", records)]) as lines:
        references = read_references(lines)
        opened = read_layers(lines, references.shown)
    assert sorted(opened["layers"]) == [(digest("1"), 100), (digest("2"), 7)]
    assert len(opened["manifests"]) == 2
    names = references.data["repositories"]
    found = {
        f"{names[row[0]]}:{row[1]}": [
            [opened["layers"][number] for number in opened["manifests"][one][4]]
            for one in opened["images"].get(str(position), [])
        ]
        for position, row in enumerate(references.data["rows"])
    }
    assert found == {
        "team/a:1": [[(digest("1"), 100), (digest("2"), 7)]],
        "team/b:1": [[(digest("1"), 100)]],
        "team/b:2": [[(digest("1"), 100)]],
        "team/gone:1": [],
    }


def test_layers_beyond_the_limit_are_left_out_with_their_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [
        app(
            "team/a",
            str(number),
            size=9 - number,
            digest=digest(str(number)),
            platforms=(
                platform("a", layers=(layer(str(number), 1),)),
                platform("b", layers=(layer(f"{number}f", 1),)),
            ),
        )
        for number in range(4)
    ]
    monkeypatch.setattr(table_data, "MAX_LAYER_BYTES", 1000)
    with load_lines([write_report(tmp_path / "r.jsonl", records)]) as lines:
        opened = read_layers(lines, 4)
    assert list(opened["images"]) == ["0", "1"]
    assert all(len(numbers) == 2 for numbers in opened["images"].values())
    for *_, layers in opened["manifests"]:
        assert all(number < len(opened["layers"]) for number in layers)
    assert len(script_json(opened)) < 1000


@pytest.mark.parametrize(
    ("more", "title", "tone"),
    [
        ({}, "All 3 references audited", "good"),
        ({"lines": 1}, "1 reference audited", "good"),
        ({"lines": 0}, "The report is empty", "warn"),
        ({"failures": 2}, "2 of 3 references could not be audited", "bad"),
        ({"warned": 1}, "1 reference with warnings of the audit", "warn"),
        ({"failures": 1, "errors": 5}, "1 of 3 references could not be audited", "bad"),
        ({"errors": 1, "warned": 1}, "1 violation of the policy", "bad"),
        ({"warnings": 38}, "38 policy warnings", "warn"),
        ({"removed": 1}, "1 image removed", "warn"),
        ({"moved": 2}, "All 3 references audited", "good"),
    ],
)
def test_the_worst_finding_is_the_title(
    more: dict[str, int], title: str, tone: str
) -> None:
    def numbers(**defaults: int) -> dict[str, int]:
        return {name: more.get(name, value) for name, value in defaults.items()}

    counts = dict.fromkeys(Change, 0)
    counts[Change.REMOVED] = more.get("removed", 0)
    counts[Change.MOVED] = more.get("moved", 0)
    changes = SimpleNamespace(
        totals=SimpleNamespace(
            changes=counts,
            differences=sum(counts.values()),
            old=SimpleNamespace(audited_to="2026-11-23T02:00:00Z"),
        )
    )
    headline = find_worst(
        SimpleNamespace(**numbers(lines=3, failures=0, warned=0)),
        changes,
        SimpleNamespace(**numbers(errors=0, warnings=0)),
    )
    assert (headline.title, headline.tone) == (title, tone)
    assert title not in [finding.text for finding in headline.findings]


def test_the_trend_has_a_bar_for_each_night_and_needs_two() -> None:
    points = [
        TrendPoint(at="2026-11-24T02:00:00Z", references=10, failures=0),
        TrendPoint(at="2026-11-23T02:00:00Z", references=5, failures=0, violations=3),
    ]
    assert read_trend(points[:1]) is None
    trend = read_trend(points)
    assert trend is not None
    charts = {chart.label: chart for chart in trend.charts}
    assert list(charts) == ["References", "Failures", "Violations"]
    assert [bar.height for bar in charts["References"].bars] == [50, 100]
    assert charts["References"].last == "10"
    assert [bar.height for bar in charts["Failures"].bars] == [0, 0]
    assert charts["Violations"].bars[1] is None
    assert charts["Violations"].last == "unknown"


def test_the_trend_reads_a_data_set_of_history(tmp_path: Path) -> None:
    for day in (23, 24):
        at = f"2026-11-{day}T02:00:00Z"
        records: list[Record] = [
            image(audited_at=at),
            *([failure(audited_at=at)] if day == 24 else []),
        ]
        report = write_report(tmp_path / f"{day}.jsonl", records)
        add(tmp_path / "runs", [report])
    points = history_points(tmp_path / "runs")
    assert [(point.at, point.references, point.failures) for point in points] == [
        ("2026-11-23T02:00:00Z", 1, 0),
        ("2026-11-24T02:00:00Z", 2, 1),
    ]
    page = tmp_path / "page.html"
    arguments = ["html", str(tmp_path / "24.jsonl"), "-o", str(page)]
    assert run([*arguments, "--history", str(tmp_path / "runs")]) == 0
    assert "The last 2 nights, 2026-11-23 to 2026-11-24." in page.read_text()
    assert run([*arguments, "--history", str(tmp_path)]) == ExitCode.USAGE


def test_the_page_lists_what_ends_within_90_days(tmp_path: Path) -> None:
    def based(name: str, base: str) -> ImageRecord:
        named = BaseImage(name=base, digest=None)
        return app(name, "1", platforms=(platform(base=named),))

    records = [
        based("team/ended", "debian:10"),
        based("team/soon", "debian:11"),
        based("team/later", "debian:12"),
        based("team/undated", "alpine:3"),
        app("team/<unknown>", "1"),
    ]
    policy = tmp_path / "policy.toml"
    policy.write_text(
        "[rules.all]\nmax_layers = 9\n[end_of_life]\n"
        '"*/debian:10" = 2026-11-23\n"*/debian:11" = 2027-02-22\n'
        '"*/debian:12" = 2027-02-23\n',
        "utf-8",
    )
    report = [write_report(tmp_path / "report.jsonl", records)]
    page = make_page(report, policy_file=str(policy), today=TODAY)
    section = page.partition('id="ending"')[2].partition("</section>")[0]
    assert re.findall(r"team/(\w+)", section) == ["ended", "soon"]
    assert re.findall(r'data-key="(-?[0-9]+)"', section) == ["-1", "90"]
    assert "1 image past the end of support, 1 within 90 days of it, 1 later" in section
    assert "1 with a base that has no date; <strong>1 unknown</strong>" in section
    assert "the table, */debian:10, for its base debian:10" in section
    # Without a date anywhere there is no such section.
    assert 'id="ending"' not in make_page(report, today=TODAY)
