"""Cars, vans, trucks and buses as lofted meshes in the vehicle frame (x forward, y left, z up, ground centre)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.street.lighting import linear
from r3d2_ros.street.lofts import barrel, disc, ellipsoid, inside, outline, quad_surfels, quads, stations
from r3d2_ros.street.meshes import Patches, cell_surfels, cut
from r3d2_ros.street.surfels import Surfels, join

Curve = Sequence[tuple[float, float]]
Polygon = Sequence[tuple[float, float]]

GLASS = np.array([0.012, 0.014, 0.016])
RUBBER = np.array([0.018, 0.018, 0.019])
TRIM = np.array([0.03, 0.03, 0.032])
ALLOY = np.array([0.42, 0.43, 0.44])
HEADLAMP = np.array([0.62, 0.64, 0.66])
TAIL_LAMP = linear((0.62, 0.05, 0.06))
PLATE = linear((0.88, 0.88, 0.82))
INDICATOR = linear((0.85, 0.45, 0.10))


@dataclass(frozen=True)
class Body:
    """Curves of a body over x (rear to front), all in metres.

    top          centre line of the roof, windows, bonnet
    belt         lower edge of the side windows, on the bonnet its side edge
    bottom       lower edge of the sides
    half_width   at the belt line
    roof_half_width  at the edge of the roof
    side_windows polygons in (x, z); windscreen, rear_window: x ranges of glass on the upper surface
    seams        x of door gaps
    lamps        (z low, z high, |y| low) of head lamps and of tail lamps
    """

    top: Curve
    belt: Curve
    bottom: Curve
    half_width: Curve
    roof_half_width: float
    wheels_x: tuple[float, ...]
    wheel_radius_m: float
    side_windows: Sequence[Polygon]
    windscreen: tuple[float, float] | None
    rear_window: tuple[float, float] | None
    seams: tuple[float, ...]
    head_lamps: tuple[float, float, float]
    tail_lamps: tuple[float, float, float]
    crown_m: float = 0.07
    bulge_m: float = 0.045
    front_glass: Polygon = ()
    rear_glass: Polygon = ()
    grille: tuple[float, float, float] = (0.42, 0.56, 0.45)
    step_m: float = 0.036

    @property
    def ends(self) -> tuple[float, float]:
        return self.top[0][0], self.top[-1][0]


def body_surfels(body: Body, paint: ArrayLike) -> Surfels:
    """The painted shell with glass, lamps, arches and wheels."""
    colour = np.asarray(paint, float)
    rear, front = body.ends
    seam_breaks = [x + d for x in body.seams for d in (-0.009, 0.009)]
    breaks = [
        b for b in (*(body.windscreen or ()), *(body.rear_window or ()), *seam_breaks) if rear < b < front
    ]
    x = stations([rear, front, *breaks], body.step_m)
    sections = _sections(body, x)
    parts = []
    for y_sign in (1, -1):
        for name, grid in sections.items():
            placed = grid * [1, y_sign, 1]
            parts.append(_painted(body, placed[::-1] if y_sign > 0 else placed, name, colour))
    parts += [_cap(body, sections, end, colour) for end in (-1, 1)]
    parts += [_wheel(body, wheel_x, side) for wheel_x in body.wheels_x for side in (1, -1)]
    return join(parts)


def _sections(body: Body, x: Array) -> dict[str, Array]:
    """Half cross sections (y >= 0) at stations x, as grids [len(x), J, 3] from the middle of the floor to the roof's."""
    top, belt, bottom = outline(body.top, x), outline(body.belt, x), outline(body.bottom, x)
    belt = np.minimum(belt, top - 0.02)
    width = outline(body.half_width, x)
    roof = max(z for _, z in body.top)
    tall = np.clip((top - belt) / (roof - np.interp(0, *np.array(body.belt).T)), 0, 1)
    edge_y = width - 0.03 + (body.roof_half_width - width + 0.03) * tall
    edge_z = top - body.crown_m * (0.35 + 0.65 * tall)
    edge_z = np.maximum(edge_z, belt + 0.005)
    middle = bottom + 0.62 * (belt - bottom)
    bulge = width + body.bulge_m

    def strip(
        y0: Array, z0: Array, y1: Array, z1: Array, count: int, bow: float = 0.0, lift: float = 0.0
    ) -> Array:
        f = np.linspace(0, 1, count + 1)
        curve = 4 * f * (1 - f)
        y = y0[:, None] + (y1 - y0)[:, None] * f + bow * curve
        z = z0[:, None] + (z1 - z0)[:, None] * f + lift * curve
        return np.stack([np.broadcast_to(x[:, None], y.shape), y, z], axis=-1)

    def cells(length: float) -> int:
        return max(2, int(np.ceil(length / body.step_m)))

    zero = np.zeros_like(x)
    sill = bulge - 0.06
    lower = strip(sill, bottom, bulge, middle, cells(float(np.max(middle - bottom))), bow=0.012)
    upper = strip(bulge, middle, width, belt, cells(float(np.max(belt - middle))), bow=0.012)
    return {
        "floor": strip(zero, bottom + 0.02, sill, bottom, 5),
        "side": np.concatenate([lower, upper[:, 1:]], axis=1),
        "windows": strip(width, belt, edge_y, edge_z, cells(float(np.max(edge_z - belt))), bow=0.012),
        "top": strip(edge_y, edge_z, zero, top, cells(float(np.max(edge_y))), lift=0.25 * body.crown_m),
    }


