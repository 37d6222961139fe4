"""Arbitrary config blobs are parsed, or have a problem."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from auditor.oci.image_config import ImageConfig, parse_image_config
from tests.examples import examples
from tests.manifests import raw
from tests.property.random_json import OBJECTS, VALUES, damaged
from tests.unit.oci.test_image_config import FULL


def _check(config: ImageConfig) -> None:
    texts = [
        *dataclasses.astuple(config.platform),
        config.created,
        config.author,
        config.user,
        config.working_directory,
    ]
    assert all(text is None or (isinstance(text, str) and text) for text in texts)
    words = (*config.entrypoint, *config.command, *config.exposed_ports)
    assert all(isinstance(word, str) for word in (*words, *config.labels.values()))
    assert config.history_length >= 0


@examples(200)
@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_have_a_problem(body: bytes) -> None:
    _check(parse_image_config(body))


@examples(200)
@given(VALUES | OBJECTS)
def test_any_json_is_parsed_or_has_a_problem(value: object) -> None:
    config = parse_image_config(raw(value))
    if config.problem is None or "which some parsers read" not in config.problem:
        assert (config.problem is None) is isinstance(value, dict)
    _check(config)


@examples(200)
@given(st.data())
def test_a_mutated_config_is_parsed_or_has_a_problem(data: st.DataObject) -> None:
    document: dict[str, Any] = data.draw(damaged(FULL))
    _check(parse_image_config(raw(document)))
