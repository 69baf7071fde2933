"""A program of its own: subscribes to an image topic with Cyclone DDS, prints what it got. Knows nothing of ROS.

No `from __future__ import annotations` here: cyclonedds reads the types themselves.
"""

import sys
import time
from dataclasses import dataclass

from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import int32, sequence, uint8, uint32
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration


@dataclass
class Time(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    sec: int32
    nanosec: uint32


@dataclass
class Header(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    stamp: Time
    frame_id: str


@dataclass
class Image(IdlStruct, typename="sensor_msgs::msg::dds_::Image_"):
    header: Header
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]


def main(domain: int, topic: str, wanted: int, timeout_s: float) -> int:
    participant = DomainParticipant(domain)
    qos = Qos(Policy.Reliability.Reliable(duration(seconds=1)), Policy.History.KeepLast(50))
    reader = DataReader(participant, Topic(participant, topic, Image, qos=qos), qos=qos)
    print("ready", flush=True)
    got, end = 0, time.monotonic() + timeout_s
    while got < wanted and time.monotonic() < end:
        for image in reader.take(N=10):
            stamp_ms = image.header.stamp.sec * 1000 + image.header.stamp.nanosec // 1_000_000
            size = f"{image.width}x{image.height}"
            print(image.header.frame_id, stamp_ms, size, image.encoding, len(image.data), image.data[0], flush=True)
            got += 1
        time.sleep(0.01)
    return 0 if got >= wanted else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
