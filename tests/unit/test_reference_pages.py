"""The pages in docs/reference/ equal what the code says."""

from __future__ import annotations

import pytest

from auditor.analysis.check.rules import RULES
from scripts import reference_texts
from scripts.reference_pages import FOLDER, _cluster_keys, _night_keys, pages

PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(name: str) -> None:
    """`make docs` writes it."""
    assert (FOLDER / name).read_text("utf-8") == PAGES[name]


def test_every_page_of_the_folder_is_generated() -> None:
    assert {path.name for path in FOLDER.iterdir()} == PAGES.keys()


def test_there_are_no_texts_about_other_rules_and_keys() -> None:
    assert list(reference_texts.RULE_HELP) == list(RULES)
    assert reference_texts.NIGHTLY_HELP.keys() == _night_keys().keys()
    assert reference_texts.CLUSTER_HELP.keys() == _cluster_keys().keys()


@pytest.mark.parametrize("name", PAGES)
def test_values_are_those_of_json(name: str) -> None:
    for value in ("`None`", "`False`", "`True`"):
        assert value not in PAGES[name]
