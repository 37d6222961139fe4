"""Kinds of option values, for the table of options and for policies."""
