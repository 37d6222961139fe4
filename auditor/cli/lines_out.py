"""Lines on standard output as they come, for people and for pipes."""

from __future__ import annotations

import sys

from auditor.cli.standard_streams import forget_output, output_is_told


def print_line(line: str) -> bool:
    """Print a line at once; false if nobody reads any more."""
    with output_is_told():
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            forget_output()
            return False
    return True
