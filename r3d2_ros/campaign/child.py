"""The process of a task: runs a command line of `r3d2`, and ends when the process that started it has gone.

Without that, a task whose worker was killed would go on writing beside its next try.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from r3d2_ros.cli.main import main

GRACE_S = 10.0


def _end_with_parent() -> None:
    """The parent holds the other end of stdin as long as it lives."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)  # as from the parent: what was begun is finished
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main(sys.argv[1:]))
