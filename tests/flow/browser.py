"""Chromium, driven by Playwright, for pages that must not load anything else.

Both are required: without one a test is skipped on a developer's machine, and fails
where `NO_TEST_SKIPS=1` is set.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.patience import HANG_S
from tests.real.programs import NO_SKIPS, required

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

HANG_MS = HANG_S * 1000
# Without a sandbox (tests run as root in containers) and without update checks.
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
            pytest.fail(f"{reason} (required by {NO_SKIPS}=1)")
        pytest.skip(reason)
    from playwright.sync_api import expect, sync_playwright  # noqa: PLC0415

    expect.set_options(timeout=HANG_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=list(ARGUMENTS), timeout=HANG_MS
        )
        yield browser
        browser.close()


@contextmanager
def new_window(browser: Browser, **context: Any) -> Iterator[BrowserContext]:
    """A window without what others stored; Playwright waits 30 s in its own."""
    with browser.new_context(**context) as window:
        window.set_default_timeout(HANG_MS)
        yield window


@contextmanager
def opened(browser: Browser, file: Path, **context: Any) -> Iterator[Page]:
    """Open a file as a page; assert at the end that it logged and loaded nothing."""
    with (
        new_window(browser, reduced_motion="reduce", **context) as window,
        opened_in(window.new_page(), file) as page,
    ):
        yield page


@contextmanager
def opened_in(tab: Page, file: Path) -> Iterator[Page]:
    """As `opened`, in a tab that had other pages: a new one is a new process.

    The page is loaded afresh, without what an earlier one stored.
    """
    messages: list[str] = []
    requests: list[str] = []
    listeners: dict[Any, Any] = {
        "console": lambda message: messages.append(message.text),
        "pageerror": lambda error: messages.append(str(error)),
        "dialog": lambda dialog: messages.append(f"dialog: {dialog.message}"),
        "request": lambda request: requests.append(request.url),
    }
    for event, listener in listeners.items():
        tab.on(event, listener)
    tab.goto(file.as_uri())
    yield tab
    tab.evaluate("0")  # what the page said before is heard before
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    assert messages == []
    assert set(requests) == {file.as_uri()}