def _painted(body: Body, grid: Array, section: str, colour: Array) -> Surfels:
    """Material by place: glass, seams, lamps, sill; the wheel arches are left open."""
    centre, _, _, _ = quads(grid)
    x, y, z = centre.T
    albedo = np.broadcast_to(colour, centre.shape).copy()
    gloss = np.full(len(x), 0.11)
    openness = np.clip(0.45 + 0.9 * z / max(1.0, body.wheel_radius_m * 3), 0.3, 1.0)
    if section == "floor":
        albedo[:], gloss[:] = 0.01, 0.0
    glass = np.zeros(len(x), bool)
    if section == "windows":
        for polygon in body.side_windows:
            glass |= inside(x, z, polygon)
    if section == "top":
        edge = outline(body.half_width, x) - 0.12
        limit = np.minimum(edge, body.roof_half_width - 0.02 + 0.4 * (body.top[0][1] < 0))
        for pane in (body.windscreen, body.rear_window):
            if pane:
                glass |= (x > pane[0]) & (x < pane[1]) & (np.abs(y) < limit + 0.06)
    if section == "side":
        seam = np.zeros(len(x), bool)
        for s in body.seams:
            seam |= np.abs(x - s) < 0.01
        albedo[seam & (z > outline(body.bottom, x) + 0.1)] *= 0.25
        low = z < outline(body.bottom, x) + 0.09
        albedo[low], gloss[low] = TRIM, 0.02
    rear, front = body.ends
    for (z0, z1, y0), near, tint in (
        (body.head_lamps, x > front - 0.30, HEADLAMP), (body.tail_lamps, x < rear + 0.22, TAIL_LAMP)
    ):  # fmt: skip
        lamp = near & (z > z0) & (z < z1) & (np.abs(y) > y0) & (section in ("side", "windows"))
        albedo[lamp], gloss[lamp] = tint, 0.2
    albedo[glass], gloss[glass] = GLASS, 0.30
    out = quad_surfels(grid, albedo, gloss=gloss, openness=openness)
    if section not in ("side", "floor"):
        return out
    open_arch = np.zeros(len(out), bool)
    for wheel_x in body.wheels_x:
        r = np.hypot(out.position[:, 0] - wheel_x, out.position[:, 2] - body.wheel_radius_m)
        arch = body.wheel_radius_m * 1.16
        open_arch |= r < arch
        lip = (r >= arch) & (r < arch + 0.035) & (section == "side")
        out.albedo[lip] = TRIM
    return out.select(~open_arch)


