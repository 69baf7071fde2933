"""The whole tick of a rig without ROS: world state in, JPEG of every camera out, at a rate that does not wait."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from r3d2_ros.assembly import assemble
from r3d2_ros.bench.harmonizer.drive import world_states
from r3d2_ros.bench.harmonizer.open_loop import Done, open_loop, stage_facts, verdict
from r3d2_ros.config import SimConfig
from r3d2_ros.demo.drive import Drive
from r3d2_ros.jpeg import JpegEncoder
from r3d2_ros.simulator import FrameSet, History, Rendered, Simulator
from r3d2_ros.turns import take_short_turns
from r3d2_ros.world import WorldState

Say = Callable[[str], None]
WARM_UP_TICKS = 3


def measure_rig(
    config: SimConfig, drive: Drive, *, rate_hz: float, deadline_ms: float, say: Say = lambda text: None
) -> dict[str, Any]:
    """`verdict` of the drive's ticks at `rate_hz`, from the moment each was due to its last encoded picture.

    Rendering, harmonizing and encoding have a thread each, which take turns as in the node.
    """
    take_short_turns()
    simulator = assemble(config, say, warm_harmonizer=False).simulator
    stepper, states = Stepper(simulator), world_states(drive)
    quality = config.output.jpeg_quality
    with ExitStack() as stack:
        encoder = stack.enter_context(contextlib.closing(JpegEncoder()))
        executors = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(2)]

        def encode(frame_set: FrameSet) -> Done:
            times = stages_of(frame_set) | {"encode": encode_all(frame_set, encoder, quality)}
            return Done(times, tuple(failure.reason for failure in frame_set.failures))

        executors[0].submit(simulator.warm_up_harmonizer).result()
        for k in range(min(WARM_UP_TICKS, len(states))):
            encode(executors[0].submit(stepper.harmonize, simulator.render(states[k])).result())
        stepper.reset()
        say(f"{len(states)} ticks at {rate_hz:g} Hz")
        ticks = open_loop(
            (lambda k: simulator.render(states[k]), stepper.harmonize, encode),
            ticks=len(states),
            rate_hz=rate_hz,
            executors=executors,
            deadline_ms=deadline_ms,
        )
    facts = verdict(ticks, rate_hz=rate_hz, deadline_ms=deadline_ms)
    return {"from": "the tick's due time", "to": "the last encoded picture", **facts, **scene_facts(simulator, drive)}


def measure_frames(config: SimConfig, drive: Drive, *, say: Say = lambda text: None) -> dict[str, Any]:
    """Stage times of the drive's ticks made one after the other, with nothing beside them: what a frame costs.

    cpu_ms  processor time of all threads, median: the cost when other programs use the cores too
    """
    simulator = assemble(config, say).simulator
    stepper, states = Stepper(simulator), world_states(drive)
    for k in range(min(WARM_UP_TICKS, len(states))):
        stepper.step(states[k])
    stepper.reset()
    stages, cpu_ms = [], {"render": [0.0] * len(states), "harmonize": [0.0] * len(states)}
    for k, state in enumerate(states):
        begin = time.process_time()
        rendered = simulator.render(state)
        between = time.process_time()
        stages.append(stages_of(stepper.harmonize(rendered)))
        cpu_ms["render"][k] = (between - begin) * 1e3
        cpu_ms["harmonize"][k] = (time.process_time() - between) * 1e3
    return {
        "ticks": len(states),
        "stages_ms": stage_facts(stages),
        "cpu_ms": {stage: statistics.median(times) for stage, times in cpu_ms.items()},
        **scene_facts(simulator, drive),
    }


class Stepper:
    """A simulator with the history of its last step."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self.reset()

    def reset(self) -> None:
        self._history = History()

    def step(self, state: WorldState) -> FrameSet:
        frame_set, self._history = self._simulator.step(state, self._history)
        return frame_set

    def harmonize(self, rendered: Rendered) -> FrameSet:
        """The second half of `step`."""
        frame_set, self._history = self._simulator.harmonize(rendered, self._history)
        return frame_set


def stages_of(frame_set: FrameSet) -> dict[str, float]:
    """Milliseconds of the whole tick, from the equal shares that its frames carry."""
    return {
        "render": sum(frame.render_ms for frame in frame_set.frames),
        "harmonize": sum(frame.harmonize_ms for frame in frame_set.frames),
    }


def encode_all(frame_set: FrameSet, encoder: JpegEncoder, quality: int) -> float:
    """JPEG of every camera, as the node encodes; ms until the last is there."""
    start = time.perf_counter()
    for jpeg in encoder.encode([frame.rgb for frame in frame_set.frames], quality):
        assert jpeg()
    return (time.perf_counter() - start) * 1e3


def scene_facts(simulator: Simulator, drive: Drive) -> dict[str, Any]:
    """What was drawn."""
    cameras = simulator.rig.cameras
    return {
        "renderer": simulator.renderer.name,
        "splats": len(simulator.scene.background),
        "actors": max(len(tick.actors) for tick in drive.ticks),
        "cameras": len(cameras),
        "size": {"height": cameras[0].height_px, "width": cameras[0].width_px},
    }
