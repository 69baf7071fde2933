"""Everything that needs a GPU, step by step: `PYTHON tests/gpu/run.py --json FILE`.

FILE is whole at every moment and has what each step came to; the same as tables is beside it, ending in .md. A command
takes at most --limit-s; what it does not get to, the next one with the same FILE goes on with. No ROS, no network.
Exit code: 0 all that was asked for is done, 1 something failed, 2 CUDA does not work, 3 out of time, run it again.
"""

from __future__ import annotations

import argparse
import datetime
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # The folder of this script must not shadow packages.
# As many compilers at a time as there are processors; gsplat's own limit is 10.
os.environ.setdefault("MAX_JOBS", str(os.cpu_count() or 1))

from r3d2_ros.bench.machine import machine_facts  # noqa: E402
from tests.gpu import report as states  # noqa: E402
from tests.gpu.machine import REHEARSAL, cuda_fault, package_faults  # noqa: E402
from tests.gpu.markdown import fragment  # noqa: E402
from tests.gpu.report import OutOfTimeError, Part, Report  # noqa: E402
from tests.gpu.steps import BY_NAME, GSPLAT_BUILD, NEEDS_GSPLAT, STEPS, Step, StepError  # noqa: E402

DONE, FAILED, NO_CUDA, UNFINISHED = 0, 1, 2, 3
LIMIT_S = 570.0
RESERVE_S = 8.0
"""A step is to end by itself so long before its time is over, when it is killed."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.list:
        for step in STEPS:
            print(f"{step.name:17} {step.what}; about {step.expected_s:.0f} s")
        return DONE
    if options.child:
        return run_child(options)
    begin = time.monotonic()
    report = Report(options.json)
    device = "cpu" if options.rehearse else "cuda:0"
    fault = package_faults() or ("" if options.rehearse else cuda_fault())
    report.data["fault"] = fault or None
    report.data["rehearsal"] = options.rehearse
    report.data["machine"] = machine_facts(None if fault else device)
    report.data["commands"].append({"date": _now(), "steps": options.steps, "limit_s": options.limit_s})
    report.write()
    if fault:
        print(f"cannot run here: {fault}", file=sys.stderr)
        return NO_CUDA
    for name, value in report.data["machine"].items():
        print(f"{name}: {value}", flush=True)
    # A terminated command must end its step too.
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(UNFINISHED))
    try:
        for step in chosen(options, report):
            left_s = options.limit_s - (time.monotonic() - begin)
            if not options.rehearse and left_s < step.least_s:
                print(f"{step.name}: not begun, {left_s:.0f} s left and it needs {step.least_s:.0f} s", flush=True)
                continue
            _run_step(step, options, report, left_s)
    finally:
        signal.signal(signal.SIGTERM, before)
    tables = options.json.with_suffix(".md")
    tables.write_text(fragment(report.data))
    print(fragment(report.data, details=False), f"All of it: {tables}", sep="\n")
    return exit_code(options, report)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("out/gpu.json"), metavar="FILE", help="%(default)s")
    parser.add_argument("--steps", metavar="A,B", help="these, in this order; without it all that are not done")
    parser.add_argument("--again", action="store_true", help="also what is done; its rows are measured anew")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="time of the whole command (%(default)g)")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="trained R3D2 weights instead of random ones")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, everything small: does it run at all?")
    parser.add_argument("--list", action="store_true", help="the steps and how long they take")
    parser.add_argument("--child", metavar="STEP", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = [name for name in _names(options) if name not in BY_NAME]
    if unknown:
        parser.error(f"--steps: expected names of {', '.join(BY_NAME)}, got {', '.join(unknown)}")
    return options


def _names(options: argparse.Namespace) -> list[str]:
    return [name.strip() for name in (options.steps or "").split(",") if name.strip()] or list(BY_NAME)


def chosen(options: argparse.Namespace, report: Report) -> list[Step]:
    """The steps of this command: those asked for that are not done, and the build of gsplat before the first that
    needs it."""
    names = [name for name in _names(options) if options.again or report.state(name) != states.DONE]
    if "quality" in names and options.checkpoint is None:
        names.remove("quality")
        report.update("quality", state=states.SKIPPED, fault="needs trained weights: --checkpoint")
    first = next((k for k, name in enumerate(names) if name in NEEDS_GSPLAT), None)
    if first is not None:
        before = [name for name in names[:first] if name != GSPLAT_BUILD]
        names = [*before, GSPLAT_BUILD, *(name for name in names[first:] if name != GSPLAT_BUILD)]
    return [BY_NAME[name] for name in names]


def _run_step(step: Step, options: argparse.Namespace, report: Report, left_s: float) -> None:
    """In a process of its own, whose crash or memory is nobody else's; its state stands in the report afterwards."""
    print(f"\n=== {step.name}: {step.what} ({left_s:.0f} s left)", flush=True)
    before = report.step(step.name)
    if options.again or step.name == GSPLAT_BUILD:
        before["rows"] = {}
    report.update(step.name, state=states.RUNNING, fault=None)
    start = time.monotonic()
    code = _wait(_child_command(step, options, left_s), left_s, rehearsal=options.rehearse)
    report.reload()
    after = report.step(step.name)
    if code is None:
        after |= {"state": states.PARTIAL, "fault": f"stopped: its time of {left_s:.0f} s was over"}
    elif code != 0:
        after |= {"state": states.FAILED, "fault": f"the process ended with {_exit_text(code)}"}
    after["seconds"] = round(before.get("seconds", 0.0) + time.monotonic() - start, 3)
    report.write()
    print(f"=== {step.name}: {after['state']} {after.get('fault') or ''}", flush=True)


