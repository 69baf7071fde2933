"""Gaussian files, scenes and asset libraries: reading and writing."""

from __future__ import annotations

from r3d2_ros.formats.cleaning import LoadedGaussians
from r3d2_ros.formats.libraries import load_asset, load_library, write_library
from r3d2_ros.formats.load import load_gaussians
from r3d2_ros.formats.ply import write_inria_ply
from r3d2_ros.formats.scenes import load_scene, write_scene

__all__ = [
    "LoadedGaussians",
    "load_asset",
    "load_gaussians",
    "load_library",
    "load_scene",
    "write_inria_ply",
    "write_library",
    "write_scene",
]
