"""The services of simulation_interfaces over DDS; they need that package. What they decide is tested without it."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from geometry_msgs.msg import Point, Quaternion, Vector3
from r3d2_ros.msg import ActorArray

from r3d2_ros.closed_loop.run_control import MAX_WAITING, Stopped
from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.nodes.qos import reliable
from tests.closed_loop.small_world import parked
from tests.closed_loop_ros.harness import Run, TestStack, steady, tiny_plan
from tests.nodes.harness import wait_for

# Without the package


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simulation_interfaces.srv", None)


def test_required_and_missing_is_an_error(tmp_path: Path, no_package: None) -> None:
    with pytest.raises(MissingPackageError, match=r"required needs .* apt install ros-\$ROS_DISTRO-simulation-interf"):
        Run(tmp_path / "run.jsonl", tiny_plan(), parameters={"simulation_interfaces": "required"})


def test_missing_is_said_in_one_line_and_the_run_goes_on(
    tmp_path: Path, no_package: None, capfd: pytest.CaptureFixture[str]
) -> None:
    with TestStack() as stack, Run(tmp_path / "run.jsonl", tiny_plan()) as run:
        assert run.wait().reason == "duration"
        names = {name for name, _ in stack.node.get_service_names_and_types()}
    assert "/closed_loop_node/step" in names and "/closed_loop_node/spawn_entity" not in names
    assert capfd.readouterr().err.count("simulation_interfaces is not installed") == 1


def test_another_word_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one of auto, required, none, got 'yes'"):
        Run(tmp_path / "run.jsonl", tiny_plan(), parameters={"simulation_interfaces": "yes"})


# With it


class Client:
    """Calls services of the node, and its action."""

    def __init__(self, stack: TestStack) -> None:
        reason = "no package simulation_interfaces (apt install ros-$ROS_DISTRO-simulation-interfaces)"
        self.srv: Any = pytest.importorskip("simulation_interfaces.srv", reason=reason)
        self.msg: Any = pytest.importorskip("simulation_interfaces.msg", reason=reason)
        self.stack = stack

    def send(self, kind: str, **fields: Any) -> Any:
        """The future of an answer."""
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in kind).lstrip("_")
        client = self.stack.node.create_client(getattr(self.srv, kind), f"/closed_loop_node/{snake}")
        assert client.wait_for_service(20.0), f"no service {snake}"
        return client.call_async(getattr(self.srv, kind).Request(**fields))

    def call(self, kind: str, **fields: Any) -> Any:
        future = self.send(kind, **fields)
        wait_for(future.done, f"the answer of {kind}")
        return future.result()

    def code(self, kind: str, **fields: Any) -> int:
        return self.call(kind, **fields).result.result

    def spawn(self, name: str, uri: str = "car", **fields: Any) -> Any:
        return self.call("SpawnEntity", **self.spawn_fields(self.srv.SpawnEntity.Request, name, uri, **fields))

    def spawn_fields(
        self, kind: Any, name: str, uri: str, *, x: float = 0, y: float = 0, resource_string: str = "", **fields: Any
    ) -> dict[str, Any]:
        """Of a message of `kind`. 1.x has the resource in the request itself, and apart in the entries of a list."""
        from geometry_msgs.msg import PoseStamped

        pose = PoseStamped()
        pose.pose.position.x, pose.pose.position.y = float(x), float(y)
        resource = {"uri": uri, "resource_string": resource_string}
        if hasattr(kind(), "entity_resource"):
            resource = {"entity_resource": self.msg.Resource(**resource)}
        return {"name": name, "initial_pose": pose, **resource, **fields}

    def names(self, **filters: Any) -> list[str]:
        return self.call("GetEntities", filters=self.msg.EntityFilters(**filters)).entities

    def state(self) -> int:
        return self.call("GetSimulationState").state.state

    def set_state(self, state: int) -> int:
        return self.code("SetSimulationState", state=self.msg.SimulationState(state=state))


@pytest.fixture
def stack() -> Iterator[TestStack]:
    with TestStack() as made:
        yield made


@pytest.fixture
def client(stack: TestStack) -> Client:
    return Client(stack)


STOPPED, PLAYING, PAUSED, QUITTING = range(4)
OK, FAILED = 1, 4


def paused(tmp_path: Path, duration_s: float = 20.0, **keys: Any) -> Run:
    """A run that waits before its first tick."""
    planned = tiny_plan(end={"duration_s": duration_s}, actors=[parked(150.0, 6.0)], **keys)
    run = Run(tmp_path / "run.jsonl", planned)
    run.control.pause(True)
    return run


def test_features_are_those_that_answer(tmp_path: Path, client: Client) -> None:
    with paused(tmp_path):
        features = list(client.call("GetSimulatorFeatures").features.features)
        spawnables = client.call("GetSpawnables", sources=["/models"])
    kind = client.msg.SimulatorFeatures
    assert {kind.SPAWNING, kind.DELETING, kind.ENTITY_STATE_SETTING, kind.STEP_SIMULATION_ACTION} <= set(features)
    assert not {kind.SPAWNING_RESOURCE_STRING, kind.SIMULATION_RESET_TIME, kind.ENTITY_INFO_SETTING} & set(features)
    assert (getattr(kind, "SPAWNING_ENTITIES", 50) in features) == hasattr(client.srv, "SpawnEntities")
    uris = [getattr(s, "entity_resource", s).uri for s in spawnables.spawnables]
    assert uris == ["asset:car", "asset:truck"] and "/models" in spawnables.result.error_message


def test_spawn_see_move_and_delete_in_a_paused_run(tmp_path: Path, client: Client) -> None:
    """Everything is answered at once; the stack sees it in the frame set of the next step."""
    seen: list[ActorArray] = []
    client.stack.node.create_subscription(ActorArray, "/closed_loop_node/actors", seen.append, reliable(1000))
    with paused(tmp_path):
        assert client.state() == PAUSED
        assert client.code("StepSimulation", steps=2) == OK
        wait_for(lambda: len(client.stack.frame_sets) == 2, "two frame sets")
        assert client.spawn("box", "asset:truck", x=30.0, y=2.0).entity_name == "box"
        assert client.spawn("box").result.result == 101
        assert client.spawn("box", allow_renaming=True).entity_name == "box_1"
        assert client.spawn("other", "tank").result.result == 107
        assert client.spawn("other", "").result.result == 104
        assert client.spawn("other", "", resource_string="<sdf/>").result.result == 0
        assert client.spawn("other", x=math.nan).result.result == 109
        assert client.code("DeleteEntity", entity="box_1") == OK
        assert client.code("DeleteEntity", entity="box_1") == 2
        assert client.names() == ["ego", "target", "box"]
        state = client.msg.EntityState()
        state.pose.position = Point(x=40.0, y=2.0)
        state.pose.orientation = Quaternion(z=1.0, w=0.0)
        state.twist.linear = Vector3(x=-10.0)
        has_flags = hasattr(client.srv.SetEntityState.Request(), "set_pose")
        flags = {"set_pose": True, "set_twist": True} if has_flags else {}
        assert client.code("SetEntityState", entity="box", state=state, **flags) == OK
        assert client.code("SetEntityState", entity="nobody", state=state, **flags) == 2
        state.pose.orientation.z = 0.0
        assert client.code("SetEntityState", entity="box", state=state, **flags) == 101
        assert client.code("StepSimulation", steps=3) == OK
        wait_for(lambda: len(client.stack.frame_sets) == 5, "five frame sets")
        answer = client.call("GetEntityState", entity="box")
        last = client.stack.frame_sets[-1]
    assert answer.result.result == OK
    assert answer.state.header.stamp == last.header.stamp and answer.state.header.frame_id == "map"
    # In the start-up the world stands; the last one or two of the three steps are in scenario time.
    assert answer.state.pose.position.x <= 40.0 - 10.0 * 0.02 + 1e-9
    assert answer.state.twist.linear.x == pytest.approx(-10.0)
    wait_for(lambda: any(actor.id == "box" for message in seen for actor in message.actors), "the actor on its topic")


def test_queries(tmp_path: Path, client: Client) -> None:
    with paused(tmp_path):
        client.spawn("box", x=30.0, y=2.0)
        assert client.names(filter="^b") == ["box"]
        assert client.names(categories=[client.msg.EntityCategory(category=1)]) == ["ego"]
        assert client.names(tags=client.msg.TagsFilter(tags=["spawned", "car"], filter_mode=1)) == ["box"]
        points = [Vector3(x=31.0, y=2.0), Vector3(x=5.0)]
        assert client.names(bounds=client.msg.Bounds(type=3, points=points)) == ["box"]
        hull = client.msg.EntityFilters(bounds=client.msg.Bounds(type=2))
        assert client.code("GetEntities", filters=hull) == 0
        assert client.code("GetEntities", filters=client.msg.EntityFilters(filter="(")) == FAILED
        states = client.call("GetEntitiesStates", filters=client.msg.EntityFilters(filter="box|target"))
        assert [s.pose.position.x for s in states.states] == [150.0, 30.0] and states.entities == ["target", "box"]
        info = client.call("GetEntityInfo", entity="target").info
        assert info.category.category == 4 and info.tags == ["car", "scenario"]
        bounds = client.call("GetEntityBounds", entity="target").bounds
        assert [(p.x, p.y, p.z) for p in bounds.points] == [(2.0, 1.0, 1.5), (-2.0, -1.0, 0.0)]
        for kind in ("GetEntityState", "GetEntityInfo", "GetEntityBounds"):
            assert client.code(kind, entity="nobody") == 2


def test_several_at_once(tmp_path: Path, client: Client) -> None:
    if not hasattr(client.srv, "SpawnEntities"):
        pytest.skip("simulation_interfaces is older than its SpawnEntities")
    with paused(tmp_path):
        kind = client.msg.SpawnEntity
        wanted = [kind(**client.spawn_fields(kind, name, uri)) for name, uri in (("a", "car"), ("b", "no"))]
        answer = client.call("SpawnEntities", spawn_requests=wanted)
        assert answer.result.result == 150
        assert [result.result.result for result in answer.results] == [OK, 107]
        assert client.names() == ["ego", "target", "a"]


def test_states_steps_and_resets(tmp_path: Path, client: Client) -> None:
    with paused(tmp_path) as run:
        assert client.set_state(PLAYING) == OK and client.state() == PLAYING
        assert client.set_state(PLAYING) == 101
        assert client.code("StepSimulation", steps=1) == FAILED
        wait_for(lambda: run.phase == "drive", "the drive")
        assert client.set_state(STOPPED) == OK and client.state() == STOPPED
        assert run.phase == "startup"
        assert client.code("StepSimulation", steps=0) == FAILED
        client.spawn("box", x=30.0)
        assert client.code("ResetSimulation", scope=3) == OK and client.names() == ["ego", "target", "box"]
        assert client.code("ResetSimulation", scope=4) == OK and client.names() == ["ego", "target"]
        assert client.code("ResetSimulation", scope=1) == 0
        client.spawn("box", x=30.0)
        assert client.code("ResetSimulation", scope=0) == OK and client.names() == ["ego", "target"]
        assert client.set_state(4) == 0
        assert client.set_state(QUITTING) == OK
        with pytest.raises(Stopped, match="a request to quit"):
            run.wait()


def test_the_action_steps_reports_and_is_cancelled(tmp_path: Path, client: Client) -> None:
    from rclpy.action import ActionClient

    kind = pytest.importorskip("simulation_interfaces.action").SimulateSteps
    feedback: list[tuple[int, int]] = []

    def done(steps: int, cancel: bool = False) -> tuple[int, int]:
        """(status, code)."""

        def heard(message: Any) -> None:
            feedback.append((message.feedback.completed_steps, message.feedback.remaining_steps))

        sent = action.send_goal_async(kind.Goal(steps=steps), feedback_callback=heard)
        wait_for(sent.done, "the goal's acceptance")
        handle = sent.result()
        assert handle is not None and handle.accepted
        result = handle.get_result_async()
        if cancel:
            wait_for(lambda: len(feedback) > 1, "feedback")
            handle.cancel_goal_async()
        wait_for(result.done, "the result")
        answer: Any = result.result()
        return answer.status, answer.result.result.result

    succeeded, cancelled, aborted = 4, 5, 6
    with paused(tmp_path) as run:
        action = ActionClient(client.stack.node, kind, "/closed_loop_node/simulate_steps")
        assert action.wait_for_server(20.0)
        assert done(3) == (succeeded, OK)
        assert feedback == [(1, 2), (2, 1), (3, 0)]
        assert done(0) == (aborted, FAILED)
        feedback.clear()
        assert done(10**15, cancel=True) == (cancelled, FAILED)
        run.control.pause(False)
        assert done(1) == (aborted, FAILED)


def test_answers_while_the_run_waits_for_its_stack(tmp_path: Path) -> None:
    """Steps that cannot be done, as many as may wait, and one more; the others are answered all the same."""
    silent = iter(range(3))

    def answer(stack: TestStack, stamp_ns: int, number: int) -> None:
        if next(silent, None) is not None:
            steady(stack, stamp_ns, number)

    control = {"timeout_s": 60.0}
    with TestStack(answer) as stack, paused(tmp_path, control=control) as run:
        client = Client(stack)
        assert client.code("StepSimulation", steps=3) == OK
        assert client.code("StepSimulation", steps=1) == OK  # the frame set whose command never comes
        waiting = [client.send("StepSimulation", steps=1) for _ in range(MAX_WAITING)]
        time.sleep(0.5)
        began = time.monotonic()
        assert client.code("StepSimulation", steps=1) == FAILED
        assert client.spawn("box", x=30.0).result.result == OK
        assert client.names() == ["ego", "target", "box"]
        assert client.state() == PAUSED
        assert client.set_state(PAUSED) == 101
        assert time.monotonic() - began < 20.0
        assert not any(future.done() for future in waiting)
        assert client.set_state(QUITTING) == OK
        wait_for(lambda: all(future.done() for future in waiting), "the answers to the steps")
        assert {future.result().result.result for future in waiting} == {FAILED}
        with pytest.raises(Stopped):
            run.wait()


def test_what_was_done_is_in_the_log_and_the_run_not_deterministic(tmp_path: Path, client: Client) -> None:
    with paused(tmp_path, duration_s=1.0) as run:
        assert client.code("StepSimulation", steps=4) == OK
        assert client.spawn("box", x=30.0).result.result == OK
        assert client.set_state(PLAYING) == OK
        outcome = run.wait()
        assert client.spawn("late").result.result == 3
        assert client.code("StepSimulation", steps=1) == FAILED
        assert client.names() == ["ego", "target", "box"]
    log = run.read()
    assert outcome.reason == "duration"
    assert [(record["edit"], record["id"], record["asset"]) for record in log.of("entity")] == [("spawn", "box", "car")]
    assert log.end is not None and (log.end["edits"], log.end["deterministic"]) == (1, False)
    assert log.of("tick")[-1]["actors"]["box"][:2] == [30.0, 0.0]
