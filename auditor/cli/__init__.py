"""The command line, `auditor COMMAND`: parse, call, print.

`auditor.__main__` installs signal handlers (early_signals.py) and imports `main.py`,
which finds the command by name in `NAME_command.py` and turns errors into messages and
exit codes. A command takes options from the table in `auditor.config`, resolves the
settings, and runs a coroutine, which also starts logging (logs.py); what all commands
need for that is in command_support.py. Results go to standard output (output.py),
messages to standard error (`output.print_message`).

`audit` handles signals itself (signals.py) and has a second form for several processes
or machines (sharded_audit.py). The classes of the JSON that commands print
are listed in schema_command.py.
"""
