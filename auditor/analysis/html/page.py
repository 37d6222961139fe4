"""Makes the page of a report. Text of a report is shown as text only.

Three independent defences, because names in a registry are chosen by anyone who can
push: every text passes `safe_text` (no control or direction character), Jinja escapes
it, and the page's Content-Security-Policy allows only the script with the given hash
(CSP Level 3, section 2.3.1), and no request.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import date
from functools import cache
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from auditor.analysis.check.policy_file import load_policy
from auditor.analysis.html.headline import find_worst
from auditor.analysis.html.image_sections import (
    read_ages,
    read_attachments,
    read_platforms,
)
from auditor.analysis.html.optional_sections import (
    read_changes,
    read_end_of_life,
    read_policy_findings,
)
from auditor.analysis.html.report_lines import load_lines, read_source
from auditor.analysis.html.storage_section import NARROW, WIDE, read_storage
from auditor.analysis.html.table_data import (
    MAX_TEXT_CHARS,
    read_layers,
    read_references,
    read_uses,
    script_json,
)
from auditor.analysis.html.trend_section import TrendPoint, read_trend
from auditor.util.text import format_size, safe_text
from auditor.version import __version__


def make_page(
    report: Sequence[str],
    *,
    previous: Sequence[str] = (),
    policy_file: str | None = None,
    sboms: Sequence[str] | None = None,
    nights: Sequence[TrendPoint] = (),
    today: date,
) -> str:
    """The page of a report, given as files or globs.

    `previous` is an earlier report to compare with, `nights` are those of the trend,
    this one included. `sboms` are as in `check_reports`. `today` (UTC) decides which
    waivers of the policy apply; nothing else depends on the clock. Raises `UsageError`.
    """
    source = read_source(report)
    end_of_life = load_policy(policy_file).end_of_life if policy_file else {}
    with load_lines(report) as lines:
        sections = {
            "totals": lines.totals,
            "causes": lines.causes(),
            "failures": lines.failures(),
            "warnings": lines.warnings(),
            "matrix": read_platforms(lines),
            "trust": read_attachments(lines),
            "ages": read_ages(lines),
            "ending": read_end_of_life(lines, end_of_life),
            "references": (references := read_references(lines)),
            "opened": read_layers(lines, references.shown),
            "uses": read_uses(lines, references.shown),
        }
    changes = read_changes(previous, report) if previous else None
    violations = (
        read_policy_findings(
            report, policy_file, today=today, earlier=previous, sboms=sboms
        )
        if policy_file
        else None
    )
    return _render(
        **sections,
        source=source,
        headline=find_worst(sections["totals"], changes, violations),
        space=read_storage(report),
        changes=changes,
        violations=violations,
        trend=read_trend(nights),
        wide=WIDE,
        narrow=NARROW,
        version=__version__,
    )


# -- the template --


def _render(**sections: Any) -> str:
    """The whole page."""
    environment = _environment()
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
        sections, style=style, script=script, policy=policy
    )


@cache
def _environment() -> jinja2.Environment:
    """It keeps its templates, whose compilation takes longer than a small page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("auditor.analysis.html", "assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_safe,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "json": lambda value: Markup(script_json(value)),  # noqa: S704  (escaped)
        "size": format_size,
        "count": lambda number: f"{number:,}",
        "moment": _moment,
        "px": lambda number: f"{number:.1f}".removesuffix(".0"),
    }
    environment.globals |= {"find": search_link, "period": _period}
    return environment


def csp_hash(text: str) -> str:
    """The source expression that allows exactly this inline text."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def search_link(**terms: str | None) -> str:
    """A link to the table of references that searches it for these terms.

    `repo="team/app"` becomes `repo:team/app`, an exact match. `text`, and values with a
    quote or a space, which the search syntax cannot express, match anywhere.
    """
    query = []
    for field, value in terms.items():
        if value is None:
            continue
        term = safe_text(value, MAX_TEXT_CHARS)
        anywhere = field == "text" or any(char in term for char in ' "')
        query.append(term if anywhere else f"{field}:{term}")
    return f"#find={quote(' '.join(query), safe='')}"


def _asset(environment: jinja2.Environment, name: str) -> Markup:
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, name)
    return Markup(source)  # noqa: S704  (a file of this package)


def _safe(value: Any) -> Any:
    """Make the text of a template expression safe to show, before Jinja escapes it."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return safe_text(value, MAX_TEXT_CHARS)
    return value


def _period(first: str | None, last: str | None) -> str:
    """The period between two times as text; a shared date is written once."""
    start, end = _moment(first), _moment(last)
    if first is None or last is None or start == end:
        return start
    return f"{start} to {end.removeprefix(f'{start[:10]} ')}"


def _moment(text: str | None) -> str:
    """`2026-11-24T02:00:00Z` as `2026-11-24 02:00 UTC`."""
    if text is None:
        return "no date"
    return f"{text[:10]} {text[11:16]} UTC" if text.endswith("Z") else text
