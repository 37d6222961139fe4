"""`auditor.oci.platform.platform_text` as an SQL expression.

The names in records are normalised, but not in records of earlier versions, and a
platform of a record has the names that the registry gave.
"""

from __future__ import annotations

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
    marked = _marked(r"\1<\2>\3>")
    parts = f"regexp_replace(name, '^([^/]*)/([^/]*)/?(.*)$', '{marked}')"
    return f"""
        CASE WHEN regexp_matches(array_to_string({names}, ' '), '{_UNUSUAL}')
             THEN list_sort(list_distinct([{_normalized(parts)} FOR name IN {names}]))
             ELSE {names} END"""


def _platform_text(os: str, architecture: str, variant: str) -> str:
    before, after = _marked("<"), _marked(">")
    return _normalized(
        f"concat({os}, '{before}', {architecture}, '{after}', {variant}, '{after}')"
    )


# What stands for `<` and `>` in the SQL: no name contains it.
_MARKS = str.maketrans("<>", "\x1e\x1f")


def _marked(text: str) -> str:
    return text.translate(_MARKS)


def _normalized(parts: str) -> str:
    """The name of a platform that is written `os<architecture>variant>`.

    It is one text, in which names are replaced one after another: an expression for
    each part has many more nodes, and DuckDB binds them again in every query.
    """
    text = f"lower({parts})"
    for old, new in OS_NAMES.items():
        text = _regex_replaced(text, f"^{old}<", f"{new}<")
    for old, (new, implied) in ARCHITECTURE_NAMES.items():
        if implied:
            text = _regex_replaced(text, f"<{old}>.*", f"<{new}>{implied}>")
        else:
            text = _replaced(text, f"<{old}>", f"<{new}>")
    text = _regex_replaced(text, ">([0-9]+)>$", r">v\1>")
    for (name, old), new in VARIANT_NAMES.items():
        text = _replaced(text, f"<{name}>{old}>", f"<{name}>{new}>")
    for name, variant in IMPLIED_VARIANTS.items():
        text = _replaced(text, f"<{name}>>", f"<{name}>{variant}>")
    for name, variant in sorted(DEFAULT_VARIANTS):
        text = _replaced(text, f"<{name}>{variant}>", f"<{name}>>")
    for name in sorted(WITHOUT_VARIANTS):
        text = _regex_replaced(text, f"<{name}>.*", f"<{name}>>")
    return f"translate(rtrim({text}, '{_marked('>')}'), '{_marked('<>')}', '//')"


def _replaced(text: str, old: str, new: str) -> str:
    return f"replace({text}, '{_marked(old)}', '{_marked(new)}')"


def _regex_replaced(text: str, old: str, new: str) -> str:
    return f"regexp_replace({text}, '{_marked(old)}', '{_marked(new)}')"
