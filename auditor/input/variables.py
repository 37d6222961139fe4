"""Variables and words of compose files and Dockerfiles.

Both have `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:+other}`,
`${NAME+other}` and `${NAME:?message}`, nested in each other (Compose specification,
"Interpolation"; Dockerfile reference, "Environment replacement").

A compose file has no quotes, and `$$` is a dollar. A Dockerfile has the quotes and the
escape character of a shell (BuildKit, frontend/dockerfile/shell/lex.go).
"""

from __future__ import annotations

from collections.abc import Mapping

from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_text

# Longer than any reference. Each `ARG` can double the one before it.
MAX_EXPANDED_CHARS = 4096
MAX_NESTING = 32

_NAME = LazyPattern(r"[^\W\d]\w*|\d+")
_ORDINARY = LazyPattern(r"[^$'\"\\`<}/\s]+")
_SPECIAL_PARAMETERS = frozenset("@*#?-$!")
_OPERATORS = frozenset("-+?")
_PATTERN_OPERATORS = frozenset("#%/")


class VariableError(ValueError):
    """A variable without a known value; the message is one sentence."""


def interpolate(text: str) -> str:
    """The text of a compose file with the defaults of its variables.

    Raises `VariableError` for a variable that has none.
    """
    return _Expansion(text, {}, escape="").whole()


def expand_word(text: str, values: Mapping[str, str], escape: str) -> str:
    """A word of a Dockerfile without quotes, with the values of its variables.

    Raises `VariableError` for a variable that has neither a value nor a default, and
    for a quote that is not closed.
    """
    return _Expansion(text, values, escape=escape).whole()


def here_document_words(line: str) -> list[str]:
    """The words of an instruction that can begin a here-document, as they are written.

    Blanks after `<<` belong to its word. A line with a quote or a brace that is not
    closed has none.
    """
    try:
        return _Expansion(line, None, escape="\\", is_raw=True).words()
    except VariableError:
        return []


def unquoted_words(text: str) -> list[str]:
    """The words without quotes and escapes; variables stay as they are.

    Raises `VariableError` for a quote that is not closed.
    """
    return _Expansion(text, None, escape="\\").words()


def split_words(text: str, escape: str) -> list[str]:
    """The words between blanks outside of quotes; quotes and escapes stay."""
    words: list[str] = []
    word: list[str] = []
    quote = ""
    position = 0
    while position < len(text):
        char = text[position]
        if char == escape and quote != "'":
            char = text[position : position + 2]
            if len(char) < 2:
                break
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        if not char.isspace() or quote:
            word.append(char)
        elif word:
            words.append("".join(word))
            word = []
        position += len(char)
    return [*words, "".join(word)] if word else words


