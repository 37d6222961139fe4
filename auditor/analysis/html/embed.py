"""JSON inside HTML."""

from __future__ import annotations

from typing import Any

import orjson

# In a script element `</script` and `<!--` have a meaning (HTML 13.2.5.15); in JSON
# these characters only stand in strings, where an escape means the same.
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def script_json(value: Any) -> str:
    """JSON that can stand in a `<script type="application/json">`."""
    return orjson.dumps(value).decode().translate(_ESCAPES)
