"""The procedural street, the embedded default scene: geometry and materials made from a seed, lit by a sun.

Here is what a street that was made before needs. `build` makes one; importing it takes a second.
"""

from r3d2_ros.street.lanes import Lanes, load_lanes
from r3d2_ros.street.options import StreetOptions, Sun
from r3d2_ros.street.store import cached_street, check_street_folder, write_street

__all__ = [
    "Lanes",
    "StreetOptions",
    "Sun",
    "cached_street",
    "check_street_folder",
    "load_lanes",
    "write_street",
]
