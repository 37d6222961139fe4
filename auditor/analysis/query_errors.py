"""DuckDB's errors of a query, explained in terms of the report.

The texts of DuckDB are matched, because its errors have no codes; what does not match
is shown as DuckDB says it.
"""

from __future__ import annotations

import difflib
import itertools
import re

import duckdb

from auditor.analysis.view_columns import SBOM_VIEW_HELP, VIEW_HELP
from auditor.util.text import safe_text

_NAME_CHARS = 80

_COLUMN = re.compile(
    r'Referenced column "(?P<name>[^"]*)" not found'
    r'|does not have a column named "(?P<of_table>[^"]*)"'
)
_TABLE = re.compile(
    r"Table with name (?P<name>[^ ]+) does not exist"
    r'|Referenced table "(?P<of_column>[^"]*)" not found'
)
_FUNCTION = re.compile(
    r"Function with name (?P<name>\w+) does not exist!"
    r'(?:\s+Did you mean "(?P<near>\w+)")?'
)
_ARGUMENTS = re.compile(r"given name and argument types '(?P<call>[^']*)'\.")
_NO_LIST = re.compile(
    r"value '(?P<value>[^']*)' can't be cast to [^\n'\[]*\[\]$", re.MULTILINE
)
_NO_TIME = re.compile(r'invalid (?:timestamp|date) field format: "(?P<value>[^"]*)"')
_NO_NUMBER = re.compile(
    r"Could not convert string '(?P<value>[^']*)' to U?(?:INT|DOUBLE)"
)
_COMPARED = re.compile(
    r"Cannot compare values of type (?P<left>\S+) and type (?P<right>\S+)"
)
_SYNTAX = re.compile(r'syntax error at or near "(?P<token>[^"]*)"')
_GROUP = re.compile(r'column "(?P<name>[^"]*)" must appear in the GROUP BY')
_WORD = re.compile(r"\w+")
# What follows is a value, not a name: `tag = latest`.
_BEFORE_VALUE = r"(?:[=<>]|\blike|\bglob|\bin\s*\()\s*"

_QUOTES = (
    "; the shell may have removed quotes: put the query in double quotes and texts in"
    " single ones"
)
_EXAMPLES = "; auditor query --examples shows queries that work"
_SHOWN = "; auditor query REPORT shows all"


def explained_error(error: duckdb.Error, sql: str) -> str | None:
    """One sentence on an error of a query; None if there is nothing to explain."""
    text = str(error)
    if match := _COLUMN.search(text):
        return _unknown_column(match["name"] or match["of_table"], sql)
    if match := _TABLE.search(text):
        return _unknown_table(match["name"] or match["of_column"])
    if match := _FUNCTION.search(text):
        near = f"; did you mean {match['near']}()?" if match["near"] else ""
        return f"there is no function {match['name']}(){near}"
    if "unterminated /*" in text:
        return f"/* begins a comment; is it in a text without quotes?{_QUOTES}"
    if "unterminated" in text:
        return f"a quote is not closed{_QUOTES}"
    if match := _SYNTAX.search(text):
        return _syntax(match["token"], sql)
    if match := _GROUP.search(text):
        return (
            f"{safe_text(match['name'], _NAME_CHARS)} is neither grouped nor"
            " aggregated; add GROUP BY ALL at the end"
        )
    return _wrong_type(text)


def _wrong_type(text: str) -> str | None:
    if match := _ARGUMENTS.search(text):
        call = safe_text(match["call"].replace("STRING_LITERAL", "VARCHAR"))
        return _wrong_arguments(call)
    if match := _NO_LIST.search(text):
        value = _quoted(match["value"])
        return (
            f"a list is compared with the text {value}; use list_contains(COLUMN,"
            f" {value}), such as list_contains(architectures, 'linux/arm64')"
        )
    if match := _NO_NUMBER.search(text):
        return f"{_quoted(match['value'])} is not a number; sizes are in bytes"
    if match := _NO_TIME.search(text):
        return (
            f"{_quoted(match['value'])} is not a time; write '2026-01-31' or"
            " now() - interval 90 day"
        )
    if match := _COMPARED.search(text):
        return _different_types(match["left"], match["right"])
    return None


def is_query_error(error: duckdb.Error) -> bool:
    """Whether an error, one that reports can cause too, is about the query itself."""
    text = str(error)
    if "JSON" in text and " in file " in text:
        return False
    patterns = (_NO_LIST, _NO_TIME, _NO_NUMBER)
    return any(pattern.search(text) for pattern in patterns) or (
        isinstance(error, duckdb.ConversionException) and "\nLINE " in text
    )