def _cap(body: Body, sections: dict[str, Array], end: int, colour: Array) -> Surfels:
    """The face that closes the body at its rear (end -1) or front (end 1), slightly rounded in plan."""
    row = -1 if end > 0 else 0
    profile = np.concatenate([sections["side"][row], sections["windows"][row][1:], sections["top"][row][1:]])
    z = stations([profile[0, 2], profile[-1, 2] - 0.005], body.step_m)
    order = np.argsort(profile[:, 2])
    half = np.interp(z, profile[order, 2], profile[order, 1])
    across = np.linspace(-1, 1, max(6, int(np.ceil(2 * half.max() / body.step_m))) + 1)
    y = half[:, None] * across
    x = np.full_like(y, profile[0, 0]) + end * 0.035 * (1 - across**4)
    grid = np.stack([x, y, np.broadcast_to(z[:, None], y.shape)], axis=-1)
    grid = np.swapaxes(grid, 0, 1) if end > 0 else np.swapaxes(grid, 0, 1)[::-1]
    centre, _, _, _ = quads(grid)
    _, cy, cz = centre.T
    albedo = np.broadcast_to(colour, centre.shape).copy()
    gloss = np.full(len(cy), 0.10)
    low = z[0] + 0.12
    albedo[cz < low], gloss[cz < low] = TRIM, 0.02
    z0, z1, y0 = body.head_lamps if end > 0 else body.tail_lamps
    lamp = (cz > z0) & (cz < z1) & (np.abs(cy) > y0)
    if end > 0:
        g0, g1, gy = body.grille
        grille = (cz > g0) & (cz < g1) & (np.abs(cy) < gy)
        albedo[grille], gloss[grille] = TRIM * 0.7, 0.04
    for glass in (body.front_glass,) if end > 0 else (body.rear_glass,):
        if glass:
            pane = inside(np.abs(cy), cz, glass)
            albedo[pane], gloss[pane] = GLASS, 0.3
    albedo[lamp], gloss[lamp] = (HEADLAMP if end > 0 else TAIL_LAMP), 0.2
    plate_z = low + (0.10 if end > 0 else 0.16)
    plate = (np.abs(cy) < 0.26) & (np.abs(cz - plate_z) < 0.06)
    albedo[plate], gloss[plate] = PLATE, 0.0
    return quad_surfels(grid, albedo, gloss=gloss, openness=np.clip(0.5 + cz, 0.4, 1))


def _wheel(body: Body, x: float, side: int) -> Surfels:
    """Tyre, rim with spokes, and the dark inside of the arch."""
    r = body.wheel_radius_m
    width = float(outline(body.half_width, np.array([x]))[0]) + body.bulge_m - 0.03
    step = 0.03
    hub = np.array([x, side * (width - 0.02), r])
    tyre = quad_surfels(disc(hub, 0.66 * r, r, side, step=step), RUBBER, openness=0.8)
    face = disc(hub - [0, side * 0.02, 0], 0.0, 0.68 * r, side, step=0.024)
    centre, _, _, _ = quads(face)
    angle = np.arctan2(centre[:, 2] - r, centre[:, 0] - x)
    radial = np.hypot(centre[:, 2] - r, centre[:, 0] - x) / r
    spoke = (np.cos(5 * angle) > -0.15) | (radial < 0.2) | (radial > 0.58)
    rim = quad_surfels(
        face, np.where(spoke[:, None], ALLOY, 0.03), gloss=np.where(spoke, 0.12, 0.0), openness=0.8
    )
    tread = quad_surfels(barrel(hub - [0, side * 0.11, 0], r, 0.11, step=0.045), RUBBER, openness=0.6)
    arch = quad_surfels(
        barrel(hub - [0, side * 0.16, 0], 1.17 * r, 0.17, step=0.07, inward=True),
        [0.006, 0.006, 0.006],
        openness=0.2,
    )
    arch = arch.select(arch.position[:, 2] > 0.55 * r)
    back = quad_surfels(disc(hub - [0, side * 0.3, 0], 0.0, 1.17 * r, side, step=0.09), 0.006, openness=0.2)
    return join([tyre, rim, tread, arch, back.select(back.position[:, 2] > 0.3 * r)])


def _mirrors(x: float, y: float, z: float, colour: ArrayLike) -> Surfels:
    shells = [
        quad_surfels(ellipsoid((x, side * y, z), (0.07, 0.10, 0.07), step=0.035), colour, gloss=0.1)
        for side in (1, -1)
    ]
    return join(shells)


