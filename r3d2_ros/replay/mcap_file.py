"""Writing MCAP files that `ros2 bag` and Foxglove open: ROS 2 profile, definitions of every type, offered QoS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from mcap.writer import CompressionType, Writer

from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import write_problem
from r3d2_ros.replay.definitions import standard_types
from r3d2_ros.versions import own_version

CHUNK_BYTES = 2**20
FOREVER = {"sec": 2147483647, "nsec": 4294967295}

RELIABLE, VOLATILE, TRANSIENT_LOCAL, KEEP_LAST, AUTOMATIC = 1, 2, 1, 1, 1
"""Values of rmw_qos_*_policy_t, as `ros2 bag` writes them into MCAP files."""


def qos(*, transient_local: bool = False, depth: int = 10) -> str:
    """Offered QoS of a channel, as text."""
    profile = {
        "history": KEEP_LAST,
        "depth": depth,
        "reliability": RELIABLE,
        "durability": TRANSIENT_LOCAL if transient_local else VOLATILE,
        "deadline": FOREVER,
        "lifespan": FOREVER,
        "liveliness": AUTOMATIC,
        "liveliness_lease_duration": FOREVER,
        "avoid_ros_namespace_conventions": False,
    }
    return yaml.safe_dump([profile], sort_keys=False)


def opened(path: Path) -> BinaryIO:
    return path.open("wb")


class McapFile:
    """A file that is being written. A topic is made known before its first message.

    InputError, naming the file, when it cannot be written, such as for a full disk.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        try:
            self._file = opened(path)
            self._writer = Writer(self._file, chunk_size=CHUNK_BYTES, compression=CompressionType.NONE)
            self._writer.start(profile="ros2", library=f"r3d2_ros {own_version()}")
        except OSError as error:
            raise self._problem(error) from error

    def __contains__(self, topic: str) -> bool:
        return topic in self._channels

    def add_topic(
        self, topic: str, msgtype: str, *, definition: tuple[str, bytes] | None = None, offered_qos: str = ""
    ) -> None:
        """Make a topic known. definition: encoding and text; None for a type that comes with the program."""
        if msgtype not in self._schemas:
            if definition is None:
                text, _ = standard_types().generate_msgdef(msgtype, ros_version=2)
                definition = ("ros2msg", text.encode())
            self._schemas[msgtype] = self._writer.register_schema(msgtype, *definition)
        metadata = {"offered_qos_profiles": offered_qos or qos()}
        self._channels[topic] = self._writer.register_channel(topic, "cdr", self._schemas[msgtype], metadata)

    def write(self, topic: str, log_ns: int, data: bytes | memoryview) -> None:
        try:
            # Times before 1970 have no place in the format; stamps of simulations may be there after a shift.
            time_ns = max(0, log_ns)
            self._writer.add_message(self._channels[topic], time_ns, data, time_ns)  # type: ignore[arg-type]
        except OSError as error:
            raise self._problem(error) from error

    def add_metadata(self, name: str, values: Mapping[str, Any]) -> None:
        try:
            self._writer.add_metadata(name, {key: str(value) for key, value in values.items()})
        except OSError as error:
            raise self._problem(error) from error

    def close(self) -> None:
        """Write index and end."""
        try:
            self._writer.finish()
            self._file.close()
        except OSError as error:
            self.abandon()
            raise self._problem(error) from error

    def abandon(self) -> None:
        """Close without an index: what is whole can be read from the beginning."""
        try:
            self._file.close()
        except OSError:
            return

    def _problem(self, error: OSError) -> InputError:
        return InputError(str(self._path), "a file that can be written", write_problem(self._path, error))