def _unknown_column(name: str, sql: str) -> str:
    shown = safe_text(name, _NAME_CHARS)
    views = _views(sql)
    where = " in " + ", ".join(views) if views else ""
    sentence = f"there is no column {shown}{where}"
    if _is_value(name, sql):
        return f"{sentence}; if it is a text, write {_quoted(name)}{_QUOTES}"
    key = name.lower()
    elsewhere = [view for view, one in VIEW_HELP.items() if key in one.columns]
    if elsewhere and views:
        return f"{sentence}; it is a column of {', '.join(elsewhere)}"
    columns = dict.fromkeys(
        column for view in views or VIEW_HELP for column in VIEW_HELP[view].columns
    )
    if near := difflib.get_close_matches(key, columns, 1):
        return f"{sentence}; did you mean {near[0]}?"
    every = [column for one in VIEW_HELP.values() for column in one.columns]
    for column in difflib.get_close_matches(key, every, 1):
        view = next(view for view, one in VIEW_HELP.items() if column in one.columns)
        return f"{sentence}; did you mean {column}, a column of {view}?"
    if views:
        return f"{sentence}; it has the columns {', '.join(columns)}"
    return f"{sentence}{_SHOWN}"


def _is_value(name: str, sql: str) -> bool:
    """Whether an unknown name stands where a text belongs, its quotes missing."""
    if f'"{name}"' in sql and re.search(r"\W", name):
        return True
    value = rf'{_BEFORE_VALUE}"?{re.escape(name)}"?(?!\s*[.(\w])'
    return re.search(value, sql, re.IGNORECASE) is not None


def _unknown_table(name: str) -> str:
    shown = safe_text(name, _NAME_CHARS)
    if name.lower() in SBOM_VIEW_HELP:
        return f"there is no table {shown} without --sbom FILE (of auditor audit)"
    near = difflib.get_close_matches(name.lower(), VIEW_HELP, 1)
    if near:
        return f"there is no table {shown}; did you mean {near[0]}?"
    return f"there is no table {shown}; the tables are {', '.join(VIEW_HELP)}"


def _wrong_arguments(call: str) -> str:
    name, _, types = call.partition("(")
    if name in {"~~", "!~~", "~~*"}:
        return "LIKE compares texts; write the pattern in single quotes: '1.%'"
    types = types.removesuffix(")")
    if "VARCHAR" in types and name in {"sum", "avg"}:
        return f"{name}() needs a number, and the column is a text"
    return (
        f"{name}() does not take {types}"
        if types
        else f"{name}() needs other arguments"
    )


def _different_types(left: str, right: str) -> str:
    names = {left.partition("_")[0], right.partition("_")[0]}
    if names & {"TIMESTAMP", "DATE"}:
        return (
            "a time is compared with a number; write times in single quotes:"
            f" '2026-01-31'{_QUOTES}"
        )
    if "VARCHAR" in names:
        return (
            f"a text is compared with a number; write texts in single quotes{_QUOTES}"
        )
    return f"values of type {left} and {right} cannot be compared"


def _syntax(token: str, sql: str) -> str:
    shown = safe_text(token, _NAME_CHARS)
    # The query is parsed within parentheses.
    if token == ")" and not _closes_too_much(sql):
        return "the query ends too early; something is missing at its end"
    first = _WORD.search(sql)
    verbs = ("select", "from", "with", "describe", "summarize")
    if first is not None and first[0].lower() not in verbs:
        near = difflib.get_close_matches(first[0].lower(), verbs, 1)
        if near:
            return (
                f"syntax error at {safe_text(first[0], _NAME_CHARS)}; did you mean"
                f" {near[0]}?"
            )
    return f"syntax error at {shown}{_EXAMPLES if token.isalpha() else _QUOTES}"


def _closes_too_much(sql: str) -> bool:
    depths = itertools.accumulate((char == "(") - (char == ")") for char in sql)
    return min(depths, default=0) < 0


def _views(sql: str) -> list[str]:
    words = {word.lower() for word in _WORD.findall(sql)}
    return [view for view in VIEW_HELP if view in words]


def _quoted(text: str) -> str:
    return "'" + safe_text(text, _NAME_CHARS).replace("'", "''") + "'"
