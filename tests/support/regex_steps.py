"""Counts the steps of a backtracking search, as Python's `re` does it.

`re` gives no count, and its time cannot be traced. This is the same search written
plainly: a step is one attempt to match one part of an expression at one position.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

_CATEGORIES = {
    op.CATEGORY_DIGIT: r"\d", op.CATEGORY_NOT_DIGIT: r"\D",
    op.CATEGORY_SPACE: r"\s", op.CATEGORY_NOT_SPACE: r"\S",
    op.CATEGORY_WORD: r"\w", op.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip
_ONE_CHARACTER = {op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN}
_Then = Callable[[int], bool]


def steps(pattern: str, flags: int, text: str, method: str, *, most: int) -> int:
    """The steps of `method` on the text, at most `most`.

    `findall`, `finditer`, `split`, `search` and `sub` begin at every position.
    """
    search = _Search(pattern, flags, text, most)
    with _deep_recursion():
        try:
            if method in {"match", "fullmatch"}:
                search.at(0, whole=method == "fullmatch")
            else:
                position = 0
                while position <= len(text):
                    end = search.at(position, whole=False)
                    if end is not None and method == "search":
                        break
                    position = max(position + 1, end or 0)
        except _TooManyStepsError:
            return most
    return search.steps


def pieces(pattern: str, flags: int) -> list[str]:
    """Texts that parts of the expression match: its words, then single characters."""
    words: dict[str, None] = {}
    chars: dict[str, None] = {}
    word = ""
    for code, value in [*_parts(_parser.parse(pattern, flags)), (None, None)]:
        if code is op.LITERAL:
            word += chr(value)
            chars.setdefault(chr(value))
            continue
        words.setdefault(word)
        word = ""
        match code, value:
            case (op.NOT_LITERAL, char):
                chars.setdefault(chr(char))
            case (op.RANGE, (first, _)):
                chars.setdefault(chr(first))
            case (op.CATEGORY, category):
                shown = {op.CATEGORY_SPACE: " ", op.CATEGORY_DIGIT: "0"}
                chars.setdefault(shown.get(category, "w"))
    return [*[word for word in words if len(word) > 1], *chars]


def _parts(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, tuple) and len(node) == 2 and node[0] in op.OPCODES:
        yield node
    elif isinstance(node, tuple | list | _parser.SubPattern):
        yield None, None
    if isinstance(node, tuple | list | _parser.SubPattern):
        for child in node:
            yield from _parts(child)


@contextmanager
def _deep_recursion() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


class _TooManyStepsError(Exception):
    """The limit was reached."""


class _Search:
    def __init__(self, pattern: str, flags: int, text: str, most: int) -> None:
        self._tree = _parser.parse(pattern, flags)
        self._flags = self._tree.state.flags
        self._text = text
        self._most = most
        self._groups: dict[int, tuple[int, int]] = {}
        self._matches: dict[tuple[int, str], bool] = {}
        self.steps = 0

    def at(self, start: int, *, whole: bool) -> int | None:
        """The end of the match that begins here."""
        ends: list[int] = []

        def then(position: int) -> bool:
            if whole and position != len(self._text):
                return False
            ends.append(position)
            return True

        return ends[0] if self._run(list(self._tree), 0, start, then) else None

    def _run(self, items: list[Any], index: int, start: int, then: _Then) -> bool:
        if index == len(items):
            return then(start)
        self.steps += 1
        if self.steps > self._most:
            raise _TooManyStepsError
        code, value = items[index]

        def rest(position: int) -> bool:
            return self._run(items, index + 1, position, then)

        match code:
            case op.LITERAL | op.NOT_LITERAL | op.ANY | op.IN:
                return self._has(items[index], start) and rest(start + 1)
            case op.AT:
                return self._is_at(value, start) and rest(start)
            case op.BRANCH:
                return any(self._run(list(one), 0, start, rest) for one in value[1])
            case op.SUBPATTERN:
                return self._group(value[0], list(value[3]), start, rest)
            case op.ASSERT | op.ASSERT_NOT:
                direction, inner = value
                found = self._looks(direction, inner, start)
                return found == (code is op.ASSERT) and rest(start)
            case op.ATOMIC_GROUP:
                end = self._end(list(value), start)
                return end is not None and rest(end)
            case op.GROUPREF:
                begin, end = self._groups.get(value, (0, 0))
                word = self._text[begin:end]
                return self._text.startswith(word, start) and rest(start + len(word))
        return self._repetition(code, value, start, rest)

    def _group(
        self, group: int | None, items: list[Any], start: int, rest: _Then
    ) -> bool:
        def close(position: int) -> bool:
            if group is not None:
                self._groups[group] = (start, position)
            return rest(position)

        return self._run(items, 0, start, close)

    def _looks(self, direction: int, inner: Any, start: int) -> bool:
        begin = start - inner.getwidth()[0] if direction < 0 else start
        return begin >= 0 and self._end(list(inner), begin) is not None

    def _repetition(self, code: Any, value: Any, start: int, rest: _Then) -> bool:
        least, most, inner = value
        most = sys.maxsize if most is op.MAXREPEAT else most
        if code is op.POSSESSIVE_REPEAT:
            return self._repeat_whole(list(inner), start, least, most, rest)
        if len(inner) == 1 and inner[0][0] in _ONE_CHARACTER:
            return self._repeat_character(code, inner[0], start, least, most, rest)
        return self._repeat(code, list(inner), start, least, most, rest, 0)

    def _end(self, items: list[Any], start: int) -> int | None:
        ends: list[int] = []

        def then(position: int) -> bool:
            ends.append(position)
            return True

        return ends[0] if self._run(items, 0, start, then) else None

    def _repeat_whole(
        self, items: list[Any], start: int, least: int, most: int, rest: _Then
    ) -> bool:
        count = 0
        while count < most:
            end = self._end(items, start)
            if end is None or (end == start and count >= least):
                break
            start, count = end, count + 1
        return count >= least and rest(start)

    def _repeat_character(
        self, code: Any, one: Any, start: int, least: int, most: int, rest: _Then
    ) -> bool:
        count = 0
        most = min(most, len(self._text) - start)
        if code is op.MAX_REPEAT:
            while count < most and self._has(one, start + count):
                count += 1
                self.steps += 1
            counts: range = range(count, least - 1, -1)
        else:
            counts = range(most + 1)
        for count in counts:
            self.steps += 1
            if (
                code is op.MIN_REPEAT
                and count
                and not self._has(one, start + count - 1)
            ):
                return False
            if count >= least and rest(start + count):
                return True
        return False

    def _repeat(
        self,
        code: Any,
        items: list[Any],
        start: int,
        least: int,
        most: int,
        rest: _Then,
        count: int,
    ) -> bool:
        def again(end: int) -> bool:
            if end == start and count >= least:
                return False
            return self._repeat(code, items, end, least, most, rest, count + 1)

        def more() -> bool:
            return count < most and self._run(items, 0, start, again)

        if count < least:
            return more()
        if code is op.MAX_REPEAT:
            return more() or rest(start)
        return rest(start) or more()

    def _has(self, item: Any, position: int) -> bool:
        if position >= len(self._text):
            return False
        key = (id(item[1]) if item[0] is op.IN else hash(item), self._text[position])
        found = self._matches.get(key)
        if found is None:
            found = self._matches[key] = self._one(
                item[0], item[1], self._text[position]
            )
        return found

    def _one(self, code: Any, value: Any, char: str) -> bool:
        chars = {char}
        if self._flags & re.IGNORECASE:
            chars |= {char.lower(), char.upper()}
        if code is op.ANY:
            return bool(self._flags & re.DOTALL) or char != "\n"
        if code in {op.LITERAL, op.NOT_LITERAL}:
            return (chr(value) in chars) == (code is op.LITERAL)
        negated = value[0][0] is op.NEGATE
        return any(self._in(part, chars) for part in value) != negated

    def _in(self, part: Any, chars: set[str]) -> bool:
        code, value = part
        if code is op.LITERAL:
            return chr(value) in chars
        if code is op.RANGE:
            return any(value[0] <= ord(char) <= value[1] for char in chars)
        if code is op.CATEGORY:
            found = [re.match(_CATEGORIES[value], char, self._flags & re.ASCII)
                     for char in chars]  # fmt: skip
            return any(found)
        return False  # NEGATE

    def _is_at(self, where: Any, position: int) -> bool:
        text, end = self._text, len(self._text)
        multiline = bool(self._flags & re.MULTILINE)
        if where is op.AT_BEGINNING:
            return position == 0 or (multiline and text[position - 1] == "\n")
        if where is op.AT_BEGINNING_STRING:
            return position == 0
        if where is op.AT_END:
            return text[position:] in {"", "\n"} or (
                multiline and text[position] == "\n"
            )
        if where is op.AT_END_STRING:
            return position == end
        sides = [
            bool(0 <= side < end and re.match(r"\w", text[side]))
            for side in (position - 1, position)
        ]
        return (sides[0] != sides[1]) == (where is op.AT_BOUNDARY)
