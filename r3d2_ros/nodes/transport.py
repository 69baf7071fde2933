"""Fast DDS shared memory for large images: chosen before the process joins, checked afterwards.

With the default transports most 1600x900 images are lost or late; one large shared-memory segment on the publishing
side delivers all of them. Nothing is touched where the user has already configured DDS.
"""

from __future__ import annotations

import os
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from r3d2_ros.resources import cache_dir, config_dir

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
    """What was decided before joining.

    text            what is in force, or should be
    fault           what is wrong with it, or empty
    segment_bytes   of our own profile, else 0
    """

    text: str
    fault: str = ""
    segment_bytes: int = 0
    segments_before: frozenset[str] = frozenset()


def prepare_transport() -> Transport:
    """Set the profile variables for this process. Call before rclpy.init."""
    rmw = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    if rmw != "rmw_fastrtps_cpp":
        return Transport(f"{rmw} as configured")
    for name in USER_VARIABLES:
        if os.environ.get(name):
            return Transport(f"Fast DDS as configured by {name}={os.environ[name]}", _profile_fault(name))
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0
    segment = segment_size(free)
    if segment == 0:
        fault = (
            f"large images may be lost: {SHARED_MEMORY} has {free // MIB} MiB free and a segment for images needs "
            f"twice {MIN_SEGMENT_BYTES // MIB} MiB; give the container more with --shm-size or --ipc=host"
        )
        return Transport("Fast DDS over UDP", fault)
    profile = cache_dir() / f"fastdds-{segment // MIB}MiB.xml"
    text = sized_profile(config_dir() / "fastdds.xml", segment)
    if not profile.is_file() or profile.read_bytes() != text:
        partial = profile.with_suffix(f".{os.getpid()}")
        partial.write_bytes(text)
        partial.replace(profile)
    for name in PROFILE_VARIABLES:
        os.environ[name] = str(profile)
    return Transport(
        f"Fast DDS shared memory, segment {segment // MIB} MiB, and UDP",
        segment_bytes=segment,
        segments_before=frozenset(_segments()),
    )


def _profile_fault(variable: str) -> str:
    """Why the profile file that a variable names cannot be used; Fast DDS only prints a line and goes on without."""
    if variable not in PROFILE_VARIABLES:
        return ""
    try:
        ElementTree.parse(os.environ[variable])  # noqa: S314 - the user's own file, only to see whether it parses
    except (OSError, ElementTree.ParseError) as error:
        return f"the file cannot be used, so Fast DDS runs on its defaults and may lose large images: {error}"
    return ""


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


def transport_fault(prepared: Transport) -> str:
    """What is wrong with the transport that runs, or empty. Call after the node has joined.

    Fast DDS only prints a line when it cannot parse a profile or make a segment, and goes on with its defaults.
    """
    if prepared.segment_bytes == 0:
        return prepared.fault
    segments = _segments()
    made = segments.keys() - prepared.segments_before
    if any(segments[name] >= prepared.segment_bytes for name in made):
        return ""
    return f"no such segment appeared in {SHARED_MEMORY}: Fast DDS runs on its defaults and may lose large images"


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
