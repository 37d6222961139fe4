"""Log lines: text or JSON, UTC, one line each, safe on a terminal."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import anyio
import pytest

from auditor.cli import main
from auditor.cli.logs import start_logging
from auditor.cli.output import plain_message, print_message, set_message_format
from auditor.cli.progress import LOG_INTERVAL_S, log_progress
from auditor.config import LogFormat, LogLevel, Settings
from auditor.report.summary import Tally
from tests.records import failure, image

log = logging.getLogger("auditor.tests")


class Output:
    """What goes to standard error, once `start` was called."""

    def __init__(
        self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
    ) -> None:
        self._patch = patch
        self._capture = capture

    def getvalue(self) -> str:
        return self._capture.readouterr().err

    def start(self, form: LogFormat) -> None:
        # pytest has handlers of its own: the root logger is as it is in the command.
        self._patch.setattr(logging.getLogger(), "handlers", [])
        start_logging(Settings(log_format=form, log_level=LogLevel.INFO))


@pytest.fixture
def output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Output]:
    ours = logging.getLogger("auditor")
    root, level = logging.getLogger().level, ours.level
    yield Output(monkeypatch, capsys)
    set_message_format(plain_message)
    ours.setLevel(level)
    logging.getLogger().setLevel(root)


def _at(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    assert text.endswith("Z")
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    return at


def test_a_text_line_has_time_level_logger_and_message(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")  # UTC+14
    output.start(LogFormat.TEXT)
    log.info("asked %s", "r.example.com")
    log.debug("not shown")
    at, rest = output.getvalue().split(" ", 1)
    _at(at)
    assert rest == "INFO auditor.tests: asked r.example.com\n"


def test_a_json_line_has_the_same_fields(output: Output) -> None:
    output.start(LogFormat.JSON)
    log.warning("asked %s", "r.example.com/\u00e4")
    (line,) = output.getvalue().splitlines()
    found = json.loads(line)
    _at(found.pop("at"))
    assert found == {
        "level": "warning",
        "logger": "auditor.tests",
        "message": "asked r.example.com/\u00e4",
    }
    assert line.isascii()  # also in the C locale


def test_messages_are_json_lines_too(output: Output) -> None:
    output.start(LogFormat.JSON)
    print_message("6 of 6 references audited")
    main.run(["audit"])  # text is the format until the settings are read
    first, *usage = output.getvalue().splitlines()
    assert json.loads(first)["message"] == "6 of 6 references audited"
    assert json.loads(first)["level"] == "info"
    assert usage[-1].startswith("auditor: nothing to audit")


@pytest.mark.parametrize("form", LogFormat)
def test_a_message_is_one_line_without_control_characters(
    form: LogFormat, output: Output
) -> None:
    output.start(form)
    log.info("evil\n2026-11-25 ERROR forged\x1b[2J")
    (line,) = output.getvalue().splitlines()
    assert "\x1b" not in line


def test_an_exception_is_part_of_the_json_line(output: Output) -> None:
    output.start(LogFormat.JSON)
    try:
        int("oh")
    except ValueError:
        log.exception("a bug")
    (line,) = output.getvalue().splitlines()
    assert "ValueError: invalid literal" in json.loads(line)["exception"]


def test_progress_is_logged_every_minute(output: Output) -> None:
    output.start(LogFormat.TEXT)
    tally = Tally()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            tally.add(image())
            tally.add(failure())
        if len(slept) == 3:
            raise TimeoutError

    def known() -> tuple[int, bool]:
        return 7, len(slept) > 1

    with pytest.raises(TimeoutError):
        # One record waits for its turn.
        anyio.run(
            lambda: log_progress(tally, lambda: 1 + tally.count, known, sleep=sleep)
        )
    assert slept == [LOG_INTERVAL_S] * 3
    assert [line.split(": ", 1)[1] for line in output.getvalue().splitlines()] == [
        "1 of 7 references done, 0 failed; still reading the input",
        "3 of 7 references done, 1 failed",
    ]
