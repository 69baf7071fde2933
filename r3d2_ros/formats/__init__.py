"""Gaussian files, scenes and asset libraries: reading and writing."""

from __future__ import annotations

from r3d2_ros.formats.assembly import LoadedGaussians
from r3d2_ros.formats.load import load_gaussians
from r3d2_ros.formats.ply import write_inria_ply

__all__ = ["LoadedGaussians", "load_gaussians", "write_inria_ply"]
