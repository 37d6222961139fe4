"""aiohttp: the only place that imports its client, loaded when it is needed."""
