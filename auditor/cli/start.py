"""Where the program begins: signals are heeded before anything that takes time."""

from __future__ import annotations

from auditor.cli import early_signals


def main() -> None:
    """Run the command line and exit with its code."""
    early_signals.heed()
    from auditor.cli.main import main as command_line

    command_line()
