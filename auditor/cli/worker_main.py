"""`python -m auditor.cli.worker_main FD audit ...`: an audit that ends with its parent.

FD is the reading end of a pipe; the parent keeps the other end open. The kernel closes
that end when the parent ends, even if it is killed: then the run leaves no process that
goes on with requests, and no lock that the next run waits for.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from auditor.cli import early_signals


def _end_with_parent(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    # The first signal stops the run gracefully, which may take some seconds; the second
    # ends it at once, with every finished line written.
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)


if __name__ == "__main__":
    pipe = int(sys.argv.pop(1))
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    early_signals.install()
    from auditor.cli.main import main

    main()
