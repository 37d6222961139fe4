"""The table `[nightly]`: what it means, and a sentence for each mistake in it."""

from __future__ import annotations

from typing import Any

import pytest

from auditor.config import (
    FailOn,
    KeepRules,
    NightlySettings,
    NotifyOn,
    NotifySettings,
    resolve_settings,
)
from auditor.errors import ConfigError


def _read(table: Any) -> NightlySettings | None:
    return resolve_settings(
        file={"nightly": table},
        file_name="/etc/auditor/nightly.toml",
        environment={"HOME": "/home/audit"},
        flags={},
        read_file=lambda _: "",
    ).nightly


def test_a_folder_is_enough() -> None:
    assert _read({"folder": "state"}) == NightlySettings(folder="/etc/auditor/state")


def test_every_key_has_its_value_and_paths_are_relative_to_the_file() -> None:
    settings = _read(
        {
            "folder": "~/nights",
            "policy": "policy.toml",
            "fail_on": "warning",
            "keep": {"daily": 3, "yearly": 1},
            "notify": {"urls_file": "urls", "on": "always"},
            "run_after": ["ticket", "--open"],
            "ping_url": "https://ping.example.com/key",
            "push_url": "http://push.example.com:9091",
            "page": False,
        }
    )
    assert settings == NightlySettings(
        folder="/home/audit/nights",
        policy="/etc/auditor/policy.toml",
        fail_on=FailOn.WARNING,
        # A rule that is not given keeps nothing.
        keep=KeepRules(daily=3, weekly=0, monthly=0, yearly=1),
        notify=NotifySettings(urls_file="/etc/auditor/urls", on=NotifyOn.ALWAYS),
        run_after=("ticket", "--open"),
        ping_url="https://ping.example.com/key",
        push_url="http://push.example.com:9091",
        page=False,
    )


@pytest.mark.parametrize(
    ("table", "mistake"),
    [
        ("state", "nightly: must be a section: [nightly]"),
        ({}, "nightly: needs folder, where the nights are kept"),
        ({"folder": 7}, "nightly.folder: must be a path"),
        (
            {"folder": "x", "polcy": "y"},
            "nightly.polcy: unknown key; did you mean policy?",
        ),
        (
            {"folder": "x", "metrics": "auditor.prom"},
            "nightly.metrics: only valid at the top, before every section",
        ),
        (
            {"folder": "x", "fail_on": "info"},
            "nightly.fail_on: must be error, warning or never",
        ),
        (
            {"folder": "x", "keep": 30},
            "nightly.keep: must be a table: { last = ..., daily = ... }",
        ),
        (
            {"folder": "x", "keep": {"dayly": 30}},
            "nightly.keep.dayly: unknown key; did you mean daily?",
        ),
        ({"folder": "x", "keep": {"daily": 0}}, "nightly.keep: would keep no night"),
        (
            {"folder": "x", "notify": {"on": "change"}},
            "nightly.notify: needs urls_env or urls_file, with the URLs",
        ),
        (
            {"folder": "x", "notify": {"urls_env": "https://hooks.example.com/secret"}},
            "nightly.notify.urls_env: must be the name of an environment variable",
        ),
        (
            {"folder": "x", "ping_url": "ping.example.com"},
            "nightly.ping_url: must be an http or https URL without user and fragment",
        ),
        (
            {"folder": "x", "run_after": "ticket --open"},
            "nightly.run_after: must be a list; each item must be a text without"
            " control characters",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(table: Any, mistake: str) -> None:
    with pytest.raises(ConfigError) as raised:
        _read(table)
    assert f"/etc/auditor/nightly.toml: {mistake}" in raised.value.mistakes
