"""The release workflow publishes without secrets, signed, and only what was tried."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from auditor.version import __version__

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
WORKFLOW: dict[Any, Any] = yaml.safe_load(TEXT)
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]


def _steps(job: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = JOBS[job]["steps"]
    return steps


def _uses(job: str) -> list[str]:
    return [step["uses"].partition("@")[0] for step in _steps(job) if "uses" in step]


def _commands(job: str) -> str:
    return "\n".join(step.get("run", "") for step in _steps(job))


def test_only_a_tag_of_a_version_starts_it() -> None:
    started_by = WORKFLOW[True]  # YAML 1.1 reads `on` as true
    assert started_by == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+"]}}
    # GitHub's patterns: + repeats what is before it, a dot is a dot.
    (pattern,) = started_by["push"]["tags"]
    assert re.fullmatch(pattern.replace(".", r"\."), f"v{__version__}")


def test_a_version_without_its_tag_or_its_changelog_is_not_released() -> None:
    assert 'test "$GITHUB_REF_NAME" = "v$version"' in _commands("build")
    (pattern,) = re.findall(r'grep -qx "(.+)" CHANGELOG.md', _commands("build"))
    heading = pattern.replace("$version", re.escape(__version__))
    assert re.fullmatch(heading, f"## {__version__}, 2026-12-01")
    assert not re.fullmatch(heading, f"## {__version__}, not released")
    # It is the heading that CONTRIBUTING.md asks for.
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"`## {__version__}, 2026-12-01`" in guide


def test_no_password_or_token_is_stored() -> None:
    assert "secrets." not in TEXT
    assert WORKFLOW["permissions"] == {}
    publish = JOBS["publish"]
    assert publish["environment"] == "pypi"
    assert "pypa/gh-action-pypi-publish" in _uses("publish")
    assert publish["permissions"]["id-token"] == "write"
    for name, job in JOBS.items():
        if name != "publish":  # where code of others runs
            assert job["permissions"] == {"contents": "read"}


def test_everything_is_signed_and_described() -> None:
    uses = _uses("publish")
    order = [
        "actions/attest-build-provenance",
        "actions/attest-sbom",
        "pypa/gh-action-pypi-publish",
    ]
    assert [one for one in uses if one in order] == order
    (published,) = [one for one in _steps("publish") if "pypi-publish" in str(one)]
    assert published["with"] == {"attestations": True}
    assert "make sbom" in _commands("build")
    # PyPI refuses what is no distribution.
    assert "rm dist/sbom.cdx.json" in _commands("publish")


def test_what_is_published_was_built_once_and_tried_on_every_python() -> None:
    assert JOBS["publish"]["needs"] == ["build", "try"]
    assert JOBS["try"]["needs"] == "build"
    assert "make dist" in _commands("build")
    for job in ("try", "publish"):
        assert "actions/checkout" not in _uses(job)
        assert "actions/download-artifact" in _uses(job)
    classified = re.findall(
        r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    )
    assert JOBS["try"]["strategy"]["matrix"]["python"] == classified


@pytest.mark.parametrize("job", JOBS)
def test_every_target_of_make_exists_and_no_job_runs_for_ever(job: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", _commands(job), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert JOBS[job]["timeout-minutes"] <= 60


def test_every_variable_of_make_is_defined() -> None:
    """An undefined one is empty: `$(PYTEST) tests` would run nothing and succeed."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\((\w+)\)", makefile))
    defined = set(re.findall(r"^(\w+) *[:?]?=", makefile, re.MULTILINE))
    assert used - defined == set()
