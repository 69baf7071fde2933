"""The simulator as a managed node: poses and actors in, camera images and frame sets out."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from types import FrameType

import rclpy
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.signals import SignalHandlerOptions
from tf2_msgs.msg import TFMessage

from r3d2_ros.assembly import Assembled, assemble
from r3d2_ros.config import SimConfig
from r3d2_ros.harmonize_thread import HarmonizeThread
from r3d2_ros.nodes.conversions import camera_transforms
from r3d2_ros.nodes.diagnostics import ERROR, OK, WARN, Diagnostics
from r3d2_ros.nodes.executor import LastingExecutor
from r3d2_ros.nodes.inputs import Inputs
from r3d2_ros.nodes.outputs import Outputs
from r3d2_ros.nodes.parameters import ConfigParameters
from r3d2_ros.nodes.qos import explained, overridable, reliable
from r3d2_ros.nodes.render_loop import RenderLoop
from r3d2_ros.nodes.start_errors import START_ERRORS, USER_ERRORS, tell
from r3d2_ros.nodes.statistics import Statistics
from r3d2_ros.nodes.transport import Transport, prepare_transport, transport_fault
from r3d2_ros.turns import take_short_turns

ASSEMBLE = partial(assemble, warm_harmonizer=False)
"""The thread that harmonizes warms up itself."""

EXECUTOR_THREADS = 4
"""One for inputs, one for a transition that takes long, two for services and timers meanwhile."""

STOP_WAIT_S = 1.0


class SimNode(LifecycleNodeMixin, Node):
    """configure: load, compile, warm up. activate: listen and render. deactivate: finish a frame set and pause."""

    def __init__(
        self,
        *,
        transport: Transport | None = None,
        assemble: Callable[[SimConfig, Callable[[str], None]], Assembled] = ASSEMBLE,
        name: str = "sim_node",
        **node_arguments: object,
    ) -> None:
        Node.__init__(self, name, **node_arguments)
        # Reentrant: get_state answers while a transition runs.
        self._services_group = ReentrantCallbackGroup()
        LifecycleNodeMixin.__init__(self, callback_group=self._services_group)
        self._guard_change_state()
        self._assemble = assemble
        self._transition = threading.Lock()
        self._ended = False
        self._fault = ""
        self._assembled: Assembled | None = None
        self._harmonizing: HarmonizeThread | None = None
        self._outputs: Outputs | None = None
        self._loop: RenderLoop | None = None
        self._inputs: Inputs | None = None
        self._latest_timer = None
        self.statistics = Statistics()
        self.diagnostics = Diagnostics(self)
        self.parameters = ConfigParameters(self)
        text = ParameterDescriptor(description="configure and activate without being asked", read_only=True)
        self.autostart = bool(self.declare_parameter("autostart", True, text).value)
        self._timers_group = MutuallyExclusiveCallbackGroup()
        self._transport = transport or Transport("as the process has it")
        self._report_transport()
        self._tf_static: Publisher | None = None
        self.create_timer(
            1.0,
            self._guarded(self._diagnose),
            callback_group=self._timers_group,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    @property
    def config(self) -> SimConfig:
        return self.parameters.config

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._attempt("configure", self._configure)
        if result != TransitionCallbackReturn.SUCCESS:  # what it has loaded would lie beside what the next try loads
            self._attempt("cleanup", self._cleanup)
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        LifecycleNodeMixin.on_activate(self, state)
        result = self._attempt("activate", self._activate)
        if result != TransitionCallbackReturn.SUCCESS:
            LifecycleNodeMixin.on_deactivate(self, state)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._attempt("deactivate", self._deactivate)
        LifecycleNodeMixin.on_deactivate(self, state)
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("cleanup", self._cleanup, "cleaned up: every parameter can be set, configure loads anew")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        done = "finalized: nothing can be asked of this node any more; a signal ends its process"
        return self._attempt("shutdown", self._cleanup, done)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("error processing", self._cleanup)

    def _attempt(self, name: str, work: Callable[[], None], done: str = "") -> TransitionCallbackReturn:
        """Run a transition; a failure is logged with its cause and becomes an ERROR diagnostic, success as `done`."""
        try:
            work()
        except USER_ERRORS as error:
            self._report_fault(f"{name} failed: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self.get_logger().error(traceback.format_exc())
            self._report_fault(f"{name} failed: {type(error).__name__}: {error}")
            return TransitionCallbackReturn.FAILURE
        if name in ("configure", "activate"):
            self._fault = ""
        if done:
            self.get_logger().info(done)
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        config = self.parameters.hold()
        self._assembled = self._assemble(config, self.get_logger().info)
        for note in self._assembled.notes:
            self.get_logger().warning(note)
        simulator, logger = self._assembled.simulator, self.get_logger()
        self._harmonizing = HarmonizeThread(simulator, logger.error, logger.info)
        self._outputs = Outputs(self, config, simulator.rig.cameras)
        if config.output.publish_tf:
            self._tf_static = self._make_tf_static()

    def _activate(self) -> None:
        assert self._assembled is not None and self._harmonizing is not None and self._outputs is not None
        simulator = self._assembled.simulator
        self._outputs.begin_run()
        self.statistics.begin_run()
        self._publish_tf()
        self._inputs = Inputs(
            self, config=self.config, rig=simulator.rig, library=simulator.library, stop_run=self._stop_run
        )
        self._loop = RenderLoop(
            simulator=simulator,
            harmonizing=self._harmonizing,
            inputs=self._inputs,
            outputs=self._outputs,
            statistics=self.statistics,
            config=lambda: self.config,
            logger=self.get_logger(),
            stop_run=self._stop_run,
        )
        if self.config.sync.mode == "latest":
            period_s = 1.0 / self.config.sync.latest_rate_hz
            self._latest_timer = self.create_timer(
                period_s, self._loop.render_newest, callback_group=self._timers_group
            )
        self.parameters.warn_of_unused_qos()
        self._loop.start()
        sync = self.config.sync
        what = f"lockstep, tick {sync.tick}" if sync.mode == "lockstep" else f"latest at {sync.latest_rate_hz:g} Hz"
        self.get_logger().info(f"active, {what}: waiting for the ego on {' or '.join(self._inputs.ego_topics)}")

    def _deactivate(self) -> None:
        if self._latest_timer is not None:
            self.destroy_timer(self._latest_timer)
            self._latest_timer = None
        inputs, self._inputs = self._inputs, None
        if inputs is not None:
            inputs.destroy()
        if self._loop is not None:
            self._loop.stop()
            self._loop = None
            self._report_end(inputs.waiting_ticks() if inputs is not None else 0)

    def _report_end(self, waiting: int) -> None:
        """Say that the run has ended, and how many frame sets that were asked for are not made."""
        self.statistics.count("frame sets not made", waiting)
        if waiting:
            self.get_logger().warning(f"deactivated: {waiting} frame sets that waited are not made")
        else:
            self.get_logger().info("deactivated")

    def _cleanup(self) -> None:
        self._deactivate()
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        if self._harmonizing is not None:
            self._harmonizing.close()
            self._harmonizing = None
        if self._tf_static is not None:
            self.destroy_publisher(self._tf_static)
            self._tf_static = None
        self._assembled = None
        self.parameters.release()

    def _make_tf_static(self) -> Publisher:
        topic = "/tf_static"
        with explained(topic):
            qos = reliable(1, transient_local=True)
            return self.create_publisher(TFMessage, topic, qos, qos_overriding_options=overridable())

    def _publish_tf(self) -> None:
        if self._tf_static is None:
            return
        assert self._assembled is not None
        now, cameras = self.get_clock().now().to_msg(), self._assembled.simulator.rig.cameras
        self._tf_static.publish(camera_transforms(cameras, self.config.frames.vehicle, now))

    # Starting, stopping, faults

    def start(self) -> bool:
        """Configure and activate without being asked; a failure has been reported and leaves the node where it is.

        False after `stop` too: the process ends, and nothing may begin to load.
        """
        with self._transition:
            if self._ended:
                return False
            done = self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            return done and self.trigger_activate() == TransitionCallbackReturn.SUCCESS

    def stop(self) -> bool:
        """End the render thread; no transition begins any more. False when one still loads, which is left to end with
        the process."""
        self._ended = True
        if not self._transition.acquire(timeout=STOP_WAIT_S):
            return False
        try:
            self._deactivate()
        finally:
            self._transition.release()
        return True

    def _stop_run(self, reason: str) -> None:
        """End the run because going on would lose something; the transition runs beside the caller."""
        if self._loop is not None and (missing := self._loop.waiting_for_subscribers):
            reason = f"waiting for subscribers of {', '.join(missing)} (output.min_subscribers): {reason}"
        again = f"`ros2 lifecycle set {self.get_fully_qualified_name()} activate` begins a new run"
        self._report_fault(f"run stopped: {reason}. {again}")

        def deactivate() -> None:
            with self._transition:
                if self._loop is not None:
                    self.trigger_deactivate()

        threading.Thread(target=deactivate, name="stop_run", daemon=True).start()

    def _report_fault(self, text: str) -> None:
        self._fault = text
        self.get_logger().error(text)
        self.diagnostics.publish(self.diagnostics.status("run", ERROR, text))

    def _guard_change_state(self) -> None:
        """A transition that the state does not allow must answer `success: false`, not end the executor."""
        service = self._service_change_state
        change_state = service.callback

        def guarded(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            if not self._transition.acquire(blocking=False):
                self.get_logger().warning("change_state refused: another transition is running")
                response.success = False
                return response
            try:
                if self._ended:
                    response.success = False
                    return response
                return change_state(request, response)
            except Exception as error:
                self.get_logger().warning(f"change_state refused: {error}")
                response.success = False
                return response
            finally:
                self._transition.release()

        service.callback = guarded

    def _guarded(self, callback: Callable[[], None]) -> Callable[[], None]:
        """A callback whose exception is logged: an exception that leaves a callback ends the executor."""

        def run() -> None:
            try:
                callback()
            except Exception:
                self.get_logger().error(traceback.format_exc(), throttle_duration_sec=5.0)

        return run

    # Diagnostics

    def _report_transport(self) -> None:
        fault = transport_fault(self._transport)
        text = f"{self._transport.text}: {fault}" if fault else self._transport.text
        if fault:
            self.get_logger().warning(f"transport: {text}")
        else:
            self.get_logger().info(f"transport: {text}")
        self._transport_status = self.diagnostics.status("transport", WARN if fault else OK, text)

    def _has_no_time(self) -> bool:
        return bool(self.get_parameter("use_sim_time").value) and self.get_clock().now().nanoseconds == 0

    def _diagnose(self) -> None:
        loop, inputs = self._loop, self._inputs
        if inputs is not None:
            inputs.check_stall(self.config.sync.stall_report_s)
            if loop is not None and not loop.waiting_for_subscribers:
                inputs.check_backlog()
        state = self._state_machine.current_state[1]
        can_render = loop is not None and not self._fault
        if can_render and self.config.sync.mode == "latest" and self._has_no_time():
            text = "use_sim_time is set and no /clock has arrived: in mode latest nothing is rendered until it does"
            self.get_logger().warning(text, once=True)
            self.diagnostics.publish(self.diagnostics.status("run", WARN, text), self._transport_status)
            return
        run = self.diagnostics.run_status(state, self._fault, loop=loop, inputs=inputs, statistics=self.statistics)
        statuses = [run, self._transport_status]
        if inputs is not None:
            statuses.append(self.diagnostics.status("inputs", OK, "counts", inputs.figures()))
        if loop is not None and loop.last is not None:
            statuses.append(self.diagnostics.scene_status(loop.last))
            if self.config.harmonizer.backend != "none":
                statuses.append(self.diagnostics.harmonizer_status(loop.last))
        self.diagnostics.publish(*statuses)


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to stop. Exit code 1 when its configuration cannot be used or a callback fails."""
    transport = prepare_transport()
    return spin(lambda: SimNode(transport=transport), args)


