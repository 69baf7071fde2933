"""The procedural street, the embedded default scene: geometry and materials made from a seed, lit by a sun."""

from r3d2_ros.street.build import Street, build_street
from r3d2_ros.street.lanes import Lanes, load_lanes
from r3d2_ros.street.options import StreetOptions, Sun
from r3d2_ros.street.store import cached_street, check_street_folder, write_street

__all__ = [
    "Lanes",
    "Street",
    "StreetOptions",
    "Sun",
    "build_street",
    "cached_street",
    "check_street_folder",
    "load_lanes",
    "write_street",
]
