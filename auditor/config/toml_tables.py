"""Tables of a configuration file that have keys of their own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from auditor.config.validation_errors import KeyLocation, ValidationErrors, unknown
from auditor.config.values import ValueType


def read_table(
    value: object,
    keys: Mapping[str, ValueType],
    location: KeyLocation,
    *,
    errors: ValidationErrors,
    absolute: Callable[[str], str],
    others: Collection[str] = (),
) -> dict[str, Any]:
    """The values of a table whose keys are known; every mistake is added to `errors`.

    `absolute` returns the path to open for a path of the file; `others` are keys that
    the caller reads.
    """
    if not isinstance(value, Mapping):
        example = ", ".join(f"{key} = ..." for key in list(keys)[:2])
        errors.add(location, f"must be a table: {{ {example} }}")
        return {}
    fields: dict[str, Any] = {}
    for key, one in value.items():
        here = location.at(key)
        if key not in keys:
            sentence = unknown("key", key, {*keys, *others})
            errors.add(here, sentence)
            continue
        try:
            read = keys[key].read(one, as_text=False)
        except ValueError as error:
            errors.add(here, error)
            continue
        fields[key] = absolute(str(read)) if keys[key].is_path else read
    return fields
