"""Stands in for `r3d2 scenario run`: the description of the scenario says what becomes of the run.

Adds a line to `begun.txt` beside the scenario for each start. Prints and writes what the command does, without driving.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import yaml

run = yaml.load(Path(sys.argv[3]).read_text(), Loader=yaml.CSafeLoader)
run_id, scenario = run["run_id"], run["configuration"]["scenario"]
out = Path(next(word for word in sys.argv if word.startswith("--out=")).removeprefix("--out="))
with (Path(run["folder"]) / "begun.txt").open("a") as file:
    file.write(run_id + "\n")
wish = scenario["description"]
if wish == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if wish == "refuse":
    sys.exit("r3d2 scenario: a fault of the input")

folder = out / "runs" / run_id
is_second = folder.exists()
folder.mkdir(parents=True, exist_ok=True)
verdict = ("passed" if is_second else "error") if wish == "error at first" else wish
value = None if verdict == "error" else 4.0
summary = {
    **{name: run[name] for name in ("run_id", "group", "variation")},
    "scenario": scenario["name"],
    "type": scenario["type"],
    "seed": run["configuration"]["seed"],
    "controller": "fake",
    "outcome": {"reason": "goal", "detail": "", "infrastructure": False, "t_s": 1.0},
    "deterministic": True,
    "digest": "",
    "commands": {"consumed": 0, "misses": 0, "refused": {}, "latency_ms": None},
    "collision": False,
    "scores": {name: {"value": value, "missing": [], "parts": {}} for name in ("neuroncap", "hd", "alpasim")},
    "verdict": verdict,
    "reasons": [] if verdict == "passed" else [f"it is {verdict}"],
}
(folder / "summary.json").write_text(json.dumps(summary))
print(json.dumps({"runs": [summary]}))
sys.exit({"passed": 0, "error": 2}.get(verdict, 1))
