"""Text files are clean: what formatters of code do not look at."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("auditor", "bench", "deploy", "docs", "scripts", "tests")
SUFFIXES = {".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml"}
# A merge that was not finished: Markdown would show its marks as text.
CONFLICT = ("<" * 7, ">" * 7)


def _files() -> list[Path]:
    below = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    return [
        path
        for path in (*ROOT.glob("*"), *below)
        if path.suffix in SUFFIXES
        and path.is_file()
        and "golden" not in path.parts  # what a command printed
    ]


def test_no_line_ends_with_a_blank_or_is_a_conflict_and_files_end_with_a_line() -> None:
    wrong = []
    for path in _files():
        text = path.read_text(encoding="utf-8")
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            wrong.append(f"{path}: end of file")
        wrong += [
            f"{path}:{number}"
            for number, line in enumerate(text.splitlines(), 1)
            if line != line.rstrip() or line.startswith(CONFLICT)
        ]
    assert wrong == []
