"""Pure protocol code: no I/O, no clock, no randomness, no aiohttp, no anyio."""
