"""The names of the files that a run writes: their placeholders and suffixes.

    report-{date}.jsonl.zst   ->   report-2026-11-30.jsonl.zst

`{date}` and `{time}` are when the run started, UTC, as in all files that auditor
writes; `{host}` is the machine. A brace is written `{{` or `}}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from auditor.util.compressed_file import GZIP, ZSTD
from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_text

# Each placeholder, and the regular expression of its values; a host is the run's own.
_VALUES = {"date": "[0-9]{4}-[0-9]{2}-[0-9]{2}", "time": "[0-9]{6}", "host": None}
_BRACES = LazyPattern(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_SHOWN_CHARS = 60


class FileNameError(ValueError):
    """A name that cannot be used; the text is the sentence for the user."""


def placeholder_values(started_at: str, host: str) -> dict[str, str]:
    """The values of the placeholders, by name, for a run started at this RFC 3339."""
    date, time = started_at.removesuffix("Z").split("T")
    return {"date": date, "time": time.replace(":", ""), "host": host}


def expand(name: str, values: Mapping[str, str]) -> str:
    """The name with the values of its placeholders. Raises `FileNameError`."""
    return "".join(
        part if placeholder is None else values[placeholder]
        for part, placeholder in _parts(name)
    )


def escaped(path: str) -> str:
    """The name that expands to this path."""
    return path.replace("{", "{{").replace("}", "}}")


def has_placeholders(name: str) -> bool:
    """Whether the name changes from run to run."""
    return any(placeholder is not None for _, placeholder in _parts(name))


def glob_of(name: str, values: Mapping[str, str]) -> str:
    """A glob for what the name was in other runs on this host."""
    import glob  # noqa: PLC0415  (rarely used)

    return "".join(
        glob.escape(part)
        if placeholder is None
        else ("*" if _VALUES[placeholder] else glob.escape(values[placeholder]))
        for part, placeholder in _parts(name)
    )


def values_in(path: str, name: str, values: Mapping[str, str]) -> dict[str, str] | None:
    """The values with which the name became this path on this host, or None."""
    expression, seen = "", set[str]()
    for part, placeholder in _parts(name):
        if placeholder is None:
            expression += re.escape(part)
        elif placeholder in seen:
            expression += f"(?P={placeholder})"
        else:
            value = _VALUES[placeholder] or re.escape(values[placeholder])
            expression += f"(?P<{placeholder}>{value})"
            seen.add(placeholder)
    match = re.fullmatch(expression, path, re.DOTALL)
    return None if match is None else match.groupdict()


def check_file_name(name: str) -> str:
    """Return the name, or raise `FileNameError` for a wrong placeholder."""
    for _ in _parts(name):
        pass
    return name


def _parts(name: str) -> Iterator[tuple[str, str | None]]:
    """The texts of a name, without double braces, and its placeholders."""
    end = 0
    for match in _BRACES.finditer(name):
        yield name[end : match.start()], None
        end = match.end()
        if match[0] in {"{{", "}}"}:
            yield match[0][0], None
        elif match[1] in _VALUES:
            yield match[0], match[1]
        else:
            unknown = safe_text(match[0], _SHOWN_CHARS)
            raise FileNameError(
                f"unknown placeholder {unknown}: use {{date}}, {{time}} or {{host}},"
                " and write {{ and }} for braces"
            )
    yield name[end:], None


# -- suffixes --
# What a suffix promises that a report is not, and what makes it from a report.

_TABLES = "auditor export {report} --to csv -o {folder}"
_SQLITE = "auditor export {report} --to sqlite -o {name}"
_PAGE = "auditor html {report} -o {name}"
_COMMANDS = {
    **dict.fromkeys((".csv", ".tsv", ".xlsx", ".xls", ".ods"), _TABLES),
    ".parquet": "auditor export {report} --to parquet -o {folder}",
    ".duckdb": "auditor export {report} --to duckdb -o {name}",
    **dict.fromkeys((".sqlite", ".sqlite3", ".db"), _SQLITE),
    **dict.fromkeys((".html", ".htm"), _PAGE),
    ".md": "auditor layers {report} --format markdown > {name}",
    ".sarif": "auditor check {report} --policy POLICY --format sarif -o {name}",
    ".xml": "auditor check {report} --policy POLICY --format junit -o {name}",
    ".prom": "auditor audit ... -o {report} --metrics {name}",
}
_OTHER_FORMATS = frozenset({".yaml", ".yml", ".toml", ".pdf"})
_OTHER_COMPRESSIONS = frozenset(
    {".bz2", ".xz", ".lz4", ".br", ".zip", ".7z", ".tar", ".tgz", ".zstd", ".gzip"}
)


def check_report_name(name: str) -> str:
    """Return the name of a report, or raise `FileNameError`.

    A name that promises another format, such as `.csv`, is refused: it would hold JSON
    lines. Any other suffix, or none, is a plain report.
    """
    path = PurePath(check_file_name(name))
    compression = path.suffix
    if compression.lower() in {GZIP, ZSTD}:
        if not compression.islower():
            raise FileNameError(
                f"write the suffix in small letters: {compression.lower()}"
            )
        path = path.with_suffix("")
    else:
        compression = ""
    suffix = path.suffix.lower()
    report = f"{path.with_suffix('.jsonl')}{compression}"
    if suffix in _OTHER_COMPRESSIONS:
        raise FileNameError(
            f"a report is compressed with {GZIP} or {ZSTD}, not {suffix}"
        )
    if suffix in _COMMANDS:
        import shlex  # noqa: PLC0415  (for an error only)

        command = _COMMANDS[suffix].format(
            report=shlex.quote(report),
            name=shlex.quote(str(path)),
            folder=shlex.quote(str(path.with_suffix(""))),
        )
        raise FileNameError(
            f"a report is JSON lines, not {suffix}; write {safe_text(report)}, then:"
            f" {safe_text(command)}"
        )
    if suffix in _OTHER_FORMATS:
        raise FileNameError(
            f"a report is JSON lines, not {suffix}; write {safe_text(report)}"
        )
    return name
