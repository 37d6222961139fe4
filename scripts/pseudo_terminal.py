"""Runs a command on a terminal of its own, for the pictures and pages of the docs."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROWS = 50


def run_in_terminal(
    command: str,
    *,
    folder: str | Path,
    columns: int,
    path: str | Path,
    environment: Mapping[str, str],
) -> str:
    """What the command prints, with its colours, on a terminal of `columns`.

    `path` is a folder with the program. Nothing of the environment is inherited.
    """
    master, slave = pty.openpty()
    process = subprocess.Popen(
        shlex.split(command),
        cwd=folder,
        env={
            "PATH": f"{path}:{os.defpath}",
            "HOME": str(folder),
            "TERM": "xterm-256color",
            "COLUMNS": str(columns),
            "LINES": str(ROWS),
            **environment,
        },
        executable=str(Path(path) / shlex.split(command)[0]),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    printed = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        printed += piece
    os.close(master)
    process.wait()
    return printed.decode().replace("\r\n", "\n")
