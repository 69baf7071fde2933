"""Campaign files: the tasks that they stand for, and every fault of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from r3d2_ros.campaign.file import load_campaign
from r3d2_ros.campaign.task import Task
from r3d2_ros.cli.main import build_parser
from r3d2_ros.errors import InputErrors
from tests.campaign.conftest import Place


def tasks_of(place: Place) -> dict[str, Task]:
    return {task.name: task for task in load_campaign(place.file).tasks}


def test_every_bag_with_every_configuration(place: Place) -> None:
    fine = "{file: sim/sim.yaml, set: {output.jpeg_quality: 99}, gpus: 1}"
    configurations = f"{{plain: {{file: sim/sim.yaml}}, fine: {fine}}}"
    place.write("replay: {rate: 10, cameras: [eye, side]}\nthreads: 3", configurations, a="done", b="done")
    tasks = tasks_of(place)
    assert list(tasks) == ["a.plain", "a.fine", "b.plain", "b.fine"]
    assert [(task.threads, task.gpus) for task in tasks.values()] == [(3, 0), (3, 1)] * 2
    args = build_parser("replay").parse_args(list(tasks["b.fine"].words))
    assert (args.bag, args.out) == (place.folder / "b", place.out / "tasks" / "b.fine")
    assert (args.config, args.rate) == (place.out / "configurations" / "fine.yaml", 10)
    assert args.cameras == "eye,side" and args.json and not args.overwrite
    assert tasks["a.fine"].options["output.jpeg_quality"] == 99
    assert "output.jpeg_quality" not in tasks["a.plain"].options
    read = {path.name for path in tasks["a.plain"].inputs}
    assert read == {"a", "wall.ply", "scene.yaml", "capture.csv", "assets.yaml", "car.ply", "two.yaml"}


def test_options_of_a_task_beat_those_of_its_bag_and_those_the_common_ones(place: Place) -> None:
    place.write(
        "bags: {a: {path: a, ego: /mine}}\n"
        "replay: {ego: /common, actors: none, every: 3}\n"
        "tasks:\n"
        "  one: {bag: a, configuration: plain, every: 5, bag_out: true, start: 0}\n"
        "  two: {kind: replay, bag: a, configuration: plain, ego: /own}\n"
    )
    text = place.file.read_text().replace("out: out\nbags:\n", "out: out\n")
    place.file.write_text(text)
    (place.folder / "a").write_text("done")
    tasks = tasks_of(place)
    one, two = (build_parser("replay").parse_args(list(tasks[name].words)) for name in ("one", "two"))
    assert (one.ego, one.actors, one.every, one.start) == ("/mine", "none", 5, 0.0)
    assert one.out == place.out / "tasks" / "one.mcap"
    assert (two.ego, two.every) == ("/own", 3)


def test_paths_are_relative_to_the_file(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place.write(a="done")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    campaign = load_campaign("../campaign.yaml")
    assert campaign.out == place.out and campaign.tasks[0].inputs[0] == place.folder / "a"


def test_every_fault_is_named_at_once(place: Place) -> None:
    place.write(
        "tasks: {x: {bag: a, configuration: none}, y: {bag: c, configuration: plain}}",
        "{plain: {file: sim/sim.yaml, set: {rendering.thread: 1}}, other: {file: no.yaml}}",
        a="done",
    )
    (place.folder / "a").unlink()
    with pytest.raises(InputErrors) as error:
        load_campaign(place.file)
    lines = str(error.value).splitlines()
    parts = ["bags.a: expected a bag", "configurations.plain: ", "configurations.other: ", "tasks.x.configuration: "]
    assert len(lines) == 5 and all(any(part in line for line in lines) for part in parts)
    assert "Did you mean 'threads'?" in str(error.value)
    assert "tasks.y.bag: expected one of the file: a, got 'c'" in str(error.value)


@pytest.mark.parametrize(
    ("replay", "parts"),
    [
        ("bag_out: true, format: mp4", ["--format: expected raw or jpg for a bag (.mcap), got mp4"]),
        ("format: raw", ["--format: expected jpg or png or mp4 for a folder, got raw"]),
        ("source_topics: [/tf]", ["--source-topics: expected an output bag"]),
        ("cameras: [eye, nosuch]", ["--cameras: expected names of cameras of the rig 'two': eye, side, got 'nosuch'"]),
        ("also: [mask, nosuch, x]", ["--also: expected some of rendered, mask, depth, instance, got 'nosuch', 'x'"]),
        ("cameras: [nosuch], format: raw", ["--format: expected", "--cameras: expected"]),
    ],
)
def test_options_that_no_task_could_use_are_named_before_anything_runs(
    place: Place, replay: str, parts: list[str]
) -> None:
    place.write(f"replay: {{{replay}}}", a="done", b="done")
    with pytest.raises(InputErrors) as error:
        load_campaign(place.file)
    lines = str(error.value).splitlines()
    where = f"{place.file}: replay, with configuration plain: "
    assert all(any(line.startswith(where + part) for line in lines) for part in parts)
    assert len(lines) == len(parts)  # not once for each bag
    place.write(f"tasks: {{x: {{bag: a, configuration: plain, {replay}}}}}", a="done")
    with pytest.raises(InputErrors) as error:
        load_campaign(place.file)
    assert all(f"{place.file}: tasks.x: {part}" in str(error.value) for part in parts)


def test_a_configuration_that_no_replay_can_use_is_named_before_anything_runs(place: Place) -> None:
    """A bag has no triggers."""
    place.write("", "{plain: {file: sim/sim.yaml, set: {sync.tick: trigger}}}", a="done")
    with pytest.raises(InputErrors, match="sync.tick: expected ego or rate"):
        load_campaign(place.file)
    place.write("replay: {rate: 2, also: [depth], bag_out: true}", "{plain: {file: sim/sim.yaml}}", a="done")
    assert len(load_campaign(place.file).tasks) == 1


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ("gpus: 2", "gpus: expected less than or equal to 1"),
        ("tries: 0", "tries: expected greater than or equal to 1"),
        ("timeout_s: .nan", "timeout_s"),
        ("retries: 3", "Did you mean 'tries'?"),
        ("replay: {rates: 3}", "Did you mean 'rate'?"),
        ("replay: {cameras: ['a,b']}", "replay.cameras.0"),
        ("tasks: {a.b: {bag: a, configuration: plain}}", "tasks.a.b"),
        ("tasks: {../x: {bag: a, configuration: plain}}", "tasks"),
        ("tasks: {x: {kind: dance, bag: a, configuration: plain}}", "kind: expected 'replay'"),
    ],
)
def test_wrong_keys_are_named(place: Place, keys: str, part: str) -> None:
    place.write(keys, a="done")
    with pytest.raises(InputErrors) as error:
        load_campaign(place.file)
    assert part in str(error.value) and str(place.file) in str(error.value)
