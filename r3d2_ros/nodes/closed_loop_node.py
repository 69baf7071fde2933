"""The time master as a node: one closed-loop run, with the clock, the vehicle, the traffic and the cameras."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, Self

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage

from r3d2_ros.closed_loop.actions import Outcome
from r3d2_ros.closed_loop.entity_desk import EntityDesk
from r3d2_ros.closed_loop.inbox import Inbox
from r3d2_ros.closed_loop.loop import Loop
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.run_control import MAX_WAITING, POLL_S, ResetAsked, RunControl
from r3d2_ros.closed_loop.run_log import LogWriter
from r3d2_ros.closed_loop.simulation_control import SimulationControl
from r3d2_ros.formats.files import free_name
from r3d2_ros.nodes.command_inputs import CommandInputs
from r3d2_ros.nodes.conversions import camera_transforms
from r3d2_ros.nodes.diagnostics import OK, WARN, Diagnostics, run_values
from r3d2_ros.nodes.executor import LastingExecutor
from r3d2_ros.nodes.loop_driver import LoopDriver, OnFrame
from r3d2_ros.nodes.outputs import Outputs
from r3d2_ros.nodes.qos import overridable, reliable
from r3d2_ros.nodes.simulation_interfaces import SimulationInterfaces, wanted
from r3d2_ros.nodes.statistics import Statistics
from r3d2_ros.nodes.transport import Transport, transport_fault
from r3d2_ros.nodes.world_outputs import WorldOutputs
from r3d2_ros.simulator import Simulator

NAME = "closed_loop_node"
EXECUTOR_THREADS = MAX_WAITING + 3
"""For requests that wait for the run, and one each for commands, diagnostics and requests that are answered at once."""

SERVICE_S = 60.0
"""A step or a reset takes less than this, or is reported as not done."""

END_S = 2.0


class ClosedLoopNode(Node):
    """Serves a run in the background while `run` drives it in the caller's thread. Use it as a context manager."""

    def __init__(
        self,
        plan: RunPlan,
        simulator: Simulator,
        control: RunControl,
        *,
        context: Context | None = None,
        transport: Transport | None = None,
        stack_fault: Callable[[], str] = lambda: "",
        on_frame: OnFrame = lambda frame_set, snapshot: None,
        parameters: dict[str, Any] | None = None,
        **node_arguments: Any,
    ) -> None:
        overrides = {"use_sim_time": True, **(parameters or {})}
        super().__init__(
            NAME,
            context=context,
            parameter_overrides=[Parameter(name, value=value) for name, value in overrides.items()],
            **node_arguments,
        )
        self._plan, self._control = plan, control
        self._statistics = Statistics()
        self._ended = False
        self._max_age_ns = round(plan.spec.scenario.control.max_age_s * 1e9)
        self._interfaces: SimulationInterfaces | None = None
        self._executor = LastingExecutor(num_threads=EXECUTOR_THREADS, context=context)
        self._serving = threading.Thread(target=self._serve, name="closed_loop_node", daemon=True)
        try:
            self._join(simulator, stack_fault, on_frame, transport or Transport("as the process has it"))
        except BaseException:
            self._leave()
            raise

    def _join(
        self, simulator: Simulator, stack_fault: Callable[[], str], on_frame: OnFrame, transport: Transport
    ) -> None:
        sim, scenario = self._plan.spec.sim, self._plan.spec.scenario
        autoware = bool(self.declare_parameter("autoware_control", False).value)
        frames = sim.frames
        self._desk = EntityDesk(self._plan, simulator.library, frames)
        self._diagnostics = Diagnostics(self)
        self._transport_status = self._transport(transport)
        self._inputs = CommandInputs(
            self,
            inbox=Inbox(self._max_age_ns),
            now_s=self._control.now_s,
            map_frame=frames.map,
            path_spacing_s=scenario.control.path_spacing_s,
            autoware_control=autoware,
        )
        self._driver = LoopDriver(
            self._plan,
            simulator,
            world=WorldOutputs(self, self._plan, frames),
            outputs=Outputs(self, sim, simulator.rig.cameras),
            control=self._control,
            desk=self._desk,
            statistics=self._statistics,
            stack_fault=stack_fault,
            on_frame=on_frame,
        )
        if sim.output.publish_tf:
            qos = reliable(1, transient_local=True)
            self._tf_static = self.create_publisher(
                TFMessage, "/tf_static", qos, qos_overriding_options=overridable()
            )
            now = self.get_clock().now().to_msg()
            self._tf_static.publish(camera_transforms(simulator.rig.cameras, frames.vehicle, now))
        services = ReentrantCallbackGroup()
        self.create_service(SetBool, "~/pause", self._on_pause, callback_group=services)
        self.create_service(Trigger, "~/step", self._on_step, callback_group=services)
        self.create_service(Trigger, "~/reset", self._on_reset, callback_group=services)
        if wanted(self):
            simulation = SimulationControl(self._control, self._desk, SERVICE_S)
            self._interfaces = SimulationInterfaces(
                self, self._desk, simulation, map_frame=frames.map, group=services
            )
        self.create_timer(
            1.0,
            self._diagnose,
            callback_group=MutuallyExclusiveCallbackGroup(),
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    def __enter__(self) -> Self:
        self._executor.add_node(self)
        self._serving.start()
        return self

    def __exit__(self, *error: object) -> None:
        # First no callback runs any more, then what they use goes.
        self._ended = True
        self._serving.join(END_S)
        self._executor.shutdown(timeout_sec=END_S)
        self._leave()

    def _leave(self) -> None:
        if self._interfaces is not None:
            self._interfaces.close()
        self.destroy_node()

    @property
    def loop(self) -> Loop | None:
        """The run that goes on, None before the first."""
        return self._driver.loop

    def run(self, make_log: Callable[[], LogWriter]) -> Outcome:
        """Drive to the end. `make_log` makes the log with its header; it is called again for a run that was reset.

        Stopped when the run was told to stop; its log has its last record.
        """
        try:
            while True:
                self._inputs.inbox = Inbox(self._max_age_ns)
                with make_log() as log:
                    try:
                        return self._driver.run(self._inputs.inbox, log)
                    except ResetAsked:
                        self.get_logger().info("reset: the run begins anew")
                log.path.rename(free_name(log.path))  # kept beside the new one
        finally:
            self._control.end()
            self._desk.end_run()

    # Services

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._control.pause(request.data)
        response.success = True
        response.message = f"{'paused' if request.data else 'going on'} at {self._where()}"
        return response

    def _on_step(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(response, self._control.step(1, SERVICE_S))

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(response, self._control.reset(SERVICE_S))

    def _answer(self, response: Trigger.Response, fault: str) -> Trigger.Response:
        response.success, response.message = not fault, fault or self._where()
        return response

    def _where(self) -> str:
        loop = self._driver.loop
        return "the beginning" if loop is None else f"phase {loop.phase}, t = {loop.snapshot.t_s:.2f} s"

    # Diagnostics

    def _transport(self, transport: Transport) -> Any:
        fault = transport_fault(transport)
        text = f"{transport.text}: {fault}" if fault else transport.text
        if fault:
            self.get_logger().warning(f"transport: {text}")
        return self._diagnostics.status("transport", WARN if fault else OK, text)

    def _diagnose(self) -> None:
        try:
            loop, last = self._driver.loop, self._driver.last
            values = run_values(self._statistics)
            if loop is not None:
                values |= dict(loop.counts)
            text = f"{'paused, ' if self._control.paused else ''}{self._where()}"
            statuses = [self._diagnostics.status("run", OK, text, values), self._transport_status]
            if last is not None:
                statuses.append(self._diagnostics.scene_status(last))
                if self._plan.spec.sim.harmonizer.backend != "none":
                    statuses.append(self._diagnostics.harmonizer_status(last))
            self._diagnostics.publish(*statuses)
        except Exception:  # an exception that leaves a callback ends the executor
            self.get_logger().error(traceback.format_exc(), throttle_duration_sec=5.0)

    def _serve(self) -> None:
        try:
            while not self._ended:
                self._executor.spin_once(timeout_sec=POLL_S)
        except ExternalShutdownException:
            pass
        except Exception:
            self.get_logger().fatal(f"the node serves no longer\n{traceback.format_exc()}")
            self._control.stop("a fault of the node")


def main() -> int:
    """`r3d2 scenario run ... --no-stack` as `ros2 run` and `ros2 launch` start it; returns its exit status."""
    from r3d2_ros.cli.main import main as command_line

    return command_line(["scenario", "run", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
