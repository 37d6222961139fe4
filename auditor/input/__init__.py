"""Where references come from."""