def _handles(body: Body, places: Sequence[float], z: float) -> Surfels:
    patches = Patches()
    for x in places:
        y = float(outline(body.half_width, np.array([x]))[0]) + 0.02
        for side in (1, -1):
            patches.box((x - 0.09, side * y - 0.015, z - 0.013), (x + 0.09, side * y + 0.015, z + 0.013), cell=(0.045, 0.02),
                        albedo=(0.25, 0.25, 0.26))  # fmt: skip
    cells = cut(patches)
    return cell_surfels(cells, cells.albedo)


HATCHBACK = Body(
    top=[(-2.08, 0.78), (-2.04, 0.98), (-1.95, 1.10), (-1.55, 1.36), (-1.15, 1.45), (-0.5, 1.48), (0.05, 1.45),
         (0.35, 1.36), (0.95, 1.03), (1.15, 0.97), (1.60, 0.90), (1.92, 0.78), (2.05, 0.66), (2.10, 0.60)],
    belt=[(-2.08, 0.75), (-1.9, 0.95), (-0.5, 0.93), (0.8, 0.88), (1.5, 0.80), (1.9, 0.70), (2.10, 0.56)],
    bottom=[(-2.08, 0.36), (-1.8, 0.24), (-1.0, 0.20), (1.0, 0.20), (1.8, 0.23), (2.10, 0.27)],
    half_width=[(-2.08, 0.68), (-1.95, 0.78), (-1.4, 0.83), (0.0, 0.845), (1.2, 0.83), (1.75, 0.77), (2.0, 0.66), (2.10, 0.58)],
    roof_half_width=0.60,
    wheels_x=(-1.27, 1.30),
    wheel_radius_m=0.315,
    side_windows=[
        [(-0.17, 0.96), (0.86, 0.93), (0.30, 1.345), (-0.17, 1.385)],
        [(-1.12, 0.98), (-0.25, 0.96), (-0.25, 1.385), (-1.08, 1.36)],
        [(-1.62, 1.02), (-1.20, 0.985), (-1.16, 1.345), (-1.40, 1.30)],
    ],
    windscreen=(0.12, 0.99),
    rear_window=(-1.92, -1.48),
    seams=(0.92, -0.21, -1.10),
    head_lamps=(0.60, 0.74, 0.42),
    tail_lamps=(0.74, 1.00, 0.52),
    grille=(0.40, 0.50, 0.50),
)  # fmt: skip

SALOON = replace(
    HATCHBACK,
    top=[(-2.30, 0.80), (-2.26, 0.98), (-2.15, 1.04), (-1.75, 1.06), (-1.50, 1.11), (-0.95, 1.36), (-0.55, 1.43), (-0.1, 1.44),
         (0.25, 1.40), (0.55, 1.31), (1.10, 1.00), (1.30, 0.95), (1.80, 0.88), (2.15, 0.76), (2.28, 0.64), (2.33, 0.58)],
    belt=[(-2.30, 0.76), (-2.1, 0.94), (-0.5, 0.92), (0.9, 0.87), (1.7, 0.79), (2.1, 0.69), (2.33, 0.54)],
    bottom=[(-2.30, 0.36), (-2.0, 0.24), (-1.1, 0.19), (1.1, 0.19), (2.0, 0.22), (2.33, 0.26)],
    half_width=[(-2.30, 0.68), (-2.15, 0.79), (-1.5, 0.85), (0.0, 0.865), (1.3, 0.85), (1.95, 0.78), (2.22, 0.67), (2.33, 0.58)],
    wheels_x=(-1.36, 1.42),
    wheel_radius_m=0.325,
    side_windows=[
        [(-0.01, 0.95), (1.00, 0.92), (0.46, 1.305), (-0.01, 1.365)],
        [(-0.98, 0.97), (-0.09, 0.95), (-0.09, 1.365), (-0.70, 1.33)],
        [(-1.36, 1.00), (-1.06, 0.975), (-0.80, 1.30), (-0.98, 1.26)],
    ],
    windscreen=(0.30, 1.14),
    rear_window=(-1.50, -0.80),
    seams=(1.07, -0.05, -1.02),
    tail_lamps=(0.76, 0.95, 0.45),
)  # fmt: skip

