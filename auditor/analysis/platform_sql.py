"""`auditor.oci.platform.platform_text` as an SQL expression.

The names in records are normalised, but not in records of earlier versions, and a
platform of a record has the names that the registry gave.
"""

from __future__ import annotations

from collections.abc import Mapping

from auditor.oci.platform import (
    ARCHITECTURE_NAMES,
    DEFAULT_VARIANTS,
    IMPLIED_VARIANTS,
    OS_NAMES,
    VARIANT_NAMES,
    WITHOUT_VARIANTS,
)

# Names that are normalised; the rest costs much more.
_USUAL = "('amd64', 'arm64', 'ppc64le', 's390x', 'riscv64', '386')"
# Matches the names, separated by blanks, if one of them may not be normalised.
_UNUSUAL = (
    r"[A-Z]|macos|i386|x86|aarch64|armhf|armel|/arm(\s|$)|amd64/v1|arm64/v?[89]|/386/"
    r"|/[^/\s]+/[0-9]+(\s|$)"
)


def platform_name(platform: str) -> str:
    """The name of a platform struct, as in `architectures`.

    An artifact without a platform has the empty string, which works in joins.
    """
    os, architecture, variant = (
        f"{platform}.{field}" for field in ("os", "architecture", "variant")
    )
    return f"""
        CASE WHEN {os} IN ('linux', 'windows') AND {architecture} IN {_USUAL}
                  AND coalesce({variant}, '') = '' THEN {os} || '/' || {architecture}
             WHEN {os} <> '' AND {architecture} <> ''
             THEN {_platform_text(os, architecture, variant)} ELSE '' END"""


def normalized_names(names: str) -> str:
    """A list of names, normalised, sorted and distinct, as in `architectures`."""
    parts = ("split_part(name, '/', 1)", "split_part(name, '/', 2)")
    rest = f"substr(name, len({parts[0]}) + len({parts[1]}) + 3)"
    return f"""
        CASE WHEN regexp_matches(array_to_string({names}, ' '), '{_UNUSUAL}')
             THEN list_sort(list_distinct(
                 [{_platform_text(*parts, rest)} FOR name IN {names}]))
             ELSE {names} END"""


def _platform_text(os: str, architecture: str, variant: str) -> str:
    names = {old: new for old, (new, _) in ARCHITECTURE_NAMES.items()}
    implied = {old: new for old, (_, new) in ARCHITECTURE_NAMES.items() if new}
    others = {f"{of}/{old}": new for (of, old), new in VARIANT_NAMES.items()}
    number = f"regexp_replace(lower(coalesce({variant}, '')), '^([0-9]+)$', 'v\\1')"
    other = f"CASE _name || '/' || _number {_cases(others)} ELSE _number END"
    written = f"CASE _given {_cases(implied)} ELSE {other} END"
    default = ", ".join(f"'{name}/{variant}'" for name, variant in DEFAULT_VARIANTS)
    without = ", ".join(f"'{name}'" for name in WITHOUT_VARIANTS)
    suffix = f"""
        CASE WHEN _written = '' THEN CASE _name {_cases(IMPLIED_VARIANTS)} END
             WHEN _name IN ({without}) THEN NULL
             WHEN _name || '/' || _written IN ({default}) THEN NULL
             ELSE _written END"""
    text = f"concat_ws('/', {_renamed(f'lower({os})', OS_NAMES)}, _name, {suffix})"
    for name, value in (
        ("_written", written),
        ("_number", number),
        ("_name", _renamed("_given", names)),
        ("_given", f"lower({architecture})"),
    ):
        text = _with_name(name, value, text)
    return text


def _with_name(name: str, value: str, expression: str) -> str:
    """An expression in which a value has a name.

    Writing the value wherever it is used makes an expression of thousands of nodes,
    which DuckDB binds again in every query of a report.
    """
    return f"[{expression} FOR {name} IN [{value}]][1]"


def _renamed(name: str, names: Mapping[str, str]) -> str:
    return f"CASE {name} {_cases(names)} ELSE {name} END"


def _cases(values: Mapping[str, str]) -> str:
    return " ".join(f"WHEN '{old}' THEN '{new}'" for old, new in values.items())
