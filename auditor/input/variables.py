"""Variables in the images of compose files and Dockerfiles.

Sources: the Compose specification, "Interpolation"; the Dockerfile reference,
"Environment replacement". Both have `$NAME`, `${NAME}`, `${NAME:-default}`,
`${NAME-default}`, `${NAME:+other}` and `${NAME+other}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_text

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = LazyPattern(
    r"\$(?:(?P<escaped>\$)"
    rf"|(?P<short>{_NAME})"
    rf"|\{{(?P<name>{_NAME})(?:(?P<operator>:?[-+])(?P<word>[^${{}}]*))?\}}"
    r"|(?P<other>\{[^}]*\}?|))"
)


class VariableError(ValueError):
    """A variable whose value is not known; the message is one sentence."""


def substitute(text: str, values: Mapping[str, str]) -> str:
    """The text with variables replaced by their values or defaults.

    Raises `VariableError` for a variable that has neither.
    """

    def replacement(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        if match["other"] is not None:
            shown = safe_text("$" + match["other"], 40)
            raise VariableError(f"{shown} is more than a variable with a default")
        name, operator = match["short"] or match["name"], match["operator"] or ""
        value = values.get(name)
        is_set = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("+"):
            return (match["word"] or "") if is_set else ""
        if is_set:
            return value or ""
        if operator.endswith("-"):
            return match["word"] or ""
        raise VariableError(f"the variable {name} has no default here")

    return _VARIABLE.sub(replacement, text)
