"""The memory of an audit, by its number of references.

`python -m bench.memory 100000 1000000` audits that many tags of a registry that fills
in a template (in another process) and prints the peak resident set of the audit. Each
tag has its own manifest, or an index of `--children`. `--all-options` also looks for
attachments, bases, signatures, SBOMs, manifests without a tag, and records sources; the
registry has none of them.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# As the repositories of a large registry: some with many tags, listed page by page.
TAGS_PER_REPOSITORY = 10_000


def measured(port: int, references: int, *options: str) -> tuple[float, float, float]:
    """Peak resident MB, seconds, and CPU seconds of one audit."""
    patterns = [
        f"127.0.0.1:{port}/bench/app{number}:*"
        for number in range(-(-references // TAGS_PER_REPOSITORY))
    ]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "auditor", "audit", "-f", "-",
         "--image-config", "never", "--progress", "never", *options],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write("\n".join(patterns))
    process.stdin.close()
    messages = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(messages)
    wall = time.perf_counter() - began
    return usage.ru_maxrss * 1024 / 1e6, wall, usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("references", type=int, nargs="+")
    parser.add_argument("--warm", action="store_true", help="a second audit, with HEAD")
    parser.add_argument(
        "--children", type=int, default=0, help="number of children of each tag's index"
    )
    parser.add_argument("--all-options", action="store_true")
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores")
    print("references  night  resident    wall  CPU per reference")
    for references in arguments.references:
        tags = min(references, TAGS_PER_REPOSITORY)
        with (
            tempfile.TemporaryDirectory() as folder,
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "bench.template_registry",
                    str(tags),
                    str(arguments.children),
                ],
                stdout=subprocess.PIPE,
                text=True,
            ) as registry,
        ):
            assert registry.stdout is not None
            port = int(registry.stdout.readline())
            store = ["--cache", str(Path(folder, "store"))]
            if arguments.all_options:
                store += _all_options(Path(folder))
            else:
                store += ["--output", os.devnull]
            for night in ("cold", "warm") if arguments.warm else ("cold",):
                resident, wall, cpu = measured(port, references, *store)
                print(
                    f"{references:>10}  {night:>5}  {resident:>5.0f} MB  {wall:>5.0f} s"
                    f"  {cpu / references * 1e6:>14.0f} us",
                    flush=True,
                )
            registry.terminate()


def _all_options(folder: Path) -> list[str]:
    """Options for everything that an audit can record, and the files that they name."""
    policy = folder / "signatures.toml"
    policy.write_text('[keys.release]\ncosign = "release.pub"\n')
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    (folder / "release.pub").write_bytes(
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return [
        "--untagged",
        *("--sources", "always"),
        *("--attachments", "all"),
        "--check-bases",
        *("--verify-signatures", str(policy)),
        *("--sbom", str(folder / "sboms.jsonl")),
        *("--output", str(folder / "report.jsonl")),
    ]


if __name__ == "__main__":
    main()
