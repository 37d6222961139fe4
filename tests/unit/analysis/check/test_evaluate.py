"""Sections, waivers and notices: which rules apply to what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from auditor.analysis.check import newer_platforms
from auditor.analysis.check.evaluate import check_reports
from auditor.analysis.check.newer_platforms import NewerTag
from auditor.analysis.check.policy_file import load_policy
from auditor.errors import FailureKind, UsageError
from auditor.model import ContentKind, ImageRecord, Record
from tests.manifests import digest
from tests.policies import TODAY, findings_of, violations_of
from tests.records import failure, image, layer, platform
from tests.reports import write_report

CONFIGS = Path(__file__).parents[4] / "auditor" / "examples"


def at(registry: str, repository: str, tag: str | None = "1") -> ImageRecord:
    name = f"{registry}/{repository}"
    return image(
        reference=f"{name}:{tag}" if tag else f"{name}@{digest('e')}",
        registry=registry,
        repository=repository,
        tag=tag,
    )


API, BOX = at("r.example.com", "prod/api"), at("r.example.com", "prod/sandbox/x")
DEV, V1 = at("h.example.com:5000", "dev/api"), at("r.example.com", "prod/api", "v1")
PINNED = at("r.example.com", "prod/api", None)
ALL = [API, BOX, DEV, V1, PINNED]


@pytest.mark.parametrize(
    ("scope", "broken"),
    [
        ("", ALL),
        ('repositories = ["*"]', ALL),
        ('repositories = ["prod/*"]', [API, BOX, V1, PINNED]),
        ('repositories = ["r.example.com/prod/*"]', [API, BOX, V1, PINNED]),
        ('repositories = ["prod/api"]', [API, V1, PINNED]),
        ('repositories = ["*/api"]', [API, DEV, V1, PINNED]),
        ('repositories = ["h.example.com:5000/*"]', [DEV]),
        ('repositories = ["prod/*"]\nexcept = ["*/sandbox/*"]', [API, V1, PINNED]),
        ('tags = ["v[0-9]*"]', [V1]),
        ('repositories = ["dev/*", "prod/sandbox/?"]', [BOX, DEV]),
        ('repositories = ["PROD/*"]', []),
    ],
)
def test_a_section_applies_to_its_repositories_and_tags(
    tmp_path: Path, scope: str, broken: list[Record]
) -> None:
    violations = violations_of(tmp_path, f"[rules.a]\nmax_size = 1\n{scope}", ALL)
    assert [one.reference for one in violations] == sorted(
        record.reference for record in broken
    )


def test_every_section_of_a_repository_applies(tmp_path: Path) -> None:
    text = (
        "[rules.a]\nmax_size = 1\n"
        '[rules.b]\nmax_size = 2\nrepositories = ["prod/*"]\n'
        "[rules.c]\nmax_size = 1000\n"
    )
    found = violations_of(tmp_path, text, [API, DEV])
    assert [(one.rule.id, one.reference) for one in found] == [
        ("a.max_size", DEV.reference),
        ("a.max_size", API.reference),
        ("b.max_size", API.reference),
    ]


def waiver(rules: str, references: str, expires: str = "2026-11-24") -> str:
    return (
        f"[[waivers]]\nrules = ['{rules}']\nreferences = ['{references}']\n"
        f"reason = 'why {rules}'\nexpires = {expires}\n"
    )


RULE = "[rules.a]\nmax_size = 1\nmax_layers = 1\n"


@pytest.mark.parametrize(
    "references",
    ["*", "prod/api", "r.example.com/prod/api", "prod/api:1", API.reference, "prod/*"],
)
@pytest.mark.parametrize("rules", ["max_size", "a.max_size"])
def test_a_waiver_covers_its_rules_for_its_references(
    tmp_path: Path, rules: str, references: str
) -> None:
    text = RULE + waiver(rules, references)
    with findings_of(tmp_path, text, [API]) as findings:
        waived, other = findings.violations()
        assert (waived.waiver, other.waiver) == (findings.policy.waivers[0], None)
        assert (findings.waived, findings.passed) == (1, False)
        assert findings.notices() == []


@pytest.mark.parametrize("references", ["prod/api:v1", "api", "x/prod/api", "prod/ap"])
def test_a_waiver_covers_nothing_else(tmp_path: Path, references: str) -> None:
    with findings_of(
        tmp_path, RULE + waiver("max_size", references), [API]
    ) as findings:
        assert findings.waived == 0
        assert findings.notices() == [
            "the waiver in line 4 covers no violation (why max_size)"
        ]


def test_a_check_whose_violations_are_all_waived_passes(tmp_path: Path) -> None:
    text = "[rules.a]\nmax_size = 1\n" + waiver("max_size", "*")
    with findings_of(tmp_path, text, ALL) as findings:
        assert (findings.passed, findings.waived) == (True, len(ALL))
        assert list(findings.violations(waived=False)) == []


def test_an_expired_waiver_does_not_apply_and_is_reported(tmp_path: Path) -> None:
    text = "[rules.a]\nmax_size = 1\n" + waiver("max_size", "*", "2026-11-23")
    with findings_of(tmp_path, text, [API]) as findings:
        (violation,) = findings.violations()
        assert (violation.waiver, findings.passed) == (None, False)
        assert violation.detail.endswith("; a waiver expired on 2026-11-23")


def test_a_valid_waiver_takes_precedence_over_an_expired_one(tmp_path: Path) -> None:
    text = "[rules.a]\nmax_size = 1\n"
    text += waiver("max_size", "*", "2026-11-23") + waiver("max_size", "prod/*")
    with findings_of(tmp_path, text, [API]) as findings:
        assert findings.passed


def test_a_repository_with_only_latest_can_be_waived(tmp_path: Path) -> None:
    text = "[rules.a]\nforbid_latest_only = true\n"
    text += waiver("forbid_latest_only", "prod/api")
    with findings_of(tmp_path, text, [at("r.io", "prod/api", "latest")]) as findings:
        assert (findings.passed, findings.waived) == (True, 1)


def test_warnings_do_not_make_the_check_fail(tmp_path: Path) -> None:
    text = '[rules.a]\nmax_size = 1\nseverity = "warning"'
    with findings_of(tmp_path, text, [API]) as findings:
        assert findings.passed
        assert len(list(findings.violations())) == 1


def test_notices_report_what_was_not_checked(tmp_path: Path) -> None:
    text = '[rules.a]\nmax_age = "1 day"\nunknown = "ignore"\n'
    text += '[rules.b]\nrepositories = ["nowhere/*"]\nmax_size = 1\n'
    with findings_of(tmp_path, text, [API, DEV]) as findings:
        assert findings.passed
        assert findings.notices() == [
            "rules.b: applies to no line of the report",
            "a.max_age: unknown for 2 of 2 references, ignored; audit with"
            " --image-config always; for reproducible builds, which can have no date,"
            " use max_pushed_age",
        ]


@pytest.mark.parametrize(
    ("rules", "count"),
    [
        ("[rules.a]\nmax_size = 1000000", 2),
        ('[rules.a]\nrepositories = ["prod/*"]\nforbid_failures = true', 1),
        ('[rules.a]\nseverity = "warning"\nforbid_failures = true', 0),
    ],
)
def test_a_notice_counts_failures_that_no_rule_forbids(
    tmp_path: Path, rules: str, count: int
) -> None:
    gone = failure(reference="r.io/app:1", failure=FailureKind.VANISHED)
    lines: list[Record] = [
        *(API, failure(reference="r.io/app:2"), failure(reference="?"), gone)
    ]
    if count == 1:
        in_prod = failure(reference="r.io/prod/app:1", repository="prod/app")
        lines[2] = in_prod
    with findings_of(tmp_path, rules, lines) as findings:
        notices = [one for one in findings.notices() if "could not be" in one]
    expected = f"{count} of 4 references could not be audited, and no rule forbids"
    assert notices == ([f"{expected} that: add forbid_failures"] if count else [])


def test_a_notice_counts_what_the_report_does_not_answer(tmp_path: Path) -> None:
    """Each is a violation, too, but those of a rule are not all of one kind."""
    text = '[rules.a]\nmax_age = "1 day"\n'
    old = replace(API, platforms=(platform(created="2020-01-01T00:00:00Z"),))
    with findings_of(tmp_path, text, [old, DEV]) as findings:
        assert sorted(one.known for one in findings.violations()) == [False, True]
        (notice,) = findings.notices()
        (count,) = findings.counts
    assert notice.startswith("a.max_age: unknown for 1 of 2 references; audit with ")
    assert (count.violations, count.unknown, count.ignored) == (2, 1, 0)


def test_an_empty_report_fails(tmp_path: Path) -> None:
    with findings_of(tmp_path, RULE, []) as findings:
        assert findings.notices() == [
            "the report is empty: nothing was checked, so the check fails"
        ]
        assert not findings.passed


def test_a_rule_that_needs_an_earlier_report_is_not_skipped(tmp_path: Path) -> None:
    text = "[rules.a]\nimmutable_tags = ['*']"
    with pytest.raises(
        UsageError, match=r"policy.toml:2: a.immutable_tags needs an ear"
    ):
        violations_of(tmp_path, text, [API])


def test_two_sections_can_compare_with_the_earlier_report(tmp_path: Path) -> None:
    text = "[rules.a]\nimmutable_tags = ['*']\n[rules.b]\nimmutable_tags = ['1']"
    moved = at("r.example.com", "prod/api")
    earlier = image(reference=moved.reference, digest=digest("f"))
    found = violations_of(tmp_path, text, [moved], earlier=[earlier])
    assert [one.rule.section.name for one in found] == ["a", "b"]


def test_a_long_list_is_shortened_in_the_detail_but_not_in_the_value(
    tmp_path: Path,
) -> None:
    digests = [digest(digit) for digit in "123456789"]
    parts = (platform(layers=tuple(layer(digit) for digit in "123456789")),)
    rule = f"[rules.a]\nforbidden_layers = {digests}"
    (violation,) = violations_of(tmp_path, rule, [image(platforms=parts)])
    assert set(violation.found) == set(digests)
    (size,) = violations_of(
        tmp_path,
        f"[rules.a]\nrequired_platforms = {[f'linux/a{n}' for n in range(10)]}",
        [API],
    )
    assert size.detail.endswith(
        "linux/a7 and 2 more; the report has no other tag of the repository"
    )


def test_a_missing_platform_comes_with_the_next_tag_that_has_it(tmp_path: Path) -> None:
    both = ("linux/amd64", "linux/arm64")

    def tagged(tag: str, *architectures: str, pushed: str | None = None) -> ImageRecord:
        return image(
            reference=f"r.example.com/team/app:{tag}",
            tag=tag,
            architectures=architectures,
            pushed_at=pushed,
        )

    records = [
        tagged("1.4.0", "linux/amd64"),
        tagged("1.4.1", "linux/amd64"),
        tagged("1.4.2", *both),
        tagged("1.5.0", *both, "linux/s390x"),
        tagged("1.6.0", "linux/amd64"),
        tagged("latest", "linux/amd64", pushed="2026-11-01T00:00:00Z"),
        tagged("main", *both, pushed="2026-11-02T00:00:00Z"),
        tagged("1.4.0-alpine", "linux/amd64"),
        image(reference="r.example.com/team/web:1", repository="team/web"),
    ]
    text = "[rules.a]\nrequired_platforms = ['linux/arm64', 'linux/s390x']\n"
    violations = violations_of(tmp_path, text, records)
    found = {
        one.safe_reference.rpartition("/")[2]: one.newer
        and [f"{newer.tag} {' '.join(newer.platforms)}" for newer in one.newer]
        for one in violations
    }
    assert found == {
        "app:1.4.0": ["1.4.2 linux/arm64", "1.5.0 linux/s390x"],
        "app:1.4.1": ["1.4.2 linux/arm64", "1.5.0 linux/s390x"],
        "app:1.4.2": ["1.5.0 linux/s390x"],
        "app:1.6.0": (),
        "app:latest": ["main linux/arm64"],
        "app:main": (),
        "app:1.4.0-alpine": (),
        "web:1": None,
    }
    sentences = {
        one.safe_reference.rpartition("/")[2]: one.detail.partition("; ")[2]
        for one in violations
    }
    none = "no newer tag in the report has"
    assert sentences == {
        "app:1.4.0": "1.4.2 has linux/arm64; 1.5.0 has linux/s390x",
        "app:1.4.1": "1.4.2 has linux/arm64; 1.5.0 has linux/s390x",
        "app:1.4.2": "1.5.0 has linux/s390x",
        "app:1.6.0": f"{none} linux/arm64 or linux/s390x",
        "app:latest": f"main has linux/arm64; {none} linux/s390x",
        "app:main": f"{none} linux/s390x",
        "app:1.4.0-alpine": f"{none} linux/arm64 or linux/s390x",
        "web:1": "the report has no other tag of the repository",
    }


def test_many_repositories_have_their_next_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newer_platforms, "BATCH_ROWS", 7)
    records = [
        image(
            reference=f"r.example.com/team/app{number}:{tag}",
            repository=f"team/app{number}",
            tag=tag,
            architectures=names,
        )
        for number in range(30)
        for tag, names in (("1", ("linux/amd64",)), ("2", ("linux/arm64",)))
    ]
    text = "[rules.a]\nrequired_platforms = ['linux/arm64']\n"
    found = violations_of(tmp_path, text, records)
    expected = (NewerTag(tag="2", platforms=("linux/arm64",)),)
    assert {one.newer for one in found} == {expected}
    assert len(found) == 30


# The violations and waived violations of each example policy.
LEGACY = image(
    reference="registry.example.com/prod/legacy-erp:v1",
    registry="registry.example.com",
    repository="prod/legacy-erp",
    tag="v1",
    media_type="application/vnd.docker.distribution.manifest.v1+json",
    platforms=(platform(layers=(layer("1"),), created="2020-01-01T00:00:00Z"),),
)
EXAMPLES = {
    "policy-baseline.toml": (
        ["everything.forbid_failures", "everything.forbidden_media_types"],
        [],
    ),
    "policy-production.toml": (
        [
            # The report does not contain its base image, what that is now, or its user.
            "production.allowed_bases",
            "production.forbid_end_of_life",
            "production.forbid_root",
            "production.forbid_stale_base",
            "production.required_annotations",
            "production.required_labels",
            "releases.required_attachments",
            "releases.required_signature",
        ],
        ["production.max_age", "production.required_platforms"],
    ),
    "policy-migration.toml": (
        ["arm-machines.required_platforms", "containerd-2.forbidden_media_types"],
        [],
    ),
    "policy-incident.toml": (["vulnerable-base.forbidden_layers"], []),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_policy_finds_what_its_comments_describe(
    tmp_path: Path, name: str
) -> None:
    reports = [write_report(tmp_path / "report.jsonl", [LEGACY, failure()])]
    earlier = [write_report(tmp_path / "earlier.jsonl", [LEGACY])]
    example = load_policy(str(CONFIGS / name))
    with check_reports(reports, example, today=TODAY, earlier=earlier) as findings:
        found = list(findings.violations())
    broken, waived = EXAMPLES[name]
    assert sorted(one.rule.id for one in found if not one.waiver) == broken
    assert sorted(one.rule.id for one in found if one.waiver) == waived


def test_every_example_policy_is_tested() -> None:
    assert {path.name for path in CONFIGS.glob("policy-*.toml")} == EXAMPLES.keys()


def test_platform_rules_do_not_apply_to_artifacts(tmp_path: Path) -> None:
    chart = image(
        artifact_type="application/vnd.cncf.helm.config.v1+json",
        content=ContentKind.ARTIFACT,
        architectures=(),
        platforms=(platform(os=None, architecture=None),),
    )
    text = "[rules.a]\nrequired_platforms = ['linux/amd64']\nmax_platform_size = 10\n"
    (violation,) = violations_of(tmp_path, text, [chart])
    assert violation.detail == "is larger than 10: the artifact 300 bytes"


def test_patterns_that_match_nothing_are_named(tmp_path: Path) -> None:
    """A misspelt pattern would make a rule that is never broken."""
    text = (
        '[rules.a]\nrepositories = ["prod/*", "pord/*"]\nexcept = ["prod/bsae"]\n'
        'tags = ["v1", "1.*"]\nmax_size = 1000000\nimmutable_tags = ["v*", "rel-*"]\n'
    )
    records = [at("r.io", "prod/api", "v1"), at("r.io", "dev/api", "v1")]
    with findings_of(tmp_path, text, records, earlier=records) as findings:
        assert findings.passed
        assert findings.notices() == [
            "rules.a.repositories: pord/* matches nothing in the report",
            "rules.a.tags: 1.* matches nothing in the report",
            "a.immutable_tags: rel-* matches nothing in the report",
        ]


def test_an_earlier_report_without_these_tags_is_named(tmp_path: Path) -> None:
    text = "[rules.a]\nimmutable_tags = ['v*']"
    records = [at("r.io", "prod/api", "v1"), at("r.io", "prod/api", "v2")]
    other = [at("mirror.io", "prod/api", "v1")]
    with findings_of(tmp_path, text, records, earlier=other) as findings:
        assert findings.notices() == [
            "a.immutable_tags: of 2 tags none is in the earlier report, so nothing was"
            " compared; check --previous"
        ]
    with findings_of(tmp_path, text, records, earlier=records[:1]) as findings:
        assert findings.notices() == []
