"""The time of every parser grows linearly with its input.

Seconds are not measured. The lines that a parser executes are counted by a trace
function; the steps of its regular expressions, which no trace shows, by a search
written in Python (`tests/support/regex_steps.py`).
"""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import auditor
from tests.fuzz.targets import TARGETS
from tests.support.regex_steps import pieces, steps

METHODS = {"findall", "finditer", "fullmatch", "match", "search", "split", "sub"}
_CALL_OF_RE = re.compile(rf"\bre\s*\.\s*({'|'.join(METHODS)})\b")
# Twice the input may take twice the steps, and some for the start.
MOST_GROWTH = 2.6

# -- regular expressions ---------------------------------------------------------

CHARS = 64
# Not worth a second count.
FEW_STEPS_PER_CHAR = 8
MOST_PIECES = 9


def _expressions() -> Iterator[tuple[str, str, int, str]]:
    """Name, source, flags and method of every call of an expression in auditor."""
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(auditor.__path__, "auditor.")
        if not module.name.endswith("__main__")
    ]
    for module in modules:
        text = Path(inspect.getfile(module)).read_text()
        short = module.__name__.removeprefix("auditor.")
        known = {
            name: value
            for name, value in vars(module).items()
            if isinstance(value, re.Pattern) or type(value).__name__ == "LazyPattern"
        }
        if not known and not _CALL_OF_RE.search(text):
            continue  # parsing every file takes seconds, in each process of the tests
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Attribute(value=ast.Name(id=name), attr=method) if (
                    method in METHODS and name in known
                ):
                    value: Any = known[name]
                    if isinstance(value, re.Pattern):
                        source, flags = value.pattern, value.flags
                    else:
                        source, flags = value._arguments
                    if isinstance(source, bytes):
                        source = source.decode("latin-1")
                        flags |= re.ASCII
                    yield f"{short}.{name}.{method}", source, flags, method
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="re"), attr=method),
                    args=[ast.Constant(value=str() as source), *_],
                ) if method in METHODS:
                    yield f"{short}.re.{method}({source})", source, 0, method


EXPRESSIONS = sorted(set(_expressions()))


def test_the_expressions_are_found() -> None:
    assert len(EXPRESSIONS) > 100
    names = {name for name, *_ in EXPRESSIONS}
    assert {"oci.reference._REFERENCE.fullmatch", "util.secret._URL.sub"} <= names


def _growth(source: str, flags: int, method: str) -> tuple[float, int, str]:
    """The largest growth of the steps when a text is doubled, with its text."""
    parts = ["w", *pieces(source, flags)[:MOST_PIECES]]
    units = [*parts, *map("".join, itertools.permutations(parts, 2))]
    worst = (0.0, 0, "")
    for unit, begin in itertools.product(units, ("", "w")):

        def count(chars: int, unit: str = unit, begin: str = begin) -> int:
            text = begin + unit * (chars // len(unit)) + "\0"
            return steps(source, flags, text, method, most=10 * chars * chars)

        chars = max(CHARS, 4 * len(unit))
        many = count(2 * chars)
        if many <= FEW_STEPS_PER_CHAR * 2 * chars:
            continue
        growth = many / count(chars)
        if growth >= MOST_GROWTH:  # up to the bound of a repetition only?
            growth = count(4 * chars) / count(2 * chars)
        if growth >= MOST_GROWTH:
            return growth, many, begin + unit
        worst = max(worst, (growth, many, begin + unit))
    return worst


# Messages of DuckDB, which contain one line of a report at most in part, or the query
# that the user wrote.
NOT_FROM_OUTSIDE = (
    "analysis.report_views._MALFORMED.search",
    "analysis.report_views._TRANSFORM.search",
    "analysis.query_errors.",
)


@pytest.mark.parametrize(
    ("source", "flags", "method"),
    [
        pytest.param(*rest, id=name)
        for name, *rest in EXPRESSIONS
        if not name.startswith(NOT_FROM_OUTSIDE)
    ],
)
def test_an_expression_takes_linear_steps(source: str, flags: int, method: str) -> None:
    growth, count, unit = _growth(source, flags, method)
    assert growth < MOST_GROWTH, f"{count} steps for repetitions of {unit!r}"


# Expressions that auditor had, with the text that took a square of steps.
@pytest.mark.parametrize(
    ("source", "method"),
    [
        (r"(?![^/]*[.:][^/]*/)a", "match"),  # a reference: a:a:a:
        (r"[^\s#][^#]*?\s*:(?:\s|$)", "match"),  # the first line of YAML
        (r'"(?:[^"\\\n]++|\\.)*"', "findall"),  # a TOML string that is not closed
        (r"\[!?([^]]+)\]", "findall"),  # [[[[
        (r"(?P<low>\S+)\s+-\s+(?P<high>\S+)", "sub"),  # a range of versions
        (r"(?:password|token)[\w-]*\s*=", "sub"),  # tokentokentoken
    ],
)
def test_a_square_of_steps_is_found(source: str, method: str) -> None:
    assert _growth(source, 0, method)[0] >= MOST_GROWTH


# -- lines of Python -------------------------------------------------------------

# Characters that are repeated, alone and after a valid input.
UNITS = [
    "a", "a:", "a.", "a/", "a@", " ", "\n", ",", "a=b,", '"', "\\", "[", "{", '{"a":',
    "a: ", "- ", "&a [*a,", "$A", "${A:-", "0", "1.", "a\\\n", "ARG A=$A$A\n",
    "RUN <<A\n", "[a]\n", "%41", "\x1b", "eyJ", "1;\r\n",
]  # fmt: skip
SIZE = 400
FEW_LINES = 50  # the start
PACKAGE = str(Path(auditor.__file__).parent)


def _lines(target: str, data: bytes) -> int:
    """The lines of auditor that the target executes."""
    count = 0

    def trace_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace_line

    def trace(frame: FrameType, _: str, __: Any) -> Any:
        return trace_line if frame.f_code.co_filename.startswith(PACKAGE) else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        TARGETS[target].run(data)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("target", TARGETS)
def test_twice_the_input_takes_twice_the_lines(target: str) -> None:
    seeds = TARGETS[target].seeds
    TARGETS[target].run(seeds[0])  # imports, and compiles expressions
    for unit, seed in itertools.product(UNITS, (b"", *seeds[:3])):
        few, many = (
            _lines(target, seed + (unit * (size // len(unit))).encode())
            for size in (SIZE, 2 * SIZE)
        )
        assert many < MOST_GROWTH * max(few, FEW_LINES), (
            f"{unit!r} after {seed[:40]!r}: {few}, {many}"
        )
