"""Invalid input: one clear message each, and the right exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flow.commands import Finished, auditor
from tests.flow.harness import lab, simple

pytestmark = pytest.mark.anyio

NAMES = ["team/app:1", "team/app:2"]


# -- errors before the first request: exit code 2 -----------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["audit"],
            "nothing to audit: give references, or a list of them with -f",
        ),
        (
            ["audit", "-f", "gone.txt"],
            "gone.txt: the list cannot be read: No such file or directory",
        ),
        (
            ["audit", "-f", "{place}"],
            "{place}: the list cannot be read: Is a directory",
        ),
        (
            ["audit", "-c", "gone.toml", "alpine"],
            "gone.toml: cannot be read: No such file or directory",
        ),
        (
            ["audit", "--workers", "0", "alpine"],
            "--workers: must be a whole number from 1 to 1024",
        ),
        (
            ["audit", "--order", "random", "alpine"],
            "--order: must be input or completion",
        ),
        (["token"], "give either a REFERENCE or --decode TOKEN"),
        (["token", "alpine", "--decode", "x"], "give either a REFERENCE or --decode"),
        (
            ["token", "--format", "json", "--raw", "alpine"],
            "--format json and --raw exclude each other",
        ),
        (["inspect", "--format", "json", "--raw", "alpine"], "json and --raw exclude"),
        (["inspect", "team/App"], "repository names are lower case"),
        (["inspect", "team/app:1.*"], "a tag pattern selects many images"),
        (["token", "--token-keys", "gone.pem", "--decode", "x"], "gone.pem"),
        (["audit", "--ca-file", "gone.pem", "127.0.0.1:1/a"], "gone.pem"),
        (["audit", "--authfile", "gone.json", "127.0.0.1:1/a"], "gone.json"),
    ],
)
async def test_a_usage_error_is_one_message_and_exit_code_2(
    arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    place = str(tmp_path)
    done = await auditor(
        *(argument.format(place=place) for argument in arguments), place=tmp_path
    )
    assert (done.code, done.out) == (2, b"")
    (message,) = done.messages
    assert sentence.format(place=place) in message


@pytest.mark.parametrize(
    "arguments",
    [
        ["audit", "--nonsense"],
        ["audti"],
        ["inspect"],
        ["demo", "--port", "x"],
        ["demo", "--port", "70000"],
    ],
)
async def test_an_unknown_option_prints_the_usage_and_exit_code_2(
    arguments: list[str],
) -> None:
    done = await auditor(*arguments)
    assert (done.code, done.out) == (2, b"")
    assert done.stderr[0].startswith("Usage: auditor")
    assert done.stderr[-1].startswith("Error: ")


async def test_all_errors_of_a_configuration_are_reported_at_once(
    tmp_path: Path,
) -> None:
    (tmp_path / "night.toml").write_text(
        'wrokers = 4\nshape = "round"\n'
        '[registry."r.example.com"]\nusername = "robot"\npassword_env = "GONE"\n'
    )
    done = await auditor(
        *("audit", "-c", "night.toml", "--tries", "0", "r.example.com/a"),
        environment={"AUDITOR_WINDOW": "wide", "AUDITOR_WINDWO": "1"},
        place=tmp_path,
    )
    assert (done.code, done.out) == (2, b"")
    message = "\n".join(done.messages)
    assert len(done.messages) == 6, message
    for part in (
        "night.toml:1: wrokers: unknown key; did you mean workers?",
        "night.toml:2: shape: ",
        'night.toml:5: registry."r.example.com".password_env: ',
        "GONE",
        "--tries: ",
        "AUDITOR_WINDOW=wide: ",
        "AUDITOR_WINDWO: ",
    ):
        assert part in message


async def test_a_syntax_error_in_toml_has_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "night.toml").write_text("workers = 4\nwindow = = 5\n")
    done = await auditor("audit", "-c", "night.toml", "alpine", place=tmp_path)
    assert (done.code, done.out) == (2, b"")
    (message,) = done.messages
    assert message.startswith("night.toml:2:10: ")


async def test_a_missing_password_variable_is_named(tmp_path: Path) -> None:
    (tmp_path / "night.toml").write_text(
        '[registry."r.example.com"]\nusername = "robot"\npassword_env = "GONE"\n'
    )
    done = await auditor("audit", "-c", "night.toml", "r.example.com/a", place=tmp_path)
    assert (done.code, done.out) == (2, b"")
    (message,) = done.messages
    assert message.startswith('night.toml:3: registry."r.example.com".password_env: ')
    assert "GONE" in message


async def test_a_password_in_the_file_is_refused_and_not_repeated(
    tmp_path: Path,
) -> None:
    (tmp_path / "night.toml").write_text(
        '[registry."r.example.com"]\nusername = "robot"\npassword = "hunter2"\n'
    )
    done = await auditor("audit", "-c", "night.toml", "r.example.com/a", place=tmp_path)
    assert (done.code, done.out) == (2, b"")
    (message,) = done.messages
    assert "name its source: password_env" in message
    assert "hunter2" not in message


async def test_a_damaged_docker_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"auths": {"r.example.com": ')
    done = await auditor(
        *("audit", "r.example.com/a"), environment={"DOCKER_CONFIG": str(tmp_path)}
    )
    assert (done.code, done.out) == (2, b"")
    (message,) = done.messages
    assert message.startswith(f"{tmp_path}/config.json")


# -- lists --------------------------------------------------------------------------


async def test_a_malformed_line_is_a_failure_and_the_others_are_audited(
    tmp_path: Path,
) -> None:
    async with lab(simple(NAMES)) as here:
        (tmp_path / "list.txt").write_text(
            f"{here.ref(NAMES[0])}\nTeam/App:latest\n{here.ref(NAMES[1])}\n"
        )
        done = await auditor("audit", "-f", "list.txt", place=tmp_path)
    assert done.code == 1
    assert [line["kind"] for line in done.lines] == ["image", "failure", "image"]
    failure = done.lines[1]
    assert failure["failure"] == "invalid_reference"
    assert failure["reference"] == "Team/App:latest"
    assert failure["detail"].startswith("list.txt:2: ")
    _is_printed(done, failure["detail"])


def _is_printed(done: Finished, detail: str) -> None:
    """The summary on standard error repeats a failure's sentence on a line."""
    assert f"auditor:       {detail}" in done.stderr
