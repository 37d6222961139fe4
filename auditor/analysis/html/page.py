"""A report as one page: asks every part in turn, so that one at a time is in memory."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import orjson
from markupsafe import Markup

from auditor.analysis.html.lines import open_lines, read_ages, read_matrix, read_source
from auditor.analysis.html.sections import (
    read_changes,
    read_references,
    read_trust,
    read_violations,
)
from auditor.analysis.html.space import NARROW, WIDE, read_space
from auditor.errors import OutputError
from auditor.util.atomic_file import whole_file
from auditor.util.text import format_size, safe_text
from auditor.version import __version__

# -- embed --
# JSON inside HTML.

# In a script element `</script` and `<!--` have a meaning (HTML 13.2.5.15); in JSON
# these characters only stand in strings, where an escape means the same.
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def script_json(value: Any) -> str:
    """JSON that can stand in a `<script type="application/json">`."""
    return orjson.dumps(value).decode().translate(_ESCAPES)


# -- template --
# The page from its parts. Whatever a report holds is shown as text, never obeyed.
#
# Three walls, each enough by itself: every text passes `safe_text` (no control or
# direction character), Jinja escapes it, and the page's Content-Security-Policy runs no
# script but the one whose hash it names (CSP Level 3, 2.3.1) and loads nothing.

# The longest reference has some 500 characters; it must not be cut.
MAX_TEXT_CHARS = 500


def csp_hash(text: str) -> str:
    """The source expression that allows exactly this inline text."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def find_link(**terms: str | None) -> str:
    """A link to the table of references, searched for these terms.

    `text`, and a name with a quote or a blank, which would not survive the search's own
    syntax, are searched for anywhere.
    """
    words = []
    for key, value in terms.items():
        if value is None:
            continue
        shown = safe_text(value, MAX_TEXT_CHARS)
        plain = key == "text" or any(char in shown for char in ' "')
        words.append(shown if plain else f"{key}:{shown}")
    return f"#find={quote(' '.join(words), safe='')}"


def render(**parts: Any) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("auditor.analysis.html", "assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "json": lambda value: Markup(script_json(value)),  # noqa: S704  (made safe)
        "size": format_size,
        "count": lambda number: f"{number:,}",
        "moment": _moment,
        "px": lambda number: f"{number:.1f}".removesuffix(".0"),
    }
    environment.globals |= {"find": find_link, "period": _period}
    style, script = _asset(environment, "page.css"), _asset(environment, "page.js")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {csp_hash(script)}",
            f"style-src {csp_hash(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    return environment.get_template("page.html.j2").render(
        parts, style=style, script=script, policy=policy
    )


def _asset(environment: jinja2.Environment, name: str) -> Markup:
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, name)
    return Markup(source)  # noqa: S704  (our own file)


def _shown(value: Any) -> Any:
    """What an expression of the template becomes, before it is escaped."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return safe_text(value, MAX_TEXT_CHARS)
    return value


def _period(first: str | None, last: str | None) -> str:
    """From the first to the last moment; a day that is the same is said once."""
    start, end = _moment(first), _moment(last)
    if first is None or last is None or start == end:
        return start
    return f"{start} to {end.removeprefix(f'{start[:10]} ')}"


def _moment(text: str | None) -> str:
    """`2026-11-24T02:00:00Z` as `2026-11-24 02:00 UTC`."""
    if text is None:
        return "no date"
    return f"{text[:10]} {text[11:16]} UTC" if text.endswith("Z") else text


def make_page(
    report: Sequence[str],
    *,
    previous: Sequence[str] = (),
    policy_file: str | None = None,
    today: date,
) -> str:
    """The page of a report: a file, several or globs.

    `previous` is an earlier one to compare with. `today` (UTC) decides which waivers
    of the policy hold; nothing else depends on the clock. Raises `UsageError`.
    """
    source = read_source(report)
    with open_lines(report) as lines:
        parts = {
            "totals": lines.totals,
            "causes": lines.causes(),
            "failures": lines.failures(),
            "warnings": lines.warnings(),
            "matrix": read_matrix(lines),
            "trust": read_trust(lines),
            "ages": read_ages(lines),
            "references": read_references(lines),
        }
    return render(
        **parts,
        source=source,
        space=read_space(report),
        changes=read_changes(previous, report) if previous else None,
        violations=(
            read_violations(report, policy_file, today=today, earlier=previous)
            if policy_file
            else None
        ),
        wide=WIDE,
        narrow=NARROW,
        version=__version__,
    )


def write_page(path: str, page: str) -> None:
    """Write the file whole or not at all; raises `OutputError`."""
    try:
        with whole_file(Path(path)) as stream:
            stream.write(page.encode())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
