"""Taking one value from one layer: read it, make its paths whole, or note why not."""

from __future__ import annotations

from pathlib import PurePath

from auditor.config.option import Option
from auditor.config.validation_errors import Mistakes, Place

# What one layer says, by option name.
Values = dict[str, object]


class Taker:
    """Takes the values of a layer. Its paths are relative to `base`, `~` is `home`.

    A value with a mistake is left out of the layer, so that the rest is checked, too.
    """

    def __init__(
        self, mistakes: Mistakes, *, base: str | None = None, home: str | None = None
    ) -> None:
        self.mistakes = mistakes
        self._base = base
        self._home = home

    def take(
        self,
        values: Values,
        option: Option,
        value: object,
        *,
        place: Place | str,
        as_text: bool = False,
    ) -> bool:
        """Put a value among `values`; false where it is a mistake."""
        try:
            read = option.value.read(value, as_text=as_text)
        except ValueError as error:
            self.mistakes.add(place, error)
            return False
        if option.value.is_path:
            read = (
                tuple(map(self.whole, read))
                if isinstance(read, tuple)
                else self.whole(str(read))
            )
        values[option.name] = read
        return True

    def whole(self, path: str) -> str:
        """The path as it is opened; "-" stays what it is, a standard stream."""
        if path == "-":
            return path
        if self._home and (path == "~" or path.startswith("~/")):
            return self._home + path[1:]
        return str(PurePath(self._base, path)) if self._base else path
