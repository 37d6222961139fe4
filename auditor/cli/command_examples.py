"""Examples of every command: for its help, its manual page and the reference.

Each is a command line and what it does. A test checks that every line is valid.
"""

from __future__ import annotations

_HOST = "registry.example.com"

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        (
            f"auditor audit '{_HOST}/team/app:1.*'",
            "Show the images of a repository.",
        ),
        (f"auditor doctor {_HOST}", "Find out why a registry cannot be audited."),
        ("auditor demo", "Try everything on this machine, without a registry."),
    ),
    "audit": (
        (
            f"auditor audit '{_HOST}/team/app:1.*'",
            "Show the images whose tags match.",
        ),
        (
            f"auditor audit '{_HOST}/*:*' -o report.jsonl",
            "Audit everything in a registry; continue with --resume.",
        ),
        (
            "kubectl get pods -A -o json | auditor audit -f - -o cluster.jsonl",
            "Audit the images that a cluster runs.",
        ),
        (
            "auditor audit -c audit.toml --latest 3 --since 30d",
            "Audit the three newest versions of each repository in the configuration.",
        ),
    ),
    "nightly": (
        ("auditor nightly -c nightly.toml", "Run the night that the file describes."),
    ),
    "nightly status": (
        ("auditor nightly -c nightly.toml status", "Show the last nights."),
    ),
    "nightly prune": (
        (
            "auditor nightly -c nightly.toml prune --dry-run",
            "Show which nights would be removed.",
        ),
    ),
    "nightly install": (
        (
            "auditor nightly -c nightly.toml install systemd",
            "Print the unit files that run it every night.",
        ),
    ),
    "ls": (
        (f"auditor ls {_HOST}", "List the repositories of a registry."),
        (f"auditor ls {_HOST}/team/app", "List the tags of a repository."),
        (
            f"auditor ls '{_HOST}/team/**:v1.*' --full-ref",
            "List matching tags of several repositories as full references.",
        ),
    ),
    "merge": (
        (
            "auditor merge shard-*.jsonl -o report.jsonl",
            "Merge the reports of audit --shard 1/8 to 8/8.",
        ),
    ),
    "doctor": (
        (f"auditor doctor {_HOST}", "Check the connection, TLS and the login."),
        (f"auditor doctor {_HOST}/team/app:1.0", "Also check that it can be pulled."),
    ),
    "token": (
        (f"auditor token {_HOST}/team/app", "Show what the token grants."),
        (
            f"auditor token {_HOST}/team/app {_HOST}/team/web",
            "Check several repositories, in a line each.",
        ),
    ),
    "inspect": (
        (f"auditor inspect {_HOST}/team/app:1.0", "Show an image as a tree."),
        (
            f"auditor inspect {_HOST}/team/app:1.0 --format json",
            "Print it as in a report.",
        ),
        (
            f"auditor inspect {_HOST}/team/app:1.0 -f cluster.json",
            "Show which workloads of a list use it, too.",
        ),
    ),
    "demo": (
        ("auditor demo", "Audit a local registry for two nights."),
        ("auditor demo --serve", "Keep the registry running for experiments."),
    ),
    "diff": (
        ("auditor diff monday.jsonl tuesday.jsonl", "Show what changed."),
        (
            "auditor diff origin.jsonl mirror.jsonl --ignore-registry --exit-code",
            "Compare a mirror with its origin; exit 1 if they differ.",
        ),
    ),
    "layers": (
        ("auditor layers report.jsonl", "Show which repositories share layers."),
        (
            "auditor layers report.jsonl --digest sha256:0123456789abcdef",
            "Find the images that contain a layer.",
        ),
    ),
    "bases": (
        ("auditor bases report.jsonl", "Show bases that have moved."),
        (
            "auditor bases report.jsonl --format csv",
            "List the images to rebuild for a spreadsheet.",
        ),
    ),
    "unused": (
        (
            "auditor unused --registry registry.jsonl --running cluster.jsonl",
            "Show what is in the registry and does not run.",
        ),
        (
            "auditor unused --registry r.jsonl --running 'nights/*' --format list",
            "List what ran in none of these nights.",
        ),
    ),
    "cleanup plan": (
        (
            f"auditor cleanup plan report.jsonl --delete '{_HOST}/team/**:pr-*'",
            "Show what deleting these tags would free and break.",
        ),
        (
            "auditor cleanup plan report.jsonl --keep-rules k.toml --running c.jsonl",
            "Show what rules would delete, and whether any of it runs.",
        ),
        (
            "auditor cleanup plan report.jsonl --delete @old.txt --format jsonl",
            "Plan the deletion of a list, for a program.",
        ),
    ),
    "cleanup protect": (
        (
            "auditor cleanup protect report.jsonl --format digests -o keep.txt",
            "List the digests that a prune tool must not delete.",
        ),
    ),
    "packages": (
        (
            "auditor packages report.jsonl openssl --version '<3.0.8' --sbom s.jsonl",
            "Show the images with an old openssl; audit with --sbom before.",
        ),
        (
            "auditor packages report.jsonl 'log4j*' --sbom s.jsonl --format jsonl",
            "Print packages whose names match, for a program.",
        ),
    ),
    "check": (
        ("auditor check report.jsonl --policy policy.toml", "Check a policy."),
        (
            "auditor check report.jsonl --policy policy.toml --format sarif -o x.sarif",
            "Write the violations for a code scanning service.",
        ),
        (
            "auditor check report.jsonl --policy policy.toml --sbom sboms.jsonl",
            "Check a policy with forbidden_packages.",
        ),
    ),
    "query": (
        ("auditor query report.jsonl", "Show the tables and their columns."),
        (
            'auditor query report.jsonl "SELECT * FROM images ORDER BY size DESC"',
            "Show the images, the largest first.",
        ),
        (
            'auditor query report.jsonl "SELECT * FROM failures" --format csv',
            "Print all failures for a spreadsheet.",
        ),
    ),
    "export": (
        (
            "auditor export report.jsonl --to parquet -o tables",
            "Write a Parquet file for each table.",
        ),
    ),
    "history add": (
        ("auditor history add nights report.jsonl", "Add a night to the history."),
    ),
    "history show": (
        (
            f"auditor history show nights {_HOST}/team/app:1.0",
            "Show when a tag moved.",
        ),
    ),
    "history prune": (
        (
            "auditor history prune nights --keep daily=30,monthly=12 --dry-run",
            "Show which runs would be removed.",
        ),
    ),
    "html": (
        ("auditor html report.jsonl -o report.html", "Make a page."),
        (
            "auditor html new.jsonl -o new.html --previous old.jsonl --policy p.toml",
            "Make a page with what changed and what violates a policy.",
        ),
    ),
    "cache info": (("auditor cache info", "Show the size of the digest cache."),),
    "cache prune": (
        (
            "auditor cache prune --cache-max-size 1G --unused 30d",
            "Remove what was not used for 30 days, and more if it is above 1 GiB.",
        ),
    ),
    "cache verify": (("auditor cache verify", "Check every entry."),),
    "config example": (
        ("auditor config example", "List the examples."),
        (
            "auditor config example nightly > nightly.toml",
            "Start the configuration of `auditor nightly`.",
        ),
    ),
    "schema": (("auditor schema", "Print the schema of report lines."),),
    "explain": (
        ("auditor explain not_found", "Say what a failure means and what to do."),
        ("auditor explain", "List the codes."),
    ),
    "completion": (
        (
            "auditor completion bash >"
            " ~/.local/share/bash-completion/completions/auditor",
            "Install it for bash.",
        ),
        (
            "auditor completion zsh > ~/.zfunc/_auditor",
            "Install it for zsh, with fpath+=~/.zfunc before compinit.",
        ),
        (
            "auditor completion fish > ~/.config/fish/completions/auditor.fish",
            "Install it for fish.",
        ),
    ),
    "man": (
        ("auditor man audit", "Show the manual page of auditor audit."),
        (
            "auditor man --folder ~/.local/share/man/man1",
            "Write the pages of all commands, for man auditor-audit.",
        ),
    ),
    "help": (("auditor help nightly status", "The same as --help."),),
}
