"""Content that came compressed though nobody asked for that (RFC 9110 section 8.4)."""

from __future__ import annotations

import zlib

from auditor.registry.network.http1.errors import BrokenOffError, NotHttpError

# Codings that aiohttp would refuse as well without a library for them.
_UNKNOWN = frozenset({"br", "zstd", "compress", "x-compress"})
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_ZLIB_METHOD = 8  # RFC 1950: the low four bits of the first byte


def decoded(content: bytes, coding: str, max_bytes: int) -> bytes | None:
    """The decompressed content; null as soon as it is more than `max_bytes`.

    What is no coding at all says nothing and changes nothing. Raises `BrokenOffError`
    for damaged or cut content, `NotHttpError` for a coding that cannot be undone.
    """
    coding = coding.lower()
    if coding in _UNKNOWN or "," in coding:
        raise NotHttpError("its content coding was not asked for and is not known")
    if not content:
        return content
    if coding in {"gzip", "x-gzip"}:
        window = _GZIP_WINDOW
    elif coding == "deflate":
        # Some servers leave out zlib's wrapping (RFC 9110 section 8.4.1.2).
        wrapped = content[0] & 0x0F == _ZLIB_METHOD
        window = zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS
    else:
        return content
    inflate = zlib.decompressobj(window)
    try:
        found = inflate.decompress(content, max_bytes + 1)
    except zlib.error:
        raise BrokenOffError from None
    if len(found) > max_bytes:
        return None
    if not inflate.eof:
        raise BrokenOffError
    return found
