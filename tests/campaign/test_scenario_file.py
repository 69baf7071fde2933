"""Campaign files of closed-loop runs: the tasks that they stand for, what decides their results, every fault of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from r3d2_ros.campaign.file import load_campaign, results_folder
from r3d2_ros.campaign.scenarios import given, judge_scenario
from r3d2_ros.campaign.task import Task
from r3d2_ros.cli.main import build_parser
from r3d2_ros.closed_loop import runs
from r3d2_ros.closed_loop.runs import load_runs
from r3d2_ros.closed_loop.scenario import Scenario
from r3d2_ros.errors import InputError, InputErrors
from tests.closed_loop.small_world import spec
from tests.closed_loop.worlds import write_world

STACKS = "stacks: {aeb: {controller: depth_aeb}, mine: {command: sleep 5, max_age: 0.1, version: 7}}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    return folder


def write(world: Path, text: str) -> Path:
    path = world / "campaign.yaml"
    path.write_text(f"out: out\n{text}\n")
    return path


def tasks_of(world: Path, text: str) -> dict[str, Task]:
    return {task.name: task for task in load_campaign(write(world, text)).tasks}


def varied(world: Path, name: str, vary: str) -> None:
    (world / name).write_text((world / "parked.yaml").read_text() + f"vary: {vary}\n")


def test_every_run_of_every_scenario_with_every_stack_and_configuration(world: Path) -> None:
    varied(world, "many.yaml", "{asset: [car, truck], speed_mps: [8, 10]}")
    few = "{few: {set: {output.jpeg_quality: 80}, threads: 3, gpus: 0.5}, plain: {}}"
    text = f"scenarios: [parked.yaml, many.yaml]\n{STACKS}\nconfigurations: {few}\nthreads: 2"
    tasks = tasks_of(world, text)
    names = ["parked-s0", *(f"many-{asset}-v{speed}-s0" for asset in ("car", "truck") for speed in (8, 10))]
    assert sorted(tasks) == sorted(f"{r}.{s}.{c}" for r in names for s in ("aeb", "mine") for c in ("few", "plain"))
    one, other = tasks["many-truck-v8-s0.mine.few"], tasks["many-truck-v8-s0.mine.plain"]
    assert (one.threads, one.gpus, other.threads, other.gpus) == (3, 0.5, 2, 0)
    assert one.options["sim.output.jpeg_quality"] == 80 and "sim.output.jpeg_quality" not in other.options
    assert one.options["actors.0.asset"] == "truck" and one.options["ego.speed_mps"] == 8
    assert (one.options["version of the stack"], one.options["driver"]) == ("7", "stack sleep 5")
    assert one.unset == ("ROS_DOMAIN_ID",) and tasks["parked-s0.aeb.few"].unset == ()
    assert {"scene.ply", "car.ply", "lane_map.yaml", "labels.npy", "rig.yaml"} <= {path.name for path in one.inputs}


def test_the_command_of_a_task_does_its_run(world: Path) -> None:
    """What the file of a run holds is the run that the scenario stands for, with the name of the task."""
    path = write(world, f"scenarios: [parked.yaml]\n{STACKS}\nseeds: 2")
    campaign = load_campaign(path)
    for file, data in campaign.files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    task = next(task for task in campaign.tasks if task.name == "parked-s1.mine")
    args = build_parser("scenario").parse_args(list(task.words))
    assert (args.stack_command, args.max_age, args.out) == ("sleep 5", 0.1, world / "out")
    assert args.resume and args.no_report and args.json and args.seeds is None
    (run,) = load_runs(args.scenarios[0])
    (plain,) = load_runs(world / "parked.yaml")
    assert run == replace(
        plain, run_id="parked-s1.mine", group="mine", seed=1, variation={"seed": 1}, where=args.scenarios[0]
    )
    assert task.out == world / "out" / "runs" / "parked-s1.mine"
    assert results_folder(path) == world / "out"


def test_a_folder_stands_for_its_scenarios_and_a_name_for_a_shipped_one(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (world / "parked.yaml").read_text().replace("road", f"{world}/road").replace("rig.yaml", f"{world}/rig.yaml")
    for path in (world / "some" / "b.yaml", world / "some" / "a.yaml", tmp_path / "scenarios" / "shipped.yaml"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(runs, "config_dir", lambda: tmp_path)
    tasks = tasks_of(world, "scenarios: [some, shipped]\nstacks: {aeb: {controller: depth_aeb}}")
    assert list(tasks) == ["a-s0.aeb", "b-s0.aeb", "shipped-s0.aeb"]


def test_what_is_left_at_its_default_is_not_listed() -> None:
    """By hand: what `small_world.spec` gives, and a list that is too long to be shown."""
    points = [[float(x), 0.0] for x in range(100)]
    scenario = spec(ego={"reference": {"points": points}, "speed_mps": 10.0}).scenario
    values = dict(given(scenario))
    shown = values.pop("ego.reference.points")
    assert values == {"name": "test", "ego.speed_mps": 10.0, "end.duration_s": 6.0, "phases.warmup_s": 0.5}
    assert isinstance(shown, str) and shown.startswith("100 values (") and isinstance(scenario, Scenario)


def test_every_fault_is_named_at_once(world: Path) -> None:
    (world / "bad.yaml").write_text((world / "parked.yaml").read_text().replace("asset: car", "asset: tank"))
    path = write(
        world,
        "scenarios: [bad.yaml, nowhere.yaml]\n"
        "stacks: {a: {controller: aeb}, b: {stack: aeb}, c: {command: no-such-program-here}}\n"
        "configurations: {plain: {}, odd: {set: {rig.sauce: x}}}",
    )
    with pytest.raises(InputErrors) as error:
        load_campaign(path)
    said = str(error.value)
    assert len(said.splitlines()) == 6
    for part in (
        "bad.yaml: actors.0.asset: expected one of car, truck, got 'tank'",
        "scenarios.1: scenario: expected a scenario file or one of ",
        "stacks.a: controller: expected one of constant_velocity, depth_aeb, path_follower, got 'aeb'",
        "stacks.b: --stack: expected one of constant_velocity, depth_aeb, timer_driver, got 'aeb'",
        "stacks.c: --stack-command: expected a program that can be started, got 'no-such-program-here'",
        "configurations.odd: rig.sauce: expected one of the keys source",
    ):
        assert part in said


def test_a_rig_that_is_not_there_names_the_scenario(world: Path) -> None:
    (world / "no_rig.yaml").write_text((world / "parked.yaml").read_text().replace("rig.yaml", "rigg.yaml"))
    with pytest.raises(InputErrors) as error:
        load_campaign(write(world, "scenarios: [no_rig.yaml]\nstacks: {a: {controller: depth_aeb}}"))
    (fault,) = str(error.value).splitlines()
    assert "no_rig.yaml" in fault and "rigg.yaml" in fault


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("scenarios: []\nstacks: {a: {controller: depth_aeb}}", "scenarios: expected"),
        ("scenarios: [parked.yaml]", "stacks: expected"),
        ("scenarios: [parked.yaml]\nstacks: {a: {}}", "one of controller, stack and command"),
        ("scenarios: [parked.yaml]\nstacks: {a: {controller: depth_aeb, max_age: 1}}", "no max_age for a controller"),
        ("scenarios: [parked.yaml]\nbags: {a: a}\nstacks: {}", "expected either 'bags' or 'scenarios', got both"),
        ("scenarios: [parked.yaml]\nstacks: {a: {controller: depth_aeb}}\nseeds: 0", "seeds: expected 1 to 10000"),
        (
            "scenarios: [parked.yaml, ./parked.yaml]\nstacks: {a: {controller: depth_aeb}}",
            "expected run ids that differ, got parked-s0.a more than once",
        ),
        ("scenarios: [parked.yaml]\nstacks: {a.b: {controller: depth_aeb}}", "stacks.a.b"),
    ],
)
def test_what_cannot_be_used(world: Path, text: str, part: str) -> None:
    with pytest.raises((InputError, InputErrors)) as error:
        load_campaign(write(world, text))
    assert part in str(error.value)


@pytest.mark.parametrize(
    ("status", "verdict", "state"),
    [(0, "passed", "done"), (1, "failed", "done"), (1, "invalid", "done"), (2, "error", "failed")],
)
def test_a_verdict_finishes_a_task_and_a_run_that_broke_off_does_not(status: int, verdict: str, state: str) -> None:
    run = {
        "verdict": verdict, "reasons": ["x"], "digest": "", "scores": {"hd": {"value": 0.5}},
        "outcome": {"reason": "goal", "detail": ""},
    }  # fmt: skip
    judged = judge_scenario(status, {"runs": [run]})
    assert judged is not None and judged.state == state
    assert judged.reason == ("x" if state == "failed" else "")


@pytest.mark.parametrize(("status", "result"), [(1, None), (2, None), (130, {"runs": [{}]}), (-9, None), (1, {})])
def test_an_end_without_results_is_a_failure(status: int, result: dict | None) -> None:
    assert judge_scenario(status, result) is None
