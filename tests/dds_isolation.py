"""Keeps runs of the tests apart from other DDS programs on the machine, and removes what killed ones leave behind."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
LOCK_SUFFIX = "_el"

CYCLONE_ON_THIS_MACHINE = (
    "<CycloneDDS><Domain><General><AllowMulticast>false</AllowMulticast></General><Discovery>"
    '<ParticipantIndex>auto</ParticipantIndex><Peers><Peer address="127.0.0.1"/></Peers>'
    "</Discovery></Domain></CycloneDDS>"
)
"""Lets Cyclone DDS meet Fast DDS under ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST, where nobody hears multicast."""


def free_domain_id(*, share: int = 0, shares: int = 1) -> int:
    """A domain id from 1 to 101 whose first participant's port nobody has bound.

    Processes that start together and know of each other take a different `share` of `shares` each.

    Ports by DDSI-RTPS 9.6.1.1: 7400 + 250 * domain, + 10 for the first participant's unicast discovery. Domains above
    101 reach into the ports that Linux hands out to clients.
    """
    domains = range(1 + share, 102, shares)
    candidates = random.SystemRandom().sample(domains, len(domains))
    for domain in candidates:
        if _port_is_free(7400 + 250 * domain + 10):
            return domain
    return candidates[0]


def _port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def segment_names() -> set[str]:
    """Names of the Fast DDS data segments in shared memory, without their lock files."""
    return {
        path.name.removesuffix(LOCK_SUFFIX)
        for path in SHARED_MEMORY.glob("fastrtps_*" + LOCK_SUFFIX)
        if not path.name.startswith("fastrtps_port")
    }


def remove_orphaned_segments(names: set[str]) -> None:
    """Remove those of the segments whose owner is gone: Fast DDS holds a lock on `<segment>_el` while it lives."""
    for name in names:
        lock_file = SHARED_MEMORY / (name + LOCK_SUFFIX)
        try:
            descriptor = os.open(lock_file, os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            (SHARED_MEMORY / name).unlink(missing_ok=True)
            lock_file.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
