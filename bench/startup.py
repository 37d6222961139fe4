"""The time of `auditor --version`, compared with an empty Python program.

python -m bench.startup
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 21
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "auditor --version": ["-m", "auditor", "--version"],
    "auditor --help": ["-m", "auditor", "--help"],
}


def _seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Time the commands in turn, so that a slow machine affects all of them."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, arguments in COMMANDS.items():
            taken[name].append(_seconds(arguments))
    print(f"median of {RUNS} runs, taken in turn, Python {sys.version.split()[0]}")
    for name, seconds in taken.items():
        print(f"{name:20} {1000 * statistics.median(seconds):6.0f} ms")


if __name__ == "__main__":
    main()
