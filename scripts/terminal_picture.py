"""Writes docs/terminal.svg, the picture of the README: a real run, in a real terminal.

    python -m scripts.terminal_picture       # make picture

It serves the demo's registry, runs the commands in a pseudo-terminal, and renders what
they print with rich. Dates and digests are those of the demo, so that the picture
changes only if the output does.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from scripts.pseudo_terminal import run_in_terminal

TARGET = Path(__file__).parent.parent / "docs" / "terminal.svg"
COLUMNS = 100
PORT = 5050
HOST = f"127.0.0.1:{PORT}"
POLICY = '[rules.production]\nrequired_platforms = ["linux/amd64", "linux/arm64"]\n'
CONFIG = f"""\
[registry."{HOST}"]
username = "admin"
password_env = "DEMO_PASSWORD"
"""
COMMANDS = (
    f"auditor audit '{HOST}/team/*:*'",
    f"auditor audit -q '{HOST}/team/*:*' -o report.jsonl",
    "auditor check report.jsonl --policy policy.toml",
)


def run(command: str, folder: str) -> str:
    """What the command prints on a terminal of `COLUMNS` columns."""
    environment = {
        "AUDITOR_CONFIG": "registry.toml",
        "AUDITOR_PROGRESS": "never",
        "DEMO_PASSWORD": "demo",
    }
    return run_in_terminal(
        command,
        folder=folder,
        columns=COLUMNS,
        path=Path(sys.executable).parent,
        environment=environment if command.startswith("auditor audit") else {},
    )


def main() -> None:
    """Run the commands and write the picture."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "policy.toml").write_text(POLICY, encoding="utf-8")
        Path(folder, "registry.toml").write_text(CONFIG, encoding="utf-8")
        program = Path(sys.executable).parent / "auditor"
        with subprocess.Popen(
            [str(program), "demo", "--serve", "--port", str(PORT)],
            stdout=subprocess.PIPE,
        ) as server:
            assert server.stdout is not None
            server.stdout.readline()  # it serves
            try:
                for command in COMMANDS:
                    console.print(Text(f"$ {command}", style="bold"))
                    text = run(command, folder).rstrip()
                    if text:
                        console.print(Text.from_ansi(text))
                        console.print()
            finally:
                server.kill()
    svg = console.export_svg(title="auditor", theme=MONOKAI, unique_id="terminal")
    # The picture loads no font: it uses one of the system.
    svg = re.sub(r"@font-face \{.*?\}\n?", "", svg, flags=re.DOTALL)
    svg = svg.replace(
        "Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace"
    )
    TARGET.write_text(
        re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE).rstrip() + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
