"""`auditor doctor`: the way of one reference, a step at a time, and what to try next.

Every step is what an audit does, by the same code; only TCP and TLS are tried once
more than an audit would, to see them alone.
"""
