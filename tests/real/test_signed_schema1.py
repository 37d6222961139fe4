"""Signed schema 1, converted and signed by skopeo, in registries that accept it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auditor.oci.schema1 import EMPTY_LAYER, parse_schema1
from tests.real.audits import Lines, command, content
from tests.real.docker_registry import DISTRIBUTION_2
from tests.real.filled_registry import FilledRegistry
from tests.real.images import BASE, SIGNED
from tests.real.layouts import CREATED, sha256
from tests.real.skopeo_records import expected_record

pytestmark = [
    pytest.mark.real,
    pytest.mark.parametrize("filled", [DISTRIBUTION_2], indirect=True, ids=str),
]


def test_every_field_agrees_with_skopeo_and_the_raw_manifest(
    filled: FilledRegistry, full_records: Lines
) -> None:
    expected = expected_record(filled.skopeo, filled.host, SIGNED)
    assert content(full_records[SIGNED]) == expected


def test_schema_1_contains_its_config(
    full_records: Lines, default_records: Lines
) -> None:
    assert content(default_records[SIGNED]) == content(full_records[SIGNED])
    (platform,) = full_records[SIGNED]["platforms"]
    assert (platform["created"], platform["config_digest"]) == (CREATED, None)


def test_layers_are_base_first_without_sizes(full_records: Lines) -> None:
    line = full_records[SIGNED]
    (platform,) = line["platforms"]
    digests = [layer["digest"] for layer in platform["layers"]]
    base = sha256(BASE.content)
    # Each layer's step is followed by one that changed no file.
    assert (digests[0], digests[6]) == (base, base)
    assert digests[1::2] == [EMPTY_LAYER] * 4
    assert {layer["size"] for layer in platform["layers"]} == {None}
    assert (platform["size"], line["size"]) == (None, None)


def test_the_digest_is_that_of_the_payload_and_the_signature_is_valid(
    filled: FilledRegistry, full_records: Lines
) -> None:
    raw = filled.skopeo.raw(SIGNED)
    manifest = parse_schema1(raw, json.loads(raw))
    assert full_records[SIGNED]["digest"] == sha256(manifest.payload) != sha256(raw)
    assert [check.valid for check in manifest.signatures] == [True]
    assert full_records[SIGNED]["warnings"] == []


def test_inspect_raw_prints_the_response_although_each_has_a_new_signature(
    filled: FilledRegistry, tmp_path: Path
) -> None:
    done = command(
        *("inspect", "--raw", f"--authfile={filled.skopeo.authfile}"),
        f"{filled.host}/{SIGNED}",
        place=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    raw = filled.skopeo.raw(SIGNED)
    printed, expected = (
        parse_schema1(one, json.loads(one)) for one in (done.stdout, raw)
    )
    assert printed.payload == expected.payload
    assert len(done.stdout) == len(raw)
    assert [check.valid for check in printed.signatures] == [True]
