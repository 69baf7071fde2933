"""Shop fronts: fascia with lettering, awning. In the house frame of `facades`."""

from __future__ import annotations

from typing import Any

from r3d2_ros.street.meshes import Patches
from r3d2_ros.street.noise import hash01
from r3d2_ros.street.styles import AWNING, Style


def add_shop_front(patches: Patches, style: Style, hole: tuple[float, float, float, float]) -> None:
    """A painted fascia above the window and, at some shops, an awning."""
    x0, x1, _, z1 = hole
    fascia: dict[str, Any] = {"cell": (0.2, 0.1), "albedo": style.accent}
    patches.box((x0 - 0.1, -0.12, z1 + 0.05), (x1 + 0.1, 0, z1 + 0.5), faces="yZzxX", **fascia)
    _lettering(patches, style, (x0 + 0.25, x1 - 0.25), z1 + 0.17)
    if style.seed % 2:
        cloth: dict[str, Any] = {"albedo": style.accent, "kind": AWNING}
        corner = (x0 - 0.05, -1.15, z1 - 0.35)
        patches.add(corner, (x1 - x0 + 0.1, 0, 0), (0, 1.1, 0.42), cell=(0.1, 0.2), **cloth)
        patches.add((x0 - 0.05, -1.15, z1 - 0.53), (x1 - x0 + 0.1, 0, 0), (0, 0, 0.18), cell=(0.1, 0.09), **cloth)


def _lettering(patches: Patches, style: Style, span: tuple[float, float], z: float) -> None:
    """Raised letters that nobody can read: two uprights or one, and a bar or two between them."""
    paint: dict[str, Any] = {"albedo": (0.66, 0.60, 0.48)}
    pitch, wide, high, stroke = 0.17, 0.11, 0.20, 0.026
    count = min(int((span[1] - span[0]) / pitch), 6 + style.seed % 5)
    start = 0.5 * (span[0] + span[1] - count * pitch)
    for k in range(count):
        form = int(16 * float(hash01(k, style.seed % 911, 3)))
        x = start + k * pitch
        if form == 15:
            continue
        for dx in (0.0, wide - stroke)[: 1 + form % 2]:
            patches.add((x + dx, -0.14, z), (stroke, 0, 0), (0, 0, high), cell=(stroke, 0.1), **paint)
        for bit, dz in ((2, 0.0), (4, 0.5 * (high - stroke)), (8, high - stroke)):
            if form & bit or (bit == 2 and form < 2):
                patches.add((x, -0.14, z + dz), (wide, 0, 0), (0, 0, stroke), cell=(0.11, stroke), **paint)