def spin(make_node: Callable[[], SimNode], args: list[str] | None = None) -> int:
    """Join ROS, make the node, start it if it starts by itself, and serve it until a signal ends the process.

    rclpy's own signal handlers would shut ROS down below the render thread, so the signals are handled here.
    """
    take_short_turns()
    ended = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, ends(ended))
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = make_node()
    except START_ERRORS as error:
        tell(error, program="sim_node")
        rclpy.try_shutdown()
        return 1
    executor = LastingExecutor(num_threads=EXECUTOR_THREADS)
    executor.add_node(node)
    failed = threading.Event()
    serving = threading.Thread(target=_serve, args=(executor, ended, failed), name="executor", daemon=True)
    serving.start()
    if node.autostart:
        threading.Thread(target=_autostart, args=(node, ended, failed), name="autostart", daemon=True).start()
    ended.wait()
    stopped = node.stop()
    idle = executor.shutdown(timeout_sec=STOP_WAIT_S)
    serving.join(STOP_WAIT_S)
    status = 1 if failed.is_set() else 0
    if not (stopped and idle) or serving.is_alive():
        # What still loads, and a callback at work, would fail without the node that it uses, and a thread that Python
        # ends inside of rcl aborts the process.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    node.destroy_node()
    rclpy.try_shutdown()
    return status


def ends(ended: threading.Event) -> Callable[[int, FrameType | None], None]:
    """A signal handler that sets `ended`, once: it runs in the thread that waits for it, and a second signal would wait
    for ever for the lock that this thread holds while the first one wakes it."""

    def handle(number: int, frame: FrameType | None) -> None:
        if not ended.is_set():
            ended.set()

    return handle


def _autostart(node: SimNode, ended: threading.Event, failed: threading.Event) -> None:
    """Start the node, or end the process: nobody is there who would correct what it cannot use."""
    started = False
    try:
        started = node.start()
    finally:
        if not (started or ended.is_set()):
            failed.set()
            ended.set()


def _serve(executor: LastingExecutor, ended: threading.Event, failed: threading.Event) -> None:
    """Spin until the executor is shut down; an exception that ends it before that is left to threading to print."""
    try:
        executor.spin()
    except Exception:
        if not ended.is_set():
            failed.set()
        raise
    finally:
        ended.set()


if __name__ == "__main__":
    sys.exit(main())
