"""Stands in for `r3d2`: does what the text of the bag says. Adds a line to `begun.txt` beside the bag for each start.

Prints a summary as `r3d2 replay --json` does, with what it sees of its environment.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

bag, out = Path(sys.argv[2]), Path(sys.argv[sys.argv.index("--out") + 1])
with (bag.parent / "begun.txt").open("a") as file:
    file.write(out.name + "\n")
first = not out.exists()
out.mkdir(exist_ok=True)
wish = bag.read_text().split("\n")[0]

if wish == "segfault":
    os.kill(os.getpid(), signal.SIGSEGV)
elif wish == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
elif wish == "raise":
    raise ZeroDivisionError("a fault of the program")
elif wish == "refuse":
    sys.exit("r3d2 replay: /tf: expected poses, got none")
elif wish == "hang" or (wish == "hang at first" and first):
    time.sleep(600)
elif wish == "fail at first" and first:
    sys.exit(7)

is_partly = wish == "partly"
missing = {"ego.gap": 1} if is_partly else {}
frame_sets = {"asked_for": 5, "done": 5 - len(missing), "missing": missing, "not_begun": 0}
seen = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
print(json.dumps({"frame_sets": frame_sets, "unreadable": [], "fault": "", "seen": seen}))
sys.exit(3 if is_partly else 0)
