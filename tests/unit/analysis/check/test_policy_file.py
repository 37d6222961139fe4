"""Reading a policy file: values, and errors with their lines."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from auditor.analysis.check.policy_file import load_policy
from auditor.analysis.check.rules import RULES
from auditor.analysis.package_uses import PackageCondition
from auditor.analysis.package_versions import VersionRange
from auditor.errors import ConfigError
from tests.manifests import digest
from tests.policies import policy

CONFIGS = Path(__file__).parents[4] / "auditor" / "examples"


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        policy(text)
    return list(caught.value.mistakes)


def value_of(line: str) -> object:
    (rule,) = policy(f"[rules.all]\n{line}\n").rules
    return rule.value


@pytest.mark.parametrize(
    ("written", "size_bytes"),
    [
        ("1", 1),
        ('"1 B"', 1),
        ('"500 MB"', 500_000_000),
        ('"500MB"', 500_000_000),
        ('"1.5 GB"', 1_500_000_000),
        ('"2 GiB"', 2 * 1024**3),
        ('"2G"', 2 * 1024**3),
        ('"3 kB"', 3000),
        ('"3 KB"', 3000),
        ('"1 TB"', 10**12),
    ],
)
def test_sizes_are_bytes(written: str, size_bytes: int) -> None:
    assert value_of(f"max_size = {written}") == size_bytes


@pytest.mark.parametrize(
    ("written", "age_s"),
    [
        ("1 hour", 3600),
        ("36 hours", 129_600),
        ("2 days", 172_800),
        ("1 week", 604_800),
        ("12h", 43_200),
        ("7d", 604_800),
        ("2w", 1_209_600),
    ],
)
def test_ages_are_seconds(written: str, age_s: int) -> None:
    assert value_of(f'max_age = "{written}"') == age_s


def test_ends_of_support_are_dates_by_pattern() -> None:
    text = "[rules.all]\nforbid_end_of_life = true\n[end_of_life]\n"
    found = policy(text + '"*/debian:1[01]*" = 2026-08-31\n')
    assert found.end_of_life == {"*/debian:1[01]*": date(2026, 8, 31)}
    assert errors(text + '"*/debian:11*" = "2026-08-31"\n"[" = 2026-08-31\n') == [
        'policy.toml:4: end_of_life."*/debian:11*": must be a date such as 2027-01-31,'
        " without quotes",
        'policy.toml:5: end_of_life."[": must be a pattern (*, ?, [a-z])',
    ]
    assert "end_of_life" in errors("end_of_life = 3\n[rules.all]\nmax_layers = 1\n")[0]


def test_packages_are_names_or_tables() -> None:
    value = value_of(
        'forbidden_packages = ["log4j*", { name = "openssl", version = "<3.0.8" },'
        ' { name = "pkg:npm/a", type = "npm" }, "log4j*"]'
    )
    assert value == (
        PackageCondition(name="log4j*"),
        PackageCondition(name="openssl", versions=VersionRange.parse("<3.0.8")),
        PackageCondition(name="pkg:npm/a", types=("npm",)),
    )


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (
            '"openssl <3.0.8"',
            'openssl <3.0.8: a name has no spaces; write { name = "openssl",'
            ' version = "<3.0.8" }',
        ),
        ('{ name = "a", versions = "<3" }', "unknown key; did you mean version?"),
        (
            '{ name = "a", version = "3 or 4" }',
            "version: 3 or 4: not a range of versions; write '<3.0.8', '>=3.0,<3.0.8'"
            " or '3.0.7'",
        ),
        ('{ name = "a", version = 3 }', 'version: must be a text such as "<3.0.8"'),
    ],
)
def test_a_wrong_package_is_explained(item: str, sentence: str) -> None:
    (error,) = errors(f"[rules.a]\nforbidden_packages = [{item}]\n")
    assert error == f"policy.toml:2: rules.a.forbidden_packages: {sentence}"


@pytest.mark.parametrize(
    ("written", "days"), [("true", 0), ('"30 days"', 30), ('"12h"', 1), ('"2w"', 14)]
)
def test_grace_periods_are_days(written: str, days: int) -> None:
    assert value_of(f"forbid_end_of_life = {written}") == days


@pytest.mark.parametrize(
    "line",
    [
        'max_size = "2 gigs"',
        'max_size = "GB"',
        "max_size = 0",
        "max_size = -1",
        "max_size = true",
        "max_size = 1.5",
        "max_layers = 0",
        f"max_size = {2**53}",
        f'max_size = "{"9" * 90} TB"',
        f'max_size = "{"9" * 400} GB"',  # no float
        f"max_layers = {'9' * 90}",
        f'max_age = "{"9" * 90} days"',
        'max_layers = "12"',
        'max_age = "6 months"',  # months differ in length
        "max_age = 30",
        'required_platforms = "linux/amd64"',
        "required_platforms = []",
        'required_platforms = ["amd64"]',
        'required_platforms = ["linux/*"]',
        'forbidden_layers = ["sha256:123"]',
        'forbidden_packages = "openssl"',
        "forbidden_packages = []",
        "forbidden_packages = [1]",
        'forbidden_packages = [""]',
        'forbidden_packages = ["a[b"]',
        'forbidden_packages = [{ version = "<3" }]',
        'forbidden_packages = [{ name = "a", type = "" }]',
        'forbidden_media_types = ["a[b"]',
        'forbidden_media_types = ["a\\\\b"]',
        'forbidden_media_types = [""]',
        "forbidden_media_types = [1]",
        "required_annotations = {}",
        "required_annotations = {a = 1}",
        'required_annotations = ["a b"]',
        'required_attachments = ["signatures"]',
        'allowed_grants = ["PULL"]',
        "forbid_failures = false",
        'forbid_failures = ["no_such_kind"]',
        "forbid_latest_only = false",
        'immutable_tags = "v*"',
        'severity = "fatal"',
        'unknown = "maybe"',
        'repositories = "a"',
        "except = []",
    ],
)
def test_an_invalid_value_is_an_error_with_its_line(line: str) -> None:
    key = line.partition(" ")[0]
    (error,) = errors(f"[rules.a]\nmax_layers = 9\n\n[rules.b]\n{line}\n")
    assert error.startswith(f"policy.toml:5: rules.b.{key}: ")
    assert "must be " in error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["policy.toml:1: rules: no rule; add a section [rules.NAME]"]),
        (
            "[rules.a]\nmax_sise = 1\nmax_size = 1",
            ["policy.toml:2: rules.a.max_sise: unknown rule; did you mean max_size?"],
        ),
        (
            "[rules]\nmax_size = 1\n[rules.a]\nmax_size = 1",
            ["policy.toml:2: rules.max_size: must be in a section [rules.NAME]"],
        ),
        (
            '[rules."a b"]\nmax_size = 1',
            [
                (
                    'policy.toml:1: rules."a b": must be a name of letters, digits,'
                    " - and _"
                )
            ],
        ),
        (
            "[rule.a]\nmax_size = 1",
            [
                "policy.toml:1: rule: unknown key; did you mean rules?",
                "policy.toml:1: rules: no rule; add a section [rules.NAME]",
            ],
        ),
        (
            '[rules.a]\nrequired_sbom = ["x"]\nmax_size = 1',
            [
                (
                    "policy.toml:2: rules.a.required_sbom: use"
                    ' required_attachments = ["sbom"]'
                )
            ],
        ),
        (
            '[rules.a]\ntags = ["v*"]\nforbid_latest_only = true',
            [
                (
                    "policy.toml:2: rules.a.tags: must not be in one section with"
                    " forbid_latest_only"
                )
            ],
        ),
        (
            "[rules.a]\nmax_size = 1\n[waivers]\nreason = 'x'",
            ["policy.toml:3: waivers: must be [[waivers]], in double brackets"],
        ),
        (
            (
                "[rules.a]\nmax_size = 1\n"
                "[[waivers]]\nrules = ['max_sise', 'b.max_size']\n"
                "references = ['*']\nexpires = '2027-01-01'"
            ),
            [
                (
                    "policy.toml:6: waivers.expires: must be a date such as 2027-01-31,"
                    " without quotes"
                ),
                "policy.toml:3: waivers: reason is missing",
                (
                    "policy.toml:4: waivers.rules: max_sise: unknown rule;"
                    " did you mean max_size?"
                ),
                (
                    "policy.toml:4: waivers.rules: b.max_size: unknown rule;"
                    " did you mean a.max_size?"
                ),
            ],
        ),
        (
            (
                "[rules.a]\nmax_size = 1\n[[waivers]]\nrules = ['max_size']\n"
                "references = ['*']\nreason = ' '\nexpires = 2027-01-01T00:00:00Z"
            ),
            [
                "policy.toml:6: waivers.reason: must be a sentence on one line",
                (
                    "policy.toml:7: waivers.expires: must be a date such as 2027-01-31,"
                    " without quotes"
                ),
            ],
        ),
    ],
)
def test_all_errors_are_reported_at_once(text: str, expected: list[str]) -> None:
    assert errors(text) == expected


def test_rules_are_in_the_order_of_the_file() -> None:
    read = policy(
        f"""
        [rules.b]
        max_size = 1
        repositories = ["x/*"]
        forbidden_layers = ["{digest("1")}", "{digest("1")}"]
        [rules.a]
        severity = "warning"
        max_size = "1 GB"
        """
    )
    assert [(rule.id, rule.line, rule.limit) for rule in read.rules] == [
        ("b.max_size", 3, "1"),
        ("b.forbidden_layers", 5, str([digest("1"), digest("1")])),
        ("a.max_size", 8, "1 GB"),
    ]
    assert read.rules[1].value == (digest("1"),)
    assert [section.name for section in read.sections] == ["b", "a"]


def test_a_waiver_is_valid_to_the_end_of_its_last_day() -> None:
    (waiver,) = policy(
        "[rules.a]\nmax_size = 1\n[[waivers]]\nrules = ['max_size']\n"
        "references = ['*']\nreason = 'x'\nexpires = 2027-01-31"
    ).waivers
    assert waiver.is_valid(date(2027, 1, 31))
    assert not waiver.is_valid(date(2027, 2, 1))


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.glob("policy-*.toml")), ids=lambda p: p.stem
)
def test_the_rules_of_an_example_policy_have_their_lines(path: Path) -> None:
    lines = path.read_text().splitlines()
    rules = load_policy(str(path)).rules
    assert rules
    for rule in rules:
        assert rule.definition.name in lines[rule.line - 1]


def test_the_documentation_has_every_rule_and_its_policy_is_valid() -> None:
    page = (Path(__file__).parents[4] / "docs" / "guide" / "check.md").read_text()
    rules = page.partition("### Rules")[2].partition("What a reference")[0]
    assert re.findall(r"`(\w+)`", rules) == list(RULES)
    example, supported = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert [rule.id for rule in policy(example).rules] == [
        "production.required_platforms",
        "production.max_age",
    ]
    assert [rule.id for rule in policy(supported).rules] == [
        "supported.forbid_end_of_life"
    ]
