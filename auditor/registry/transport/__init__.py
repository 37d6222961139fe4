"""Connections: the registry's own client, the library's, TLS, and what can fail."""
