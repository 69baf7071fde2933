"""The shared-memory transport: sized to what is free, in force, and left alone where the user chose one."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from r3d2_ros.nodes.transport import MIB, segment_size, sized_profile
from r3d2_ros.resources import config_dir

NAMESPACE = "{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}"

JOIN = """
import rclpy
from rclpy.node import Node
from r3d2_ros.nodes.transport import prepare_transport, transport_fault
prepared = prepare_transport()
rclpy.init()
node = Node("probe")
print(prepared.text, transport_fault(prepared), sep="|")
rclpy.shutdown()
"""


@pytest.mark.parametrize(
    ("free_mib", "segment_mib"), [(24_000, 128), (256, 128), (255, 127), (64, 32), (32, 16), (31, 0), (0, 0)]
)
def test_segment_takes_at_most_half_of_what_is_free(free_mib: int, segment_mib: int) -> None:
    assert segment_size(free_mib * MIB) == segment_mib * MIB


def test_sized_profile_keeps_a_message_within_the_segment() -> None:
    root = ElementTree.fromstring(sized_profile(config_dir() / "fastdds.xml", 32 * MIB))
    assert root.findtext(f".//{NAMESPACE}segment_size") == str(32 * MIB)
    assert root.findtext(f".//{NAMESPACE}maxMessageSize") == str(16 * MIB)


def join(**environment: str) -> str:
    names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")
    clean = {k: v for k, v in os.environ.items() if k not in names}
    run = subprocess.run(
        [sys.executable, "-c", JOIN], env={**clean, **environment}, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip().splitlines()[-1]


def test_the_segment_is_really_made() -> None:
    text, fault = join().split("|")
    assert text.startswith("Fast DDS shared memory, segment ") and fault == ""


def test_a_users_own_choice_is_kept() -> None:
    assert join(FASTDDS_BUILTIN_TRANSPORTS="UDPv4") == "Fast DDS as configured by FASTDDS_BUILTIN_TRANSPORTS=UDPv4|"


def test_a_users_profile_that_cannot_be_used_is_a_fault(tmp_path: Path) -> None:
    broken = tmp_path / "profile.xml"
    broken.write_text("<dds>")
    for path in (broken, tmp_path / "missing.xml"):
        text, fault = join(FASTRTPS_DEFAULT_PROFILES_FILE=str(path)).split("|")
        assert str(path) in text and "the file cannot be used" in fault
