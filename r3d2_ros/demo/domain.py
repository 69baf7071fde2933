"""A DDS domain of its own for the demo, so that it does not disturb a running system."""

from __future__ import annotations

import errno
import os
import random
import socket
import sys

VARIABLE = "ROS_DOMAIN_ID"
RANGE_VARIABLE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
DOMAINS = range(1, 102)
"""Linux hands the ports of higher domains out to clients; 0 is what everybody uses who says nothing."""


_claims: dict[int, socket.socket] = {}
"""Domains that this process has been given; it keeps them as long as it lives."""


def demo_environment() -> dict[str, str]:
    """Variables for every process of the demo.

    A domain that the user has set is kept, and how it is discovered. Otherwise a free domain on this machine alone.
    """
    if os.environ.get(VARIABLE):
        return {VARIABLE: os.environ[VARIABLE]}
    return {VARIABLE: str(free_domain_id()), RANGE_VARIABLE: "LOCALHOST"}


def free_domain_id() -> int:
    """A domain whose first participant's port nobody has bound and that no other process was given, chosen at random.

    The port alone is not enough: a process loads its scene for a while before it binds it.
    Port by DDSI-RTPS 9.6.1.1: 7400 + 250 * domain, + 10 for the first participant's unicast discovery.
    """
    candidates = random.SystemRandom().sample(DOMAINS, len(DOMAINS))
    candidates.sort(key=lambda domain: domain not in _claims)  # its own first
    free = (domain for domain in candidates if _is_free(7400 + 250 * domain + 10) and _claimed(domain))
    return next(free, candidates[0])


def _claimed(domain: int) -> bool:
    """Claim a domain; False when another process has it. Linux takes an abstract address back when its process ends."""
    if domain in _claims or not sys.platform.startswith("linux"):
        return True
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0r3d2_ros/domain/{domain}")
    except OSError as error:
        claim.close()
        return error.errno != errno.EADDRINUSE
    _claims[domain] = claim
    return True


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True
