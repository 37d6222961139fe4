"""Writes docs/first-five-minutes.md: what a new user types, and what is printed.

    python -m scripts.first_five_minutes

tests/flow/test_first_five_minutes.py does the same with the wheel, and compares.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts.pseudo_terminal import run_in_terminal

TARGET = Path(__file__).parent.parent / "docs" / "first-five-minutes.md"
COLUMNS = 80
HOST = "127.0.0.1:5050"

_HEAD = f"""\
# The first five minutes

What a new user types and sees, on a terminal of {COLUMNS} columns: copied from a run of
the installed package, and held equal by a test. Only the times differ on your machine.
[The tutorial](tutorial.md) says more about each step.

In another terminal, `auditor demo --serve` runs a registry on this machine, at
{HOST}. Use your own in its place.
"""

# Each step: what it is for, and the command.
STEPS = (
    (
        "## What is there?\n\nThe tags of a repository. Standard error says whether"
        " the listing is complete.",
        f"auditor ls {HOST}/library/alpine",
    ),
    (
        "## What is in it?\n\nAn audit looks at every image of the pattern. Patterns"
        " are in quotes, because of the shell.",
        f"auditor audit '{HOST}/library/alpine:3*'",
    ),
    (
        "A report keeps all that was found: a line of JSON for each reference.",
        f"auditor audit '{HOST}/library/alpine:*' -o report.jsonl",
    ),
    (
        "## What does the report answer?\n\nAnything that SQL can ask, without another"
        " request. `auditor query report.jsonl` lists the tables and columns.",
        "auditor query report.jsonl"
        " 'select tag, size from images order by size desc, tag limit 3'",
    ),
    (
        "Which layers do the images share?",
        "auditor layers report.jsonl --limit 3",
    ),
    ("The page for everyone else:", "auditor html report.jsonl -o page.html"),
    (
        "## And when something fails?\n\nThe answer names what happened, where, and"
        " what to do next. This repository needs a login:",
        f"auditor audit {HOST}/team/web:2.1",
    ),
    ("Every code leads to an explanation:", "auditor explain no_pull_grant"),
)
_TAIL = """\
## Next

- [Your own registry in ten minutes](tutorial.md): with a login and a policy.
- [How-to guides](how-to/index.md), by task.
"""


def page(programs: Path) -> str:
    """The page, from a run of the `auditor` in this folder."""
    parts = [_HEAD]
    with (
        tempfile.TemporaryDirectory() as folder,
        _short_port() as port,
        subprocess.Popen(
            [str(programs / "auditor"), "demo", "--serve", "--port", str(port)],
            stdout=subprocess.PIPE,
            cwd=folder,
        ) as server,
    ):
        assert server.stdout is not None
        server.stdout.readline()  # it serves
        try:
            host = HOST.replace("5050", str(port))
            for text, command in STEPS:
                printed = run_in_terminal(
                    command.replace(HOST, host),
                    folder=folder,
                    columns=COLUMNS,
                    path=programs,
                    environment={"AUDITOR_PROGRESS": "never", "NO_COLOR": "1"},
                ).replace(host, HOST)
                shown = [f"$ {command}", *_without_times(printed).splitlines()]
                parts.append("\n".join([text, "", "```text", *shown, "```", ""]))
        finally:
            server.kill()
    return "\n".join([*parts, _TAIL])


@contextmanager
def _short_port() -> Iterator[int]:
    """A port as long as that of the page: tables are as wide as their longest cell.

    It is held until the end of the block, but the demo can listen there (socket(7)).
    """
    for port in range(5050, 10_000):
        with socket.socket() as holder:
            try:
                holder.bind(("127.0.0.1", port))
            except OSError:
                continue
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            yield port
            return
    raise RuntimeError("no free port of four digits")


def _without_times(text: str) -> str:
    """The text of a run that took 0.1 seconds."""
    return re.sub(r" in [0-9.]+ s( \([0-9.]+/s\))?", " in 0.1 s", text)


def main(arguments: Sequence[str] = ()) -> None:
    """Write the page; the argument is the folder of the program."""
    programs = Path(arguments[0]) if arguments else Path(sys.executable).parent
    TARGET.write_text(page(programs), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
