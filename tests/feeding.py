"""Messages made by hand into a Synchronizer, and all that its ticks show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from r3d2_ros.cameras import Camera, Rig
from r3d2_ros.geometry import Rigid
from r3d2_ros.input_checks import Reports
from r3d2_ros.state_buffer import BufferConfig, StateBuffer
from r3d2_ros.sync import SyncConfig, Synchronizer, Tick
from r3d2_ros.world import ActorState, EgoState

MS = 1_000_000
K = np.array([[100.0, 0.0, 50.0], [0.0, 100.0, 40.0], [0.0, 0.0, 1.0]])

Message = tuple[str, int, tuple[str, ...]]
"""Topic, stamp in ms, and for actors the ids; poses follow from the stamp."""


def camera(name: str, rate_hz: float = 10.0, phase_s: float = 0.0) -> Camera:
    return Camera(name, 100, 80, K, Rigid.identity(), rate_hz=rate_hz, phase_s=phase_s)


RIG = Rig("two", (camera("front", 10.0), camera("rear", 25.0, 0.02)))


def make_sync(
    *,
    mode: str = "lockstep",
    tick: str = "ego",
    actors: str = "required",
    queue_limit: int = 400,
    **limits: float,
) -> Synchronizer:
    reports = Reports()
    config = SyncConfig(mode=mode, tick=tick, actors=actors, queue_limit=queue_limit)  # type: ignore[arg-type]
    buffer = StateBuffer(
        BufferConfig(**limits),  # type: ignore[arg-type]
        reports=reports,
        static_actors=actors == "static",
    )
    return Synchronizer(config, rig=RIG, buffer=buffer, reports=reports)


def feed(sync: Synchronizer, message: Message) -> None:
    topic, stamp_ms, ids = message
    yaw = stamp_ms / 1000
    if topic == "ego":
        sync.on_ego(EgoState(stamp_ms * MS, Rigid.from_xyz_yaw(stamp_ms / 7, 3.0, 0.0, yaw)))
    elif topic == "actors":
        poses = {id_: Rigid.from_xyz_yaw(stamp_ms / 3 + len(id_), 1.0, 0.0, -yaw) for id_ in ids}
        sync.on_actors(stamp_ms * MS, tuple(ActorState(i, "car", pose) for i, pose in poses.items()))
    else:
        sync.on_trigger(stamp_ms * MS)


def drain(sync: Synchronizer) -> list[Tick]:
    ticks = []
    while (tick := sync.next_tick()) is not None:
        ticks.append(tick)
    return ticks


def run(messages: Sequence[Message], sync: Synchronizer) -> list[Tick]:
    """All ticks, fetched as soon as they are there."""
    ticks: list[Tick] = []
    for message in messages:
        feed(sync, message)
        ticks += drain(sync)
    return ticks


def shown(tick: Tick) -> tuple[object, ...]:
    """Everything of a tick that a picture depends on, to the last bit."""
    state = tick.state and (
        tick.state.stamp_ns,
        _bits(tick.state.ego.T_world_ego),
        tuple((a.id, a.asset, a.instance, _bits(a.T_world_actor)) for a in tick.state.actors),
        tick.state.instance_ids,
    )
    return (
        tick.stamp_ns,
        tuple(c.name for c in tick.due),
        state,
        tick.reason,
        tick.timeline,
    )


def _bits(pose: Rigid) -> bytes:
    return pose.rotation.tobytes() + pose.translation.tobytes()


def stamps_ms(ticks: Sequence[Tick]) -> list[float]:
    return [tick.stamp_ns / MS for tick in ticks]


def made(ticks: Sequence[Tick]) -> list[bool]:
    return [tick.state is not None for tick in ticks]


def ego(*stamps: int) -> list[Message]:
    return [("ego", stamp, ()) for stamp in stamps]


def actors(*stamps: int, ids: tuple[str, ...] = ("a",)) -> list[Message]:
    return [("actors", stamp, ids) for stamp in stamps]


def triggers(*stamps: int) -> list[Message]:
    return [("trigger", stamp, ()) for stamp in stamps]


def interleave(draw: st.DrawFn, queues: Sequence[Sequence[Message]]) -> list[Message]:
    """An order of arrival that keeps the order within each topic."""
    order = draw(st.permutations([i for i, queue in enumerate(queues) for _ in queue]))
    iterators = [iter(queue) for queue in queues]
    return [next(iterators[i]) for i in order]
