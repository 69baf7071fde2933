"""The numbers of the package simulation_interfaces (1.x and 2.x) that a run answers with; it need not be installed.

Source: ros-simulation/simulation_interfaces 2.1.0, msg/ and srv/. A code above 100 is of the service that defines it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Result(IntEnum):
    """simulation_interfaces/Result."""

    FEATURE_UNSUPPORTED = 0
    OK = 1
    NOT_FOUND = 2
    INCORRECT_STATE = 3
    OPERATION_FAILED = 4


class SpawnCode(IntEnum):
    """Further codes of SpawnEntity and SpawnEntities."""

    NAME_NOT_UNIQUE = 101
    NAME_INVALID = 102
    UNSUPPORTED_FORMAT = 103
    NO_RESOURCE = 104
    NAMESPACE_INVALID = 105
    MISSING_ASSETS = 107
    INVALID_POSE = 109
    ENTITIES_SPAWN_FAILED = 150


class MoveCode(IntEnum):
    """Further codes of SetEntityState."""

    INVALID_POSE = 101


class TransitionCode(IntEnum):
    """Further codes of SetSimulationState."""

    ALREADY_IN_TARGET_STATE = 101
    STATE_TRANSITION_ERROR = 102


@dataclass(frozen=True)
class Answer:
    """What a request is answered with: the code, and for people why."""

    code: int
    text: str = ""

    @property
    def ok(self) -> bool:
        return self.code == Result.OK


OK = Answer(Result.OK)


class State(IntEnum):
    """simulation_interfaces/SimulationState."""

    STOPPED = 0
    PLAYING = 1
    PAUSED = 2
    QUITTING = 3
    NO_WORLD = 4
    LOADING_WORLD = 5


class Scope(IntEnum):
    """simulation_interfaces/ResetSimulation: a bit field, whose 0 and 255 both mean everything."""

    DEFAULT = 0
    TIME = 1
    STATE = 2
    SPAWNED = 4
    ALL = 255


class Category(IntEnum):
    """simulation_interfaces/EntityCategory."""

    OBJECT = 0
    ROBOT = 1
    HUMAN = 2
    DYNAMIC_OBJECT = 4
    STATIC_OBJECT = 5


class BoundsType(IntEnum):
    """simulation_interfaces/Bounds."""

    EMPTY = 0
    BOX = 1
    CONVEX_HULL = 2
    SPHERE = 3


class Feature(IntEnum):
    """simulation_interfaces/SimulatorFeatures: those that a run has.

    SIMULATION_RESET_TIME and _STATE are not among them: actors are where time has them, so neither is reset without the
    other. ENTITY_INFO_SETTING, named poses, worlds and resource strings it has not.
    """

    SPAWNING = 0
    DELETING = 1
    ENTITY_TAGS = 4
    ENTITY_BOUNDS = 5
    ENTITY_BOUNDS_BOX = 6
    ENTITY_CATEGORIES = 8
    ENTITY_STATE_GETTING = 10
    ENTITY_STATE_SETTING = 11
    ENTITY_INFO_GETTING = 12
    SPAWNABLES = 14
    SIMULATION_RESET = 20
    SIMULATION_RESET_SPAWNED = 23
    SIMULATION_STATE_GETTING = 24
    SIMULATION_STATE_SETTING = 25
    SIMULATION_STATE_PAUSE = 26
    STEP_SIMULATION_SINGLE = 31
    STEP_SIMULATION_MULTIPLE = 32
    STEP_SIMULATION_ACTION = 33
    SPAWNING_ENTITIES = 50
