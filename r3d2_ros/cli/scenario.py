"""`r3d2 scenario`: closed-loop runs of scenario files, their scores, verdicts and report."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from r3d2_ros.closed_loop.commands import Result, Say
    from r3d2_ros.closed_loop.interrupts import Interrupts

EXAMPLES = """examples:
  r3d2 scenario list                                          the shipped scenarios
  r3d2 scenario run stationary_parked_car --controller depth_aeb
  r3d2 scenario run my.yaml side_cyclist --seeds 10 --controller depth_aeb --out out/tonight --baseline out/yesterday
  r3d2 scenario run stationary_parked_car --stack depth_aeb   the same stack as a ROS 2 node of its own
  r3d2 scenario run my.yaml --stack-command "ros2 launch my_stack sim.launch.py" --max-age 0.1
  r3d2 scenario run my.yaml --no-stack --ros-args -r /tf:=/sim/tf
  r3d2 scenario check my.yaml                                 every fault of a scenario, and the runs that it means
  r3d2 scenario replay out/tonight/runs/my-s3                 the same run again from its log
  r3d2 scenario from-log drive.mcap --scene town --out drive.yaml --replace 12=bus --target 12
  r3d2 scenario report out/tonight                            report.html, results.json and junit.xml anew

A controller is built in and answers every frame set in this process: constant_velocity, depth_aeb, path_follower.
Exit status of run: 0 every run passed, 1 a criterion failed, a run is invalid or an input cannot be used, 2 a run broke
off or wrong arguments, 130 interrupted."""

FAILED, BROKEN = 1, 2


def add_parser(subparsers: Any) -> None:
    """Add `scenario` to the result of `ArgumentParser.add_subparsers`."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = subparsers.add_parser(
        "scenario", help="closed-loop runs and their scores", description=__doc__, epilog=EXAMPLES, formatter_class=raw
    )
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    run = commands.add_parser("run", help="run scenarios and score them")
    run.add_argument("scenarios", nargs="+", metavar="FILE", help="scenario files, or names of shipped ones")
    who = run.add_mutually_exclusive_group(required=True)
    who.add_argument("--controller", metavar="NAME", help="a built-in controller, in this process and without ROS")
    who.add_argument("--stack", metavar="NAME", help="an example stack over ROS 2: see r3d2 stack --help")
    who.add_argument("--stack-command", metavar="CMD", help="start this program as the stack, over ROS 2")
    who.add_argument("--no-stack", action="store_true", help="over ROS 2, with a stack that you start yourself")
    run.add_argument("--max-age", type=float, metavar="S", help="over ROS 2: in place of control.max_age_s")
    run.add_argument("--out", type=Path, metavar="DIR", help="folder of the results; without it, a new one in out/")
    run.add_argument("--seeds", type=int, metavar="N", help="run each with the seeds 0 to N-1 instead of its own")
    run.add_argument("--baseline", type=Path, metavar="DIR", help="results of an earlier time: list what is worse")
    run.add_argument("--resume", action="store_true", help="keep the finished runs of --out; other runs there stay")
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                     help="key of the simulator's configuration, as rig.source=surround6; can repeat")  # fmt: skip
    run.add_argument("--no-report", action="store_true", help="write the runs alone: no results of them together")
    run.add_argument("--json", action="store_true", help="print the results as JSON")
    listing = commands.add_parser("list", help="the shipped scenarios")
    listing.add_argument("--json", action="store_true", help="print as JSON")
    check = commands.add_parser("check", help="every fault of scenario files, with what they name")
    check.add_argument("scenarios", nargs="+", metavar="FILE")
    check.add_argument("--json", action="store_true", help="print as JSON")
    replay = commands.add_parser("replay", help="repeat a run from its log and compare")
    replay.add_argument("run", type=Path, metavar="RUN", help="folder of a run, or its run.jsonl")
    replay.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the repeated run")
    log = commands.add_parser("from-log", help="a scenario from a recorded drive (rosbag2)")
    log.add_argument("bag", type=Path, metavar="BAG")
    log.add_argument("--scene", required=True, metavar="S", help="'street', a Gaussian file or a scene folder")
    log.add_argument("--out", type=Path, required=True, metavar="FILE", help="scenario file to write")
    log.add_argument("--ego-topic", metavar="TOPIC", help="of the vehicle's poses; without it, the only candidate")
    log.add_argument("--actors-topic", metavar="TOPIC", help="of the actors; none: leave them out")
    log.add_argument("--start", type=float, default=0.0, metavar="S", help="begin so late in the drive")
    log.add_argument("--duration", type=float, metavar="S", help="of the part that is used")
    log.add_argument("--pass", type=int, default=1, metavar="N", dest="pass_number",
                     help="where the bag's time goes back: its N-th pass; without it, the first")  # fmt: skip
    log.add_argument("--anchor", choices=["none", "start"], default="none",
                     help="start: move the drive's beginning to where the scene's capture begins")  # fmt: skip
    log.add_argument("--hide", action="append", default=[], metavar="ID", help="leave an actor out; can repeat")
    log.add_argument("--replace", action="append", default=[], metavar="ID=ASSET", help="another asset; can repeat")
    log.add_argument("--target", default="", metavar="ID", help="the actor that scores are about")
    log.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                     help="key of the simulator's configuration; can repeat")  # fmt: skip
    report = commands.add_parser("report", help="score the runs of a folder anew and write its report")
    report.add_argument("folder", type=Path, metavar="DIR")
    report.add_argument("--baseline", type=Path, metavar="DIR", help="results of an earlier time")


def run(args: argparse.Namespace) -> int:
    """Run the action and return the exit status. InputError(s) for what cannot be used."""
    from r3d2_ros.closed_loop.interrupts import Interrupts

    with Interrupts() as interrupts:
        result = _result(args, interrupts)
    if getattr(args, "json", False):
        print(json.dumps(result.data, indent=2, allow_nan=False))
    elif result.text:
        print(result.text)
    return result.status


def _result(args: argparse.Namespace, interrupts: Interrupts) -> Result:
    from r3d2_ros.closed_loop import commands

    if args.action == "run":
        start = commands.run_scenarios if args.controller is not None else _run_over_ros
        return start(args, _say, interrupts)
    actions = {
        "list": commands.list_scenarios,
        "check": commands.check_scenarios,
        "replay": commands.replay_run,
        "from-log": commands.from_log,
        "report": _report,
    }
    return actions[args.action](args, _say)


def _report(args: argparse.Namespace, say: Say) -> Result:
    from r3d2_ros.campaign.scenario_results import is_scenario_campaign, write_campaign_results
    from r3d2_ros.closed_loop import commands
    from r3d2_ros.closed_loop.results import exit_code, read_results

    if not is_scenario_campaign(args.folder):
        return commands.report_folder(args, say)
    baseline = None if args.baseline is None else read_results(args.baseline)
    results = write_campaign_results(args.folder, baseline=baseline, anew=True, say=say)
    return commands.Result(exit_code(results["runs"]), commands.results_text(args.folder, results), results)


def _run_over_ros(args: argparse.Namespace, say: Say, interrupts: Interrupts) -> Result:
    from r3d2_ros.cli.scenario_stack import run_over_ros

    return run_over_ros(args, say, interrupts)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