def _exit_text(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"


def _child_command(step: Step, options: argparse.Namespace, left_s: float) -> list[str]:
    command = [sys.executable, str(Path(__file__).resolve()), "--child", step.name, "--json", str(options.json)]
    command += ["--limit-s", f"{left_s:.1f}"]
    command += ["--checkpoint", str(options.checkpoint)] if options.checkpoint else []
    return command + (["--rehearse"] if options.rehearse else [])


def _wait(command: Sequence[str], seconds: float, *, rehearsal: bool) -> int | None:
    """The exit code, None where the time was over. The process and what it started are ended in any case."""
    environment = os.environ | ({REHEARSAL: "1"} if rehearsal else {})
    # A group and not a session: what a killed command leaves behind must not go on holding the GPU.
    with subprocess.Popen(command, env=environment, cwd=ROOT, process_group=0) as child:
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)


def run_child(options: argparse.Namespace) -> int:
    """One step, in this process."""
    import torch

    from tests.gpu.setting import Setting

    step, report = BY_NAME[options.child], Report(options.json)
    setting = Setting(
        device=torch.device("cpu" if options.rehearse else "cuda:0"),
        rehearsal=options.rehearse,
        deadline_s=time.monotonic() + options.limit_s - (0.0 if options.rehearse else RESERVE_S),
        checkpoint=options.checkpoint,
    )
    part = Part(report, step.name)
    state: dict[str, Any] = {"state": states.DONE, "fault": None}
    try:
        step.work(setting, part)
    except OutOfTimeError as error:
        state = {"state": states.PARTIAL, "fault": str(error)}
    except StepError as error:
        state = {"state": states.FAILED, "fault": str(error)}
    except Exception as error:
        traceback.print_exc()
        state = {"state": states.FAILED, "fault": f"{type(error).__name__}: {error}"[:1000]}
    report.update(step.name, **state)
    return DONE


def exit_code(options: argparse.Namespace, report: Report) -> int:
    """Of the steps asked for: 1 for a failure or a row with a fault, 3 for one that is not complete."""
    found = {name: report.data["steps"].get(name, {}) for name in _names(options)}
    faults = [name for name, step in found.items() if any("fault" in row for row in _rows(step))]
    failed = [name for name, step in found.items() if step.get("state") == states.FAILED]
    for name in dict.fromkeys([*failed, *faults]):
        print(f"FAILED {name}: {found[name].get('fault') or 'a row has a fault'}", file=sys.stderr)
    if failed or faults:
        return FAILED
    complete = (states.DONE, states.SKIPPED)
    return DONE if all(step.get("state") in complete for step in found.values()) else UNFINISHED


def _rows(step: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in step.get("rows", {}).values() if isinstance(row, dict)]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main())
