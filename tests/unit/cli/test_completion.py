"""Completion in real shells: commands, options, values, references."""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import pytest

from auditor.cache.database import TABLES
from auditor.cli.completion import SHELLS, references, script
from auditor.cli.main import cli, run
from tests.real.programs import required

HOST = "registry.example.com:5000"


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a cache, a configuration and a list."""
    with sqlite3.connect(tmp_path / "cache.db") as connection:
        for table in TABLES:
            connection.execute(table)
        connection.executemany(
            "INSERT INTO repositories VALUES (?, ?, ?)",
            [
                (1, HOST, ""),
                (2, HOST, "team/app"),
                (3, HOST, "team/web"),
                (4, "ghcr.example.com", "a/b"),
            ],
        )
        connection.executemany(
            "INSERT INTO tags VALUES (2, ?, x'', NULL, NULL, 0, 0)",
            [("1.0",), ("1.1",), ("2.0",)],
        )
    connection.close()
    (tmp_path / "audit.toml").write_text(
        'references = ["configured.example.com/x/y:1"]\nlists = ["list.txt"]\n'
        '[registry."section.example.com"]\nplain_http = true\n'
    )
    (tmp_path / "list.txt").write_text("# images\nlisted.example.com/a/b:3  note\n\n")
    monkeypatch.setenv("AUDITOR_CACHE", str(tmp_path / "cache.db"))
    monkeypatch.setenv("AUDITOR_CONFIG", str(tmp_path / "audit.toml"))
    return tmp_path


def _references(incomplete: str) -> list[str]:
    return [item.value for item in references(click.Context(cli), incomplete)]


@pytest.mark.parametrize(
    ("incomplete", "values"),
    [
        ("reg", [f"{HOST}/"]),
        (
            "",
            [
                "configured.example.com/",
                "ghcr.example.com/",
                "listed.example.com/",
                f"{HOST}/",
                "section.example.com/",
            ],
        ),
        (f"{HOST}/", [f"{HOST}/team/app", f"{HOST}/team/web"]),
        (f"{HOST}/team/a", [f"{HOST}/team/app"]),
        (f"{HOST}/team/app:", [f"{HOST}/team/app:{n}" for n in ("1.0", "1.1", "2.0")]),
        (f"{HOST}/team/app:1", [f"{HOST}/team/app:1.0", f"{HOST}/team/app:1.1"]),
        ("listed.example.com/", ["listed.example.com/a/b"]),
        ("configured.example.com/x/y:", ["configured.example.com/x/y:1"]),
        ("nothing", []),
        ("%_'", []),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("known")
def test_references_are_completed_a_part_at_a_time(
    incomplete: str, values: list[str]
) -> None:
    assert _references(incomplete) == values


@pytest.mark.parametrize("content", [b"", b"not a database", b"\xff" * 9000])
def test_a_damaged_cache_or_configuration_offers_nothing(
    content: bytes, known: Path
) -> None:
    for name in ("cache.db", "audit.toml"):
        (known / name).write_bytes(content)
    assert _references("reg") == []
    (known / "cache.db").unlink()
    assert _references("reg") == []
    assert not (known / "cache.db").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_each_shell_is_printed(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["completion", shell]) == 0
    assert capsys.readouterr().out == script(shell, cli)


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "tcsh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err


# -- real shells --


def _program(folder: Path) -> Path:
    """A folder with a program `auditor` for the shell."""
    program = folder / "bin" / "auditor"
    program.parent.mkdir(exist_ok=True)
    root = Path(__file__).parents[3]
    program.write_text(
        f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(root))}"
        f' exec {shlex.quote(sys.executable)} -m auditor "$@"\n'
    )
    program.chmod(0o755)
    return program.parent


def _in_shell(shell: str, commands: str, folder: Path) -> list[str]:
    path = required(shell)
    (folder / "completion").write_text(script(shell, cli))
    environment = {
        **os.environ,
        "PATH": f"{_program(folder)}:{os.environ['PATH']}",
        "HOME": str(folder),
    }
    options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [path, *options, "-c", commands],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return sorted(done.stdout.split())


def _bash(line: str, folder: Path) -> list[str]:
    """What bash offers for a line, as its completion calls the function."""
    commands = f"""
        compopt() {{ :; }}
        source ./completion
        COMP_LINE={shlex.quote(line)}
        COMP_POINT=${{#COMP_LINE}}
        _auditor_completion auditor
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return _in_shell("bash", commands, folder)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("auditor hist", ["history"]),
        ("auditor nightly st", ["status"]),
        ("auditor audit --verify-b", ["--verify-blobs"]),
        ("auditor audit --format t", ["table"]),
        ("auditor audit --shape=", ["image", "layer", "platform"]),
        ("auditor audit --format table reg", ["registry.example.com:5000/"]),
        # bash has split the word at its colons
        ("auditor ls registry.example.com:5000/team/w", ["5000/team/web"]),
        ("auditor inspect registry.example.com:5000/team/app:1", ["1.0", "1.1"]),
        ("auditor doctor section", ["section.example.com/"]),
    ],
)
def test_bash_completes(line: str, values: list[str], known: Path) -> None:
    assert _bash(line, known) == values


def test_zsh_completes(known: Path) -> None:
    commands = """
        compdef() { :; }
        compadd() { print -l -- ${(P)${@[-1]}} }
        source ./completion
        words=(auditor inspect registry.example.com:5000/team/)
        CURRENT=3
        _auditor_completion
    """
    assert _in_shell("zsh", commands, known) == [
        f"{HOST}/team/app",
        f"{HOST}/team/web",
    ]


def test_fish_completes(known: Path) -> None:
    commands = f"""
        source ./completion
        complete -C 'auditor inspect {HOST}/team/'
    """
    assert _in_shell("fish", commands, known) == [
        f"{HOST}/team/app",
        f"{HOST}/team/web",
    ]
