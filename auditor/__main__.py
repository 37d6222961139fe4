"""The `auditor` script, and `python -m auditor`.

Signal handlers are installed before anything that takes time is imported.
"""

from __future__ import annotations

from auditor.cli import early_signals


def main() -> None:
    """Run the command line and exit with its code."""
    early_signals.install()
    from auditor.cli.main import main as command_line

    command_line()


if __name__ == "__main__":
    main()
