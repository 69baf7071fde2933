"""A DDS domain of its own for the demo, so that it does not disturb a running system."""

from __future__ import annotations

import errno
import os
import random
import socket

VARIABLE = "ROS_DOMAIN_ID"
RANGE_VARIABLE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
DOMAINS = range(1, 102)
"""Linux hands the ports of higher domains out to clients; 0 is what everybody uses who says nothing."""


def demo_environment() -> dict[str, str]:
    """Variables for every process of the demo.

    A domain that the user has set is kept, and how it is discovered. Otherwise a free domain on this machine alone.
    """
    if os.environ.get(VARIABLE):
        return {VARIABLE: os.environ[VARIABLE]}
    return {VARIABLE: str(free_domain_id()), RANGE_VARIABLE: "LOCALHOST"}


def free_domain_id() -> int:
    """A domain whose first participant's port nobody has bound, chosen at random.

    Port by DDSI-RTPS 9.6.1.1: 7400 + 250 * domain, + 10 for the first participant's unicast discovery.
    """
    candidates = random.SystemRandom().sample(DOMAINS, len(DOMAINS))
    return next((domain for domain in candidates if _is_free(7400 + 250 * domain + 10)), candidates[0])


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True