SUV = replace(
    HATCHBACK,
    top=[(-2.20, 0.90), (-2.17, 1.10), (-2.10, 1.26), (-1.80, 1.56), (-1.45, 1.64), (-0.6, 1.67), (0.0, 1.65), (0.3, 1.57),
         (0.92, 1.20), (1.10, 1.13), (1.65, 1.07), (2.05, 0.96), (2.20, 0.80), (2.25, 0.72)],
    belt=[(-2.20, 0.88), (-2.05, 1.08), (-0.5, 1.06), (0.8, 1.02), (1.6, 0.95), (2.05, 0.85), (2.25, 0.68)],
    bottom=[(-2.20, 0.45), (-1.9, 0.32), (-1.0, 0.28), (1.0, 0.28), (1.9, 0.31), (2.25, 0.36)],
    half_width=[(-2.20, 0.74), (-2.05, 0.84), (-1.4, 0.885), (0.0, 0.90), (1.2, 0.885), (1.85, 0.83), (2.14, 0.73), (2.25, 0.64)],
    roof_half_width=0.66,
    wheels_x=(-1.33, 1.36),
    wheel_radius_m=0.365,
    side_windows=[
        [(-0.16, 1.10), (0.84, 1.06), (0.28, 1.545), (-0.16, 1.575)],
        [(-1.10, 1.12), (-0.24, 1.10), (-0.24, 1.575), (-1.06, 1.555)],
        [(-1.86, 1.16), (-1.18, 1.12), (-1.14, 1.55), (-1.62, 1.50)],
    ],
    windscreen=(0.10, 0.95),
    rear_window=(-2.06, -1.74),
    seams=(0.92, -0.20, -1.10),
    head_lamps=(0.76, 0.90, 0.45),
    tail_lamps=(0.92, 1.14, 0.56),
    grille=(0.52, 0.80, 0.42),
)  # fmt: skip

VAN = replace(
    HATCHBACK,
    top=[(-2.72, 2.16), (-2.69, 2.26), (-2.55, 2.32), (-1.0, 2.36), (0.7, 2.34), (1.25, 2.22), (1.50, 2.06), (2.10, 1.36),
         (2.22, 1.26), (2.50, 1.12), (2.66, 0.92), (2.72, 0.84)],
    belt=[(-2.72, 1.16), (0.4, 1.16), (1.9, 1.14), (2.3, 1.06), (2.55, 0.96), (2.72, 0.80)],
    bottom=[(-2.72, 0.42), (-2.3, 0.36), (1.9, 0.34), (2.72, 0.38)],
    half_width=[(-2.72, 0.93), (-2.5, 0.95), (1.5, 0.95), (2.2, 0.92), (2.55, 0.84), (2.72, 0.72)],
    roof_half_width=0.84,
    wheels_x=(-1.70, 1.62),
    wheel_radius_m=0.345,
    side_windows=[[(0.72, 1.22), (1.98, 1.20), (1.42, 2.00), (0.72, 2.00)]],
    windscreen=(1.38, 2.16),
    rear_window=None,
    seams=(2.02, 0.62, -0.75),
    head_lamps=(0.84, 1.06, 0.52),
    tail_lamps=(0.95, 1.35, 0.80),
    rear_glass=[(0.07, 1.30), (0.70, 1.30), (0.66, 1.95), (0.07, 1.95)],
    grille=(0.62, 0.84, 0.52),
    crown_m=0.09,
    step_m=0.045,
)  # fmt: skip

BUS = replace(
    HATCHBACK,
    top=[(-5.95, 2.86), (-5.92, 2.98), (-5.8, 3.04), (0.0, 3.06), (5.6, 3.04), (5.85, 2.98), (5.95, 2.86)],
    belt=[(-5.95, 1.30), (5.95, 1.30)],
    bottom=[(-5.95, 0.36), (-5.4, 0.30), (5.4, 0.30), (5.95, 0.34)],
    half_width=[(-5.95, 1.14), (-5.8, 1.22), (5.7, 1.22), (5.95, 1.12)],
    roof_half_width=1.12,
    wheels_x=(-2.75, 3.10),
    wheel_radius_m=0.49,
    side_windows=[[(x, 1.36), (x + 1.32, 1.36), (x + 1.32, 2.55), (x, 2.55)] for x in np.arange(-5.6, 5.0, 1.40)],
    windscreen=None,
    rear_window=None,
    seams=(5.0, 3.9, 0.55, -0.65, -4.4),
    head_lamps=(0.62, 0.84, 0.78),
    tail_lamps=(0.85, 1.20, 0.95),
    front_glass=[(0.0, 1.10), (1.04, 1.10), (1.00, 2.55), (0.0, 2.55)],
    rear_glass=[(0.0, 1.75), (0.92, 1.75), (0.88, 2.55), (0.0, 2.55)],
    grille=(0.48, 0.56, 0.5),
    crown_m=0.16,
    bulge_m=0.03,
    step_m=0.062,
)  # fmt: skip

