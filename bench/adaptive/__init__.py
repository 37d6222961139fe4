"""How many requests at once an audit finds for a registry by itself.

`hosts` says, without network or clock, when a simulated registry answers; `server`
serves one over loopback, from a process of its own; `__main__` audits each with the
defaults and with fixed settings, and prints the table.
"""
