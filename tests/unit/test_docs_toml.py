"""Every configuration and policy in the documentation is read without an error."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from auditor.analysis.check.policy_file import load_policy
from auditor.analysis.cleanup.keep_rules import load_keep_rules
from auditor.config import read_toml, resolve_settings
from auditor.config.registries_conf import parse_registries_conf
from auditor.config.signature_policy import load_signature_policy
from tests.jose import certificate, key_for, pem
from tests.support.doc_pages import Block, blocks

ROOT = Path(__file__).parents[2]
TOML = [
    pytest.param(block, id=f"{path.relative_to(ROOT)}:{block.line}")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    for block in blocks(path)
    if block.language == "toml"
]
_VARIABLE = re.compile(r"_env = \"(?!AUDITOR_)(\w+)\"")
_POLICY = re.compile(r"^\[(?:rules|\[waivers)", re.MULTILINE)
_KEEP_RULES = re.compile(r"^keep_", re.MULTILINE)
_SIGNATURE_POLICY = re.compile(r"^\[keys\.", re.MULTILINE)
_COSIGN = re.compile(r"[\w-]+\.pub")
_NOTATION = re.compile(r"[\w-]+\.crt")
_LOGIN = re.compile(r"^password_(?:env|file)\b", re.MULTILINE)


@pytest.mark.parametrize("block", TOML)
def test_the_file_is_read(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "example.toml"
    file.write_text(block.text)
    if "[[registry]]" in block.text:  # containers-registries.conf(5)
        assert list(parse_registries_conf(tomllib.loads(block.text), str(file)))
        return
    if _KEEP_RULES.search(block.text):
        assert load_keep_rules(str(file))
        return
    if _POLICY.search(block.text):
        assert load_policy(str(file)).rules
        return
    if _SIGNATURE_POLICY.search(block.text):
        _write_keys(block.text, tmp_path)
        assert load_signature_policy(str(file)).keys
        return
    settings = resolve_settings(
        file=read_toml(str(file)).document,
        file_name=str(file),
        environment=dict.fromkeys(_VARIABLE.findall(block.text), "value"),
        flags={},
        read_file=lambda _: "secret\n",
    )
    assert settings.registries or not _LOGIN.search(block.text)


def _write_keys(policy: str, folder: Path) -> None:
    """Write the public keys and certificates that a signature policy names."""
    key = key_for("ES256")
    for name in _COSIGN.findall(policy):
        (folder / name).write_bytes(pem(key))
    root = certificate(key, "root", ca=True).public_bytes(Encoding.PEM)
    for name in _NOTATION.findall(policy):
        (folder / name).write_bytes(root)


def test_every_page_of_a_registry_has_a_configuration() -> None:
    pages = {
        path.name
        for path in (ROOT / "docs" / "registries").glob("*.md")
        if not any(block.language == "toml" for block in blocks(path))
    }
    assert pages == {"index.md"}
