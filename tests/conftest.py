"""What every test runs in: a DDS domain of its own, one cache for the run, and no shared memory left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.dds_isolation import CYCLONE_ON_THIS_MACHINE, free_domain_id, remove_orphaned_segments, segment_names

ROOT = Path(__file__).resolve().parents[1]

# The same examples in every run, and no verdict on how busy the machine is.
settings.register_profile("project", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")

# Set before anything imports rclpy, and inherited by the processes that tests start.
worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ["ROS_DOMAIN_ID"] = str(free_domain_id(share=worker % workers, shares=workers))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["CYCLONEDDS_URI"] = CYCLONE_ON_THIS_MACHINE
# PyTorch's threads spin while they wait for each other: on a busy machine small networks take ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["R3D2_CACHE_DIR"] = str(ROOT / "out" / "test-cache")
# A shell has what it starts in the background ignore interrupts, and so would do the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_shared_memory_left_behind() -> Iterator[None]:
    """A process that was killed leaves its Fast DDS segments, 128 MiB each, in /dev/shm."""
    before = segment_names()
    yield
    remove_orphaned_segments(segment_names() - before)
