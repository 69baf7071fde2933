"""The network that `harmonizer.backend` names, ready to run."""

from __future__ import annotations

from collections.abc import Callable

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.base import ImageNetwork
from r3d2_ros.harmonizer.settings import HarmonizerConfig


def _r3d2(config: HarmonizerConfig) -> ImageNetwork:
    from r3d2_ros.harmonizer.runtime.runtime import load_runtime

    return load_runtime(config)


def _pipeline(config: HarmonizerConfig) -> ImageNetwork:
    from r3d2_ros.harmonizer.pipelines.network import load_pipeline

    return load_pipeline(config)


NETWORKS: dict[str, Callable[[HarmonizerConfig], ImageNetwork]] = {"r3d2": _r3d2, "pipeline": _pipeline}


def load_network(config: HarmonizerConfig) -> ImageNetwork:
    """InputError(s) for a device or files that cannot be used, MissingPackageError for a package not installed."""
    if config.backend not in NETWORKS:
        raise InputError("harmonizer.backend", " | ".join(NETWORKS), config.backend)
    return NETWORKS[config.backend](config)