CAB = replace(
    HATCHBACK,
    top=[(1.75, 2.46), (1.78, 2.60), (1.95, 2.70), (2.9, 2.72), (3.35, 2.62), (3.50, 2.46)],
    belt=[(1.75, 1.50), (3.50, 1.46)],
    bottom=[(1.75, 0.62), (3.30, 0.44), (3.50, 0.44)],
    half_width=[(1.75, 1.10), (3.1, 1.12), (3.38, 1.08), (3.50, 0.98)],
    roof_half_width=1.02,
    wheels_x=(2.55,),
    wheel_radius_m=0.45,
    side_windows=[[(2.25, 1.56), (3.36, 1.56), (3.26, 2.34), (2.25, 2.34)]],
    windscreen=None,
    rear_window=None,
    seams=(2.08, 3.38),
    head_lamps=(0.72, 0.92, 0.66),
    tail_lamps=(8.0, 9.0, 9.0),
    front_glass=[(0.0, 1.46), (0.98, 1.46), (0.92, 2.36), (0.0, 2.36)],
    grille=(0.85, 1.25, 0.62),
    step_m=0.05,
)  # fmt: skip


def car(body: Body, paint: ArrayLike) -> Surfels:
    """A passenger car of one of the body shapes."""
    screen = body.windscreen[1]
    belt = float(outline(body.belt, np.array([screen]))[0])
    width = float(outline(body.half_width, np.array([screen]))[0])
    mirrors = _mirrors(screen - 0.22, width + 0.10, belt + 0.10, np.asarray(paint) * 0.9)
    handles = _handles(body, [s + 0.16 for s in body.seams[1:]], belt - 0.11)
    return join([body_surfels(body, paint), mirrors, handles])


def van(paint: ArrayLike) -> Surfels:
    """A delivery van."""
    return join([body_surfels(VAN, paint), _mirrors(1.95, 1.06, 1.38, TRIM)])


def bus(paint: ArrayLike) -> Surfels:
    """A city bus with window bands."""
    return join([body_surfels(BUS, paint), _mirrors(5.75, 1.30, 2.2, TRIM)])


def truck(cab: ArrayLike, box: ArrayLike) -> Surfels:
    """A box truck: cab, body on a frame, twin rear wheels."""
    patches = Patches()
    cell = (0.075, 0.075)
    patches.box((-3.6, -1.22, 0.95), (1.65, 1.22, 3.25), cell=cell, albedo=box)
    patches.box((-3.6, -1.23, 0.90), (1.65, 1.23, 1.02), cell=cell, albedo=TRIM * 2)
    patches.box((-3.5, -0.45, 0.55), (2.2, 0.45, 0.9), cell=(0.1, 0.1), albedo=TRIM)
    patches.box((-1.0, -1.15, 0.5), (1.5, 1.15, 0.86), cell=(0.1, 0.1), albedo=TRIM * 2)
    patches.box((-3.62, -1.1, 0.72), (-3.55, 1.1, 0.88), cell=(0.06, 0.06), albedo=TAIL_LAMP, faces="x")
    cells = cut(patches)
    open_to_sky = np.clip(0.4 + 0.5 * cells.position[:, 2], 0.35, 1.0)
    load = cell_surfels(cells, cells.albedo, openness=open_to_sky, gloss=0.03)
    axle = replace(CAB, half_width=[(-9, 1.16), (9, 1.16)], wheels_x=(-2.3,))
    rear = [_wheel(axle, -2.3, side) for side in (1, -1)]
    return join([body_surfels(CAB, cab), load, *rear, _mirrors(3.2, 1.24, 1.9, TRIM)])


def colour(srgb: tuple[float, float, float]) -> NDArray[np.float64]:
    """Car paint from an sRGB colour."""
    return linear(srgb)
