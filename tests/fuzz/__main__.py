"""Coverage-guided fuzzing: `python -m tests.fuzz TARGET [libFuzzer's options]`.

    python -m tests.fuzz                             list the targets
    python -m tests.fuzz manifest                    run until there is a crash
    python -m tests.fuzz manifest -max_total_time=60
    python -m tests.fuzz all -max_total_time=60      each target for a minute

The crashing input is in a file `crash-...`; make it a seed of its target or a test.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

# Seconds per input, memory in MiB and bytes; exceeding the first two is a crash.
LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-max_len=65536")


def main(arguments: list[str]) -> int:
    """Fuzz a target; the exit code is that of libFuzzer."""
    import atheris  # noqa: PLC0415  (an extra of its own)

    with atheris.instrument_imports(include=["auditor", "yaml", "tomllib"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415
    if not arguments or arguments[0] not in {*TARGETS, "all"}:
        print("\n".join(TARGETS))  # noqa: T201
        return 2 if arguments else 0
    name, *options = arguments
    if name == "all":
        for each in TARGETS:
            print(f"== {each}", flush=True)  # noqa: T201
            done = subprocess.run(
                [sys.executable, "-m", "tests.fuzz", each, *options], check=False
            )
            if done.returncode:
                return done.returncode
        return 0
    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as folder:
        for number, seed in enumerate(target.seeds):
            Path(folder, f"seed-{number}").write_bytes(seed)
        atheris.Setup([sys.argv[0], *LIMITS, *options, folder], target.run)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
