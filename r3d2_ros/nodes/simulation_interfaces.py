"""The standard services of simulators (package simulation_interfaces) on a closed-loop run, where it is installed."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node

from r3d2_ros.closed_loop.entity_desk import EntityDesk
from r3d2_ros.closed_loop.entity_filters import filtered
from r3d2_ros.closed_loop.entity_view import Entity
from r3d2_ros.closed_loop.simulation_codes import OK, Answer, Feature, Result, SpawnCode
from r3d2_ros.closed_loop.simulation_control import SimulationControl
from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.nodes.simulation_messages import (
    entity_filters,
    move_request,
    spawn_request,
    write_answer,
    write_box,
    write_info,
    write_spawnable,
    write_state,
)

PACKAGE = "simulation_interfaces"
INSTALL = "apt install ros-$ROS_DISTRO-simulation-interfaces, or build the package in the workspace"
PARAMETER = "simulation_interfaces"
MODES = ("auto", "required", "none")
ABOUT = "r3d2_ros closed loop: a step is one frame set; the uri of an asset is asset:NAME"

Handler = Callable[[Any, Any], Answer | None]
"""Fills the response to a request; the answer goes into its `result`."""


def wanted(node: Node) -> bool:
    """Whether the services are to be offered: the node's parameter, and whether the package is there.

    InputError for another value; MissingPackageError where the package is required and missing.
    """
    mode = str(node.declare_parameter(PARAMETER, "auto").value)
    if mode not in MODES:
        raise InputError(f"parameter {PARAMETER}", f"one of {', '.join(MODES)}", f"'{mode}'")
    if mode == "none":
        return False
    try:
        import_module(f"{PACKAGE}.srv")
    except ImportError as error:
        if mode == "required":
            raise MissingPackageError(PACKAGE, f"{PARAMETER}: required", INSTALL) from error
        node.get_logger().info(f"{PACKAGE} is not installed, its services are not offered: {INSTALL}")
        return False
    return True


class SimulationInterfaces:
    """Serves them on the node until `close`. Every request gets an answer: what goes wrong in here becomes a code."""

    def __init__(
        self,
        node: Node,
        desk: EntityDesk,
        simulation: SimulationControl,
        *,
        map_frame: str,
        group: CallbackGroup,
    ) -> None:
        self._node, self._desk, self._simulation, self._map_frame = node, desk, simulation, map_frame
        kinds = import_module(f"{PACKAGE}.srv")
        self._messages = import_module(f"{PACKAGE}.msg")
        services: dict[str, Handler] = {
            "GetSimulatorFeatures": self._features,
            "GetSimulationState": self._state,
            "SetSimulationState": lambda request, response: simulation.set_state(request.state.state),
            "ResetSimulation": lambda request, response: simulation.reset(request.scope),
            "StepSimulation": lambda request, response: simulation.step(request.steps),
            "GetSpawnables": self._spawnables,
            "SpawnEntity": self._spawn,
            "SpawnEntities": self._spawn_several,
            "DeleteEntity": lambda request, response: desk.delete(request.entity),
            "GetEntities": self._entities,
            "GetEntitiesStates": self._entities_states,
            "GetEntityState": self._entity_state,
            "SetEntityState": lambda request, response: desk.move(move_request(request)),
            "GetEntityInfo": self._entity_info,
            "GetEntityBounds": self._entity_bounds,
        }
        # An older version of the package has not all of them.
        self._offered = [name for name in services if hasattr(kinds, name)]
        for name in self._offered:
            topic = f"~/{_snake(name)}"
            node.create_service(
                getattr(kinds, name), topic, self._answering(topic, services[name]), callback_group=group
            )
        self._steps_type = import_module(f"{PACKAGE}.action").SimulateSteps
        self._steps_server = ActionServer(
            node,
            self._steps_type,
            "~/simulate_steps",
            self._simulate_steps,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=group,
        )

    def close(self) -> None:
        """The action goes before its node."""
        self._steps_server.destroy()

    def _answering(self, topic: str, handler: Handler) -> Callable[[Any, Any], Any]:
        def answer(request: Any, response: Any) -> Any:
            try:
                given = handler(request, response)
            except Exception as error:
                self._node.get_logger().error(f"{topic}: not done\n{traceback.format_exc()}")
                given = Answer(Result.OPERATION_FAILED, f"{type(error).__name__}: {error}")
            if given is not None and hasattr(response, "result"):
                write_answer(response.result, given)
            return response

        return answer

    # The simulation

    def _features(self, request: Any, response: Any) -> None:
        several = "SpawnEntities" in self._offered
        response.features.features = [int(f) for f in Feature if several or f != Feature.SPAWNING_ENTITIES]
        response.features.custom_info = ABOUT

    def _state(self, request: Any, response: Any) -> Answer:
        response.state.state = int(self._simulation.state)
        return OK

    def _simulate_steps(self, goal: Any) -> Any:
        result, feedback, steps = self._steps_type.Result(), self._steps_type.Feedback(), goal.request.steps

        def made(done: int) -> None:
            feedback.completed_steps, feedback.remaining_steps = done, steps - done
            goal.publish_feedback(feedback)

        answer = self._simulation.step(steps, made=made, wanted=lambda: not goal.is_cancel_requested)
        write_answer(result.result, answer)
        if answer.ok:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return result

    # Entities

    def _spawnables(self, request: Any, response: Any) -> Answer:
        for name in sorted(self._desk.library.assets):
            spawnable = self._messages.Spawnable()
            write_spawnable(spawnable, name, self._desk.library[name])
            response.spawnables.append(spawnable)
        if not request.sources:
            return OK
        return Answer(Result.OK, f"not known as sources, only the scenario's library is: {', '.join(request.sources)}")

    def _spawn(self, request: Any, response: Any) -> Answer:
        answer, response.entity_name = self._desk.spawn(spawn_request(request))
        return answer

    def _spawn_several(self, request: Any, response: Any) -> Answer:
        failed = 0
        for entry in request.spawn_requests:
            result = self._messages.SpawnResult()
            answer, result.entity_name = self._desk.spawn(spawn_request(entry))
            write_answer(result.result, answer)
            response.results.append(result)
            failed += not answer.ok
        if not failed:
            return OK
        return Answer(SpawnCode.ENTITIES_SPAWN_FAILED, f"{failed} of {len(request.spawn_requests)} were not spawned")

    def _filtered(self, request: Any) -> tuple[Answer, tuple[Entity, ...]]:
        return filtered(self._desk.entities(), entity_filters(request.filters))

    def _entities(self, request: Any, response: Any) -> Answer:
        answer, found = self._filtered(request)
        response.entities = [entity.name for entity in found]
        return answer

    def _entities_states(self, request: Any, response: Any) -> Answer:
        stamp_ns = self._desk.stamp_ns
        answer, found = self._filtered(request)
        for entity in found:
            state = self._messages.EntityState()
            write_state(state, entity, frame=self._map_frame, stamp_ns=stamp_ns)
            response.entities.append(entity.name)
            response.states.append(state)
        return answer

    def _entity_state(self, request: Any, response: Any) -> Answer:
        answer, entity = self._desk.entity(request.entity)
        if entity is not None:
            write_state(response.state, entity, frame=self._map_frame, stamp_ns=self._desk.stamp_ns)
        return answer

    def _entity_info(self, request: Any, response: Any) -> Answer:
        answer, entity = self._desk.entity(request.entity)
        if entity is not None:
            write_info(response.info, entity)
        return answer

    def _entity_bounds(self, request: Any, response: Any) -> Answer:
        answer, entity = self._desk.entity(request.entity)
        if entity is not None:
            write_box(response.bounds, *entity.box_m)
        return answer


def _snake(name: str) -> str:
    """SpawnEntity -> spawn_entity."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
