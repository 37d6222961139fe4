"""Debian's Chromium, driven by Playwright: pages that may load nothing else.

Both are required: a test that lacks one skips on a developer's machine, and fails where
`NO_TEST_SKIPS=1` is set.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.programs import NO_SKIPS, required

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# A browser of its own, without a sandbox (tests run as root in containers), that asks
# nobody for updates.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser."""
    program = required("chromium")
    if importlib.util.find_spec("playwright") is None:
        reason = "playwright is not installed: pip install playwright"
        if os.environ.get(NO_SKIPS) == "1":
            pytest.fail(f"{reason} ({NO_SKIPS}=1: it must be there)")
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (may be missing)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=list(ARGUMENTS)
        )
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, file: Path, **context: Any) -> Iterator[Page]:
    """A file as a page. In the end nothing was logged, and nothing else was loaded."""
    said: list[str] = []
    asked: list[str] = []
    with browser.new_context(reduced_motion="reduce", **context) as window:
        page = window.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        window.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        yield page
    assert said == []
    assert set(asked) == {file.as_uri()}
