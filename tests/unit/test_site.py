"""`make docs` builds, strictly, and the site loads nothing from elsewhere."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).parents[2]
# What a browser loads by itself; links are followed by people only.
_LOADED = re.compile(
    r"<(?:script|img|iframe|link(?=[^>]*stylesheet))[^>]*(?:src|href)=\"?(https?:[^\s\">]+)"
    r"|url\(\"?(https?:[^)\"]+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The built site. A warning of MkDocs, such as a broken link, is an error."""
    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
    logger = logging.getLogger("mkdocs")
    try:
        build(config)
        yield folder
    finally:
        for handler in logger.handlers[:]:
            logger.removeHandler(handler)


def test_the_site_has_a_page_for_each_document(site: Path) -> None:
    documents = {
        path.relative_to(ROOT / "docs").with_suffix(".html")
        for path in (ROOT / "docs").rglob("*.md")
    }
    assert documents <= {path.relative_to(site) for path in site.rglob("*.html")}


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    loaded = {
        address
        for path in (*site.rglob("*.html"), *site.rglob("*.css"))
        for match in _LOADED.findall(path.read_text("utf-8"))
        for address in match
        if address
    }
    assert loaded == set()


def test_every_page_is_in_the_navigation_or_linked(site: Path) -> None:
    """What can be found by its address only is lost."""
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    linked = {
        (path.parent / target).resolve().relative_to(site).as_posix()
        for path in site.rglob("*.html")
        if path.name != "404.html"  # its links are absolute
        for target in re.findall(r'href="?([^":\s>#]+\.html)', path.read_text("utf-8"))
    }
    assert pages - linked - {"404.html"} == set()


def test_the_search_index_has_the_text_of_the_pages(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_text("utf-8")
    assert all(word in index for word in ("schema 1", "rate limit", "DaemonSets"))
