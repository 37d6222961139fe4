"""Measurements; each prints how it was made."""
