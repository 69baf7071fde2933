"""Fast DDS shared memory for large images: chosen before the process joins, checked afterwards.

With the default transports most 1600x900 images are lost or late; one large shared-memory segment on the publishing
side delivers all of them. Nothing is touched where the user has already configured DDS.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from r3d2_ros.resources import config_dir

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Fast DDS itself puts its segments
MIB = 2**20
SEGMENT_BYTES = 128 * MIB
MIN_SEGMENT_BYTES = 16 * MIB
FREE_SHARE = 0.5
"""Part of the free shared memory that one process takes: its peers need segments as well."""

USER_VARIABLES = (
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTDDS_BUILTIN_TRANSPORTS",
)
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Fast DDS 2 reads the first name only, Fast DDS 3 the second."""


@dataclass(frozen=True)
class Transport:
    """What was decided before joining. `segment_bytes` is 0 when no profile of ours is in force."""

    text: str
    segment_bytes: int = 0
    segments_before: frozenset[str] = frozenset()


def prepare_transport() -> Transport:
    """Set the profile variables for this process. Call before rclpy.init."""
    rmw = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    if rmw != "rmw_fastrtps_cpp":
        return Transport(f"{rmw} as configured")
    for name in USER_VARIABLES:
        if os.environ.get(name):
            return Transport(f"Fast DDS as configured by {name}={os.environ[name]}")
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0
    segment = segment_size(free)
    if segment == 0:
        return Transport(
            f"Fast DDS over UDP: {SHARED_MEMORY} has {free // MIB} MiB free and a segment for images needs twice "
            f"{MIN_SEGMENT_BYTES // MIB} MiB; give the container more with --shm-size or --ipc=host"
        )
    folder = Path(tempfile.mkdtemp(prefix="r3d2_dds_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    profile = folder / "fastdds.xml"
    profile.write_bytes(sized_profile(config_dir() / "fastdds.xml", segment))
    for name in PROFILE_VARIABLES:
        os.environ[name] = str(profile)
    return Transport(f"Fast DDS shared memory, segment {segment // MIB} MiB, and UDP", segment, frozenset(_segments()))


def segment_size(free_bytes: int) -> int:
    """Bytes of the shared-memory segment for `free_bytes` of free shared memory; 0 when a segment is not worth it."""
    segment = min(SEGMENT_BYTES, int(free_bytes * FREE_SHARE)) // MIB * MIB
    return segment if segment >= MIN_SEGMENT_BYTES else 0


def sized_profile(template: Path, segment_bytes: int) -> bytes:
    """The shipped profile with its shared-memory segment set to `segment_bytes`."""
    tree = ElementTree.parse(template)  # noqa: S314 - a file of our own
    namespace = {"dds": "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"}
    ElementTree.register_namespace("", namespace["dds"])
    sizes = {"segment_size": segment_bytes, "maxMessageSize": min(32 * MIB, segment_bytes // 2)}
    shm = [
        descriptor
        for descriptor in tree.iterfind(".//dds:transport_descriptor", namespace)
        if (descriptor.findtext("dds:type", "", namespace) or "").strip() == "SHM"
    ]
    for descriptor in shm:
        for name, value in sizes.items():
            element = descriptor.find(f"dds:{name}", namespace)
            if element is not None:
                element.text = str(value)
    return ElementTree.tostring(tree.getroot(), xml_declaration=True, encoding="UTF-8")


def transport_in_force(prepared: Transport) -> tuple[bool, str]:
    """Whether the prepared transport is the one that runs (call after the node has joined), and its description.

    Fast DDS only prints a line when it cannot parse a profile or make a segment, and goes on with its defaults.
    """
    if prepared.segment_bytes == 0:
        return True, prepared.text
    made = _segments().keys() - prepared.segments_before
    if any(_segments().get(name, 0) >= prepared.segment_bytes for name in made):
        return True, prepared.text
    return False, (
        f"expected {prepared.text}, but no such segment appeared in {SHARED_MEMORY}: Fast DDS runs on its default "
        "transports and will lose large images"
    )


def _segments() -> dict[str, int]:
    """Fast DDS segments in shared memory and their sizes."""
    if not SHARED_MEMORY.is_dir():
        return {}
    sizes = {}
    for path in SHARED_MEMORY.glob("fast*_*"):
        try:
            sizes[path.name] = path.stat().st_size
        except OSError:
            continue
    return sizes
