"""HTTP/1.1 to one origin: what the hot path needs and no more (docs/adr/0005)."""
