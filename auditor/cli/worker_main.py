"""`python -m auditor.cli.share_of FD audit ...`: an auditor that ends with its parent.

FD is the reading end of a pipe of which whoever started this holds the other one. The
kernel closes that with its last holder, however that ends: a run that was killed leaves
no process that goes on asking, and no lock that the next run has to wait for.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from auditor.cli.start import main


def _end_with(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    # The first ends in good order, which may take some seconds; the second at once,
    # with every finished line.
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)


if __name__ == "__main__":
    threading.Thread(
        target=_end_with, args=(int(sys.argv.pop(1)),), daemon=True
    ).start()
    main()
