"""Who the ego hit first, how near it came to others, and how little time was left."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from r3d2_ros.boxes import gap_m, time_to_touch, touch
from r3d2_ros.closed_loop.scores.data import RunData
from r3d2_ros.closed_loop.scores.track import SPEED, YAW, ActorTrack
from r3d2_ros.geometry import Array


@dataclass(frozen=True)
class Contact:
    """A tick at which the ego's box and an actor's overlap."""

    tick: int
    actor: ActorTrack


def first_contact(data: RunData, counts: Callable[[ActorTrack], bool] = lambda actor: True) -> Contact | None:
    """The first one; in a tick with several, the actor that comes first in the scenario."""
    for k in range(len(data.t_s)):
        ego = data.ego_box(k)
        for actor in data.actors_at(k):
            if counts(actor) and touch(ego, actor.box(k)):
                return Contact(k, actor)
    return None


def unseen(contact: Contact, t_s: float) -> str:
    """That an actor was hit at `t_s` before or after the times of its path, where it only stands; or empty."""
    if contact.actor.times_s is None:
        return ""
    first_s, last_s = contact.actor.times_s
    hit = f"{contact.actor.id} was hit at t = {t_s:.2f} s"
    if t_s > last_s:
        end = f"{t_s - last_s:.2f} s after the last time of its path, at whose end it stands"
        return f"{hit}, {end} (of a recorded drive: after it was last seen)"
    if t_s < first_s:
        begin = f"{first_s - t_s:.2f} s before the first time of its path, at whose beginning it stands"
        return f"{hit}, {begin} (of a recorded drive: before it was first seen)"
    return ""


@dataclass(frozen=True)
class Margins:
    """Smallest values of a run; infinity without actors, or when nobody was ever on a collision course."""

    distance_m: float
    ttc_s: float


def margins(data: RunData) -> Margins:
    """Smallest distance between the ego's box and another, and smallest time to collision.

    Time to collision: until the boxes touch when everybody goes on with the present velocity and without turning.
    """
    distance, ttc = math.inf, math.inf
    for k in range(len(data.t_s)):
        ego, velocity = data.ego_box(k), _velocity(data.ego[k])
        for actor in data.actors_at(k):
            other = actor.box(k)
            relative = _velocity(actor.rows[k]) - velocity
            # Nothing nearer than the smallest distance so far can be in a circle that lies beyond it.
            apart = np.linalg.norm(ego.mean(axis=0) - other.mean(axis=0))
            reach = (np.linalg.norm(ego[0] - ego[2]) + np.linalg.norm(other[0] - other[2])) / 2
            if apart - reach < distance:
                distance = min(distance, gap_m(ego, other))
            speed = float(np.linalg.norm(relative))
            if speed > 0.0 and (apart - reach) / speed < ttc:
                ttc = min(ttc, time_to_touch(ego, other, relative))
    return Margins(distance, ttc)


def _velocity(row: Array) -> Array:
    return row[SPEED] * np.array([math.cos(row[YAW]), math.sin(row[YAW])])
