"""How long a test waits for what happens by itself.

A limit only ends what hangs: no machine is so busy that a test reaches it. Nothing is
timed here (docs/development/performance.md has what is), and a test that needs a
shorter limit waits for the wrong thing.
"""

HANG_S = 900.0
