"""Quality of service: reliable by default; what decides matching is open to qos_overrides parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from r3d2_ros.errors import InputError


def reliable(depth: int, *, transient_local: bool = False) -> QoSProfile:
    """Reliable, keep-last `depth`; transient_local also serves readers that join later."""
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if transient_local else DurabilityPolicy.VOLATILE,
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
    )


def overridable() -> QoSOverridingOptions:
    """Options that declare `qos_overrides.<topic>.<publisher|subscription>.<policy>` for one topic."""
    kinds = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)
    return QoSOverridingOptions(policy_kinds=kinds)


@contextmanager
def explained(topic: str) -> Iterator[None]:
    """What keeps a publisher or subscription of `topic` from being made becomes an InputError."""
    try:
        yield
    except (NameValidationException, ParameterException, RuntimeError, ValueError) as error:
        got = " ".join(str(error).split())
        raise InputError(f"topic '{topic}'", "a valid name and valid qos_overrides", got) from error