class _Expansion:
    """Reads a text once from the left; `at` is the position.

    `values`: `None` leaves variables as they are; `is_raw` quotes and escapes, too.
    """

    def __init__(
        self,
        text: str,
        values: Mapping[str, str] | None,
        *,
        escape: str,
        is_raw: bool = False,
    ) -> None:
        self._text = text
        self._keeps_variables = values is None
        self._values = values or {}
        self._escape = escape
        self._is_shell = bool(escape)
        self._is_raw = is_raw
        self._at = 0
        self._size = 0
        self._depth = 0
        # Variables without a value, in the parts of the text that are used.
        self._missing: list[str] = []

    def whole(self) -> str:
        result = self._until("")
        if self._missing:
            raise VariableError(f"the variable {self._missing[0]} has no default here")
        return result

    def words(self) -> list[str]:
        words: list[str] = []
        word: list[str] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            if char.isspace():
                self._at += 1
                if text := "".join(word):
                    words.append(text)
                word = []
            elif self._text.startswith("<<", self._at):
                start = self._at
                self._at += 2
                while self._peek() in {" ", "\t", "\r"}:
                    self._at += 1
                word.append(self._text[start : self._at])
            else:
                word.append(self._piece())
        last = "".join(word)
        return [*words, last] if last else words

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _until(self, stop: str) -> str:
        """The text up to `stop`, which is read, or to the end if it is empty."""
        parts: list[str] = []
        while self._at < len(self._text):
            if self._peek() == stop:
                self._at += 1
                return "".join(parts)
            parts.append(self._piece())
        if stop:
            raise VariableError(f"{stop} is missing after a variable")
        return "".join(parts)

    def _piece(self) -> str:
        """The next variable, quoted string, escaped or ordinary characters."""
        start = self._at
        if ordinary := _ORDINARY.match(self._text, start):
            self._at = ordinary.end()
            return ordinary[0]
        char = self._text[start]
        if char == "$":
            value = self._variable()
        elif self._is_shell and char in "'\"":
            value = self._quoted(char)
        elif self._is_shell and char == self._escape:
            value = self._text[start + 1 : start + 2]
            self._at += 2
        else:
            value = char
            self._at += 1
        return self._text[start : self._at] if self._is_raw else value

    def _quoted(self, quote: str) -> str:
        """The text in quotes; single quotes have no escapes and no variables."""
        self._at += 1
        parts: list[str] = []
        while self._at < len(self._text):
            char = self._peek()
            if char == quote:
                self._at += 1
                return "".join(parts)
            if char == "$" and quote == '"':
                parts.append(self._variable())
                continue
            if char == self._escape and quote == '"':
                following = self._text[self._at + 1 : self._at + 2]
                if following in {'"', "$", self._escape}:
                    self._at += 1
                    char = following
            parts.append(char)
            self._at += 1
        raise VariableError("a quote is not closed")

    def _variable(self) -> str:
        start = self._at
        value = self._variable_value(start)
        return self._text[start : self._at] if self._keeps_variables else value

    def _variable_value(self, start: int) -> str:
        self._at += 1
        following = self._peek()
        if following == "$" and not self._is_shell:
            self._at += 1
            return "$"
        if following != "{":
            if name := self._name():
                return self._value(name)
            if self._is_shell:
                return "$"
            raise self._invalid(start)
        self._at += 1
        return self._braced(start)

    def _braced(self, start: int) -> str:
        """The value of `${NAME...}` from its name on."""
        name = self._name()
        operator = self._peek()
        self._at += 1
        if operator == "}" and name:
            return self._value(name)
        skips_empty = operator == ":"
        if skips_empty:
            operator = self._peek()
            self._at += 1
        if not name or operator not in _OPERATORS:
            if self._keeps_variables and name and operator in _PATTERN_OPERATORS:
                self._word()
                return ""
            raise self._invalid(start)
        before = len(self._missing)
        word = self._word()
        if self._keeps_variables:
            return ""
        value = self._values.get(name)
        is_set = bool(value) if skips_empty else value is not None
        if is_set == (operator == "+") and operator != "?":
            return word
        del self._missing[before:]  # the word is not used
        if operator == "+":
            return ""
        if not is_set:
            raise VariableError(f"the variable {safe_text(name, 40)} must be set")
        return self._value(name)

    def _word(self) -> str:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise VariableError(
                f"variables are nested more than {MAX_NESTING} levels deep"
            )
        word = self._until("}")
        self._depth -= 1
        return word

    def _name(self) -> str:
        if found := _NAME.match(self._text, self._at):
            self._at = found.end()
            return found[0]
        if self._is_shell and self._peek() in _SPECIAL_PARAMETERS:
            self._at += 1
            return self._text[self._at - 1]
        return ""

    def _value(self, name: str) -> str:
        value = self._values.get(name)
        if value is None:
            self._missing.append(safe_text(name, 40))
            return ""
        self._size += len(value)
        if self._size > MAX_EXPANDED_CHARS:
            raise VariableError(
                f"with its variables it has more than {MAX_EXPANDED_CHARS:,} characters"
            )
        return value

    def _invalid(self, start: int) -> VariableError:
        end = self._text.find("}", start)
        shown = safe_text(self._text[start : end + 1 if end > 0 else None], 40)
        return VariableError(f"{shown} is not a variable with a plain default")
