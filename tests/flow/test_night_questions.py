"""A night that also verifies signatures, asks for bases and reads SBOMs."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from auditor.demo.image_builder import image
from tests.flow.commands import auditor
from tests.flow.harness import BLOBS, lab
from tests.flow.nights import read_report
from tests.support.sbom_images import sbom_images
from tests.support.signed_images import add_case, write_policy

pytestmark = pytest.mark.anyio

NIGHT = """
reference = ["{host}/signed/app:1", "{host}/team/app:buildkit", "{host}/team/based:1"]
verify_signatures = "{signatures}"
docker_config = false
check_bases = true
sbom = "sboms.jsonl"
[registry."{host}"]
plain_http = true
[nightly]
folder = "state"
policy = "policy.toml"
page = false
"""
POLICY = """
[rules.signed]
repositories = ["signed/*"]
required_signature = ["p256"]

[rules.unsigned]
repositories = ["team/app"]
required_signature = ["p256"]

[rules.flaws]
repositories = ["team/app"]
forbidden_packages = [{ name = "openssl", version = "<99" }]

[rules.bases]
repositories = ["team/based"]
forbid_stale_base = true
"""
# The tests have no cache otherwise.
CACHE = {"AUDITOR_NO_CACHE": "0", "AUDITOR_CACHE": "cache.sqlite"}
BASE = "org.opencontainers.image.base."


async def test_a_night_answers_all_questions_and_the_next_one_from_its_cache(
    tmp_path: Path,
) -> None:
    signatures = write_policy(tmp_path, "p256")
    (tmp_path / "policy.toml").write_text(POLICY)
    config = tmp_path / "night.toml"
    built = sbom_images()
    add_case(built.content, "cosign-p256", "signed/app")
    async with lab(built.content) as here:
        then, now = image("base then"), image("base now")
        here.content.add("base/os", now, "1")
        names = {
            f"{BASE}name": here.ref("base/os:1"),
            f"{BASE}digest": then.root.digest,
        }
        here.content.add("team/based", image("app", annotations=names), "1")
        config.write_text(NIGHT.format(host=here.host, signatures=signatures))
        for _ in range(2):
            here.faults.log.clear()
            done = await auditor(
                "nightly", "-c", str(config), place=tmp_path, environment=CACHE
            )
            assert done.code == 1, done.stderr  # the policy is violated
            report = read_report(tmp_path / "state/latest.jsonl.zst")
            signed, unsigned, based = report
            assert (signed["verified_by"], signed["not_verified_by"]) == (["p256"], [])
            assert unsigned["not_verified_by"] == ["p256"]
            assert [one["is_stale"] for one in based["bases"]] == [True]
            sboms = (tmp_path / "sboms.jsonl").read_bytes().splitlines()
            names_of = [one["name"] for one in orjson.loads(sboms[0])["packages"]]
            assert "libssl3" in names_of
            said = done.out.decode()
            assert "unsigned.required_signature" in said
            assert "bases.forbid_stale_base" in said
            assert "contains libssl3" in said
            assert "signed.required_signature" not in said.replace("unsigned.", "")
        assert here.targets(BLOBS) == []
        assert here.faults.count("GET", "/v2/base/*/manifests/*") == 0


async def test_a_night_whose_policy_forbids_packages_needs_sboms(
    tmp_path: Path,
) -> None:
    (tmp_path / "policy.toml").write_text("""
[rules.flaws]
forbidden_packages = ["openssl"]
""")
    config = tmp_path / "night.toml"
    config.write_text("""
reference = ["r.example.com/team/app:1"]

[nightly]
folder = "state"
policy = "policy.toml"
""")
    done = await auditor("nightly", "-c", str(config), place=tmp_path)
    assert done.code == 2
    assert done.messages == [
        f"{tmp_path}/policy.toml:3: flaws.forbidden_packages needs the packages of the"
        ' SBOMs; add sbom = "FILE" to the configuration'
    ]


async def test_a_type_of_packages_that_does_not_exist_costs_no_night(
    tmp_path: Path,
) -> None:
    """Only the SBOMs show it, after hours: the report is complete and is kept."""
    signatures = write_policy(tmp_path, "p256")
    (tmp_path / "policy.toml").write_text("""
[rules.flaws]
forbidden_packages = [{ name = "openssl", type = "debian" }]
""")
    config = tmp_path / "night.toml"
    built = sbom_images()
    add_case(built.content, "cosign-p256", "signed/app")
    async with lab(built.content) as here:
        here.content.add("team/based", image("app"), "1")
        text = NIGHT.format(host=here.host, signatures=signatures)
        config.write_text(text.replace("page = false", "page = true"))
        done = await auditor("nightly", "-c", str(config), place=tmp_path)
    assert done.code == 1, done.stderr
    said = done.out.decode()
    assert "the policy was not checked" in said
    assert f"{tmp_path}/policy.toml:3: flaws.forbidden_packages: type debian" in said
    assert len(read_report(tmp_path / "state/latest.jsonl.zst")) == 3
    assert (tmp_path / "state/latest.html").exists()
    assert "the policy was not checked" in (tmp_path / "state/latest.md").read_text()
