"""Tokens: what a service answers, and what a pasted one says, damaged or not."""
