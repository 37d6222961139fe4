"""Variables in the images of compose files and Dockerfiles.

Sources: the Compose specification, "Interpolation"; the Dockerfile reference,
"Environment replacement". Both write `$NAME`, `${NAME}`, `${NAME:-default}`,
`${NAME-default}`, `${NAME:+other}` and `${NAME+other}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from auditor.util.lazy_regex import Pattern
from auditor.util.text import safe_text

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = Pattern(
    r"\$(?:(?P<escaped>\$)"
    rf"|(?P<short>{_NAME})"
    rf"|\{{(?P<name>{_NAME})(?:(?P<operator>:?[-+])(?P<word>[^${{}}]*))?\}}"
    r"|(?P<other>\{[^}]*\}?|))"
)


class VariableError(ValueError):
    """A variable whose value cannot be known: one sentence."""


def substitute(text: str, values: Mapping[str, str]) -> str:
    """The text with the values of its variables, or their defaults.

    Raises `VariableError` for a variable that has neither.
    """

    def value(found: re.Match[str]) -> str:
        if found["escaped"]:
            return "$"
        if found["other"] is not None:
            shown = safe_text("$" + found["other"], 40)
            raise VariableError(f"{shown} is more than a variable and its default")
        name, operator = found["short"] or found["name"], found["operator"] or ""
        known = values.get(name)
        is_set = bool(known) if operator.startswith(":") else known is not None
        if operator.endswith("+"):
            return (found["word"] or "") if is_set else ""
        if is_set:
            return known or ""
        if operator.endswith("-"):
            return found["word"] or ""
        raise VariableError(f"the variable {name} has no default here")

    return _VARIABLE.sub(value, text)
