"""Procedural pairs: which streets there are, and what is seen in each. Everything follows from the dataset's seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from r3d2_ros.boxes import box
from r3d2_ros.cameras import Rig
from r3d2_ros.dataset.garage import Thing, draw_kind, make_thing
from r3d2_ros.dataset.light import CameraGrade, Insert, draw_foreign_light, sky_colour, sun_colour
from r3d2_ros.dataset.meta import SampleActor, SampleCamera, SampleMeta, SampleSun, rows
from r3d2_ros.dataset.pairs import Stage, make_pair, naive_render
from r3d2_ros.dataset.placement import Standpoint, cover_each_other, crop_of, draw_place, draw_standpoint
from r3d2_ros.dataset.samples import SPLITS, Pair
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.harmonizer.compositing.region import BOX_CORNERS
from r3d2_ros.rendering.base import Renderer
from r3d2_ros.rigs.fields import MAX_PIXELS, MAX_SIDE_PX
from r3d2_ros.sky import Sky
from r3d2_ros.street.build import LitStreet, build_lit_street
from r3d2_ros.street.options import StreetOptions, check_detail

Rng = np.random.Generator

SEEDS_PER_SPLIT = 1_000_000_000
"""Streets of a split have seeds of their own range, whatever the dataset's seed: train from 1e9, val from 2e9, test
from 3e9. Seeds that people type are below all of them."""
LENGTH_M = 60.0
FEWEST_STREETS = 4
"""In val and test, where they have as many samples: what is measured must not hang on one street."""
MAX_SEED = 2**32 - 1
HOUSE_M, SHADE_REACH_M = 11.0, 7.0
"""Houses of this height mostly keep the sun from no more than this much of the street's width: else there would hardly
be a shadow to learn from."""
LEAST_ASIDE = 0.4
"""Of how far aside a sun may stand, mirrored ones do at least so much."""
TRIES = 60
SMALLEST_PX, LARGEST_SHARE = 160, 0.6
"""Pixels of the inserts in a sample: at least so many, of each where they cover each other, and at most this share of
the image."""


@dataclass(frozen=True)
class ProceduralOptions:
    """What a procedural dataset is a function of.

    counts      samples of train, val and test
    size        rows, columns of a sample: a part of a camera's image, or the whole
    frame       rows, columns of a camera's image; the demo's cameras have 540x960
    per_street  samples of one street
    suns        so many suns shine on a street, by turns from sample to sample; the second mirrors the first, and so on
    detail      of the streets, see `StreetOptions`
    covering    share of samples in which one of two inserts stands before the other
    """

    seed: int
    counts: tuple[int, int, int]
    size: tuple[int, int] = (256, 256)
    frame: tuple[int, int] = (540, 960)
    per_street: int = 40
    suns: int = 1
    detail: float = 1.0
    covering: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise InputError("--seed", f"0 to {MAX_SEED}", str(self.seed))
        if min(self.counts) < 0 or not sum(self.counts):
            raise InputError("--count", "at least one sample, and no more of val and test than all", str(self.counts))
        height, width = self.frame
        if max(height, width) > MAX_SIDE_PX or height * width > MAX_PIXELS:
            most = f"at most {MAX_SIDE_PX} pixels a side and {MAX_PIXELS // 1_000_000} megapixels"
            raise InputError("--frame", most, f"{height}x{width}")
        if self.size[0] > self.frame[0] or self.size[1] > self.frame[1]:
            whole, part = (f"{h}x{w}" for h, w in (self.frame, self.size))
            raise InputError("--size", f"at most the size of the camera's image, {whole}", part, "See --frame")
        check_detail("--detail", self.detail)
        if min(self.size) < 64:
            raise InputError("--size", "at least 64 pixels a side", f"{self.size[0]}x{self.size[1]}")
        if not 1 <= self.per_street <= 10_000:
            raise InputError("--per-street", "1 to 10000", str(self.per_street))
        if not 1 <= self.suns <= self.per_street:
            raise InputError("--suns", f"1 to {self.per_street}, the samples of a street", str(self.suns))
        if not 0 <= self.covering <= 1:
            raise InputError("--covering", "0 to 1", f"{self.covering:g}")


@dataclass(frozen=True)
class Sequence:
    """A street of a split, and the numbers of its samples. `key` seeds everything that is drawn for it.

    Number n is seen under sun n % suns. Numbers that follow each other from a multiple of `suns` on, a group, show the
    same inserts in the same place: they differ in what the street's light does.
    """

    split: str
    name: str
    street_seed: int
    count: int
    key: tuple[int, int, int]
    suns: int = 1

    def sample_name(self, number: int) -> str:
        return f"{self.name}_{number:04d}"

    def groups(self) -> list[range]:
        """The numbers of each group; the last may be cut short."""
        return [range(first, min(first + self.suns, self.count)) for first in range(0, self.count, self.suns)]


def plan_sequences(options: ProceduralOptions) -> list[Sequence]:
    """The streets of all splits: no two have the same seed."""
    plan = []
    for k, (split, count) in enumerate(zip(SPLITS, options.counts, strict=True)):
        if not count:
            continue
        groups, most = -(-count // options.suns), options.per_street // options.suns
        streets = max(-(-groups // most), 1 if split == "train" else min(FEWEST_STREETS, groups))
        # Different datasets start at different places of the range; within one the seeds follow each other.
        start = int(np.random.default_rng([options.seed, k]).integers(SEEDS_PER_SPLIT))
        for number in range(streets):
            seed = (k + 1) * SEEDS_PER_SPLIT + (start + number) % SEEDS_PER_SPLIT
            first, last = (options.suns * (groups * n // streets) for n in (number, number + 1))
            share = min(last, count) - first
            plan.append(Sequence(split, f"street{seed}", seed, share, (options.seed, k, number), options.suns))
    return plan


def street_options(sequence: Sequence, detail: float = 1.0, *, sun: int = 0) -> StreetOptions:
    """The street of a sequence: straight or a bend, under a sun that mostly reaches the road.

    Of several, suns 0 and 1 are each other's mirror image across the drive's first direction, and so are 2 and 3. They
    stand well to its sides, since mirrored suns above the drive would be the same.
    """
    rng = np.random.default_rng([*sequence.key, 0])
    bend = 0.0 if rng.random() < 0.5 else float(rng.choice([-1, 1])) / rng.uniform(90, 300)
    s = np.arange(0.0, LENGTH_M + 0.5, 1.0)
    heading = bend * s
    x, y = (np.concatenate([[0.0], np.cumsum(f(heading[:-1]))]) for f in (np.cos, np.sin))
    pair = sun // 2
    if pair:
        rng = np.random.default_rng([*sequence.key, 3, pair])
    elevation = float(rng.uniform(25, 62))
    across = min(1.0, SHADE_REACH_M * np.tan(np.radians(elevation)) / HOUSE_M) if rng.random() < 0.85 else 1.0
    ahead, aside = rng.choice([0.0, 180.0]), rng.uniform(-across, across)
    if sequence.suns > 1:
        aside = np.copysign(across * LEAST_ASIDE + (1 - LEAST_ASIDE) * abs(aside), aside)
    azimuth = ahead + np.degrees(np.arcsin(aside))
    azimuth = -azimuth if sun % 2 else azimuth
    return StreetOptions(
        seed=sequence.street_seed,
        path=tuple((float(a), float(b), 0.0) for a, b in zip(x, y, strict=True)),
        sun_azimuth_deg=float(azimuth) % 360,
        sun_elevation_deg=elevation,
        sun_power=_plain(sun_colour(rng, elevation)),
        sky=_plain(sky_colour(rng)),
        detail=detail,
    )


def make_stage(sequence: Sequence, detail: float, renderer: Renderer, *, sun: int = 0) -> Stage:
    """Build the street of a sequence under a sun; its sky is a little brighter or duller than the next one's."""
    lit = build_lit_street(street_options(sequence, detail, sun=sun), with_assets=False)
    pair = sun // 2
    rng = np.random.default_rng([*sequence.key, 1, pair] if pair else [*sequence.key, 1])
    image = lit.street.scene.sky.image
    assert image is not None
    tint = rng.uniform(0.85, 1.05) * np.exp(rng.normal(0, 0.03, 3))
    return Stage.of(lit, Sky(image=np.clip(image * tint, 0, 1).astype(np.float32)), renderer)


def make_group(
    stages: list[Stage], sequence: Sequence, group: range, options: ProceduralOptions, rig: Rig
) -> list[tuple[SampleMeta, Pair]]:
    """The samples of a group, the same whatever was made before. RuntimeError when no place is found.

    stages  the street under each of its suns. All of them reach the inserts, but where they stand in the shade
    """
    rng = np.random.default_rng([*sequence.key, 2, group.start // sequence.suns])
    stages = stages[: len(group)]
    first = stages[0]
    lits, suns = [stage.lit for stage in stages], [stage.lit.sun.direction for stage in stages]
    for _ in range(TRIES):
        standpoint = draw_standpoint(first.lit, rig, rng)
        covering = options.covering > 0 and rng.random() < options.covering
        inserts = _draw_inserts(lits, standpoint, rng, covering=covering)
        if not inserts:
            continue
        view = crop_of(standpoint.view, options.size, _interest(inserts if covering else inserts[:1], suns), rng)
        lights = [draw_foreign_light(rng, first.lit.sun) for _ in inserts]
        naive = naive_render(first, inserts, lights, view)
        assert naive.instance is not None
        seen = [np.count_nonzero(naive.instance == insert.instance) for insert in inserts]
        if sum(seen) > LARGEST_SHARE * naive.instance.size or (min(seen) if covering else sum(seen)) < SMALLEST_PX:
            continue
        grade = CameraGrade.draw(rng)
        sun_radius = float(np.radians(np.exp(rng.uniform(np.log(0.27), np.log(1.5)))))
        samples = []
        for number, stage in zip(group, stages, strict=True):
            naive = naive if stage is first else naive_render(stage, inserts, lights, view)
            pair = make_pair(stage, inserts, naive, view, sun_radius_rad=sun_radius, grade=grade)
            details = {
                "lights": [light.kind for light in lights],
                "gain": list(grade.gain),
                "sun_radius_deg": float(np.degrees(sun_radius)),
                "sun_power": list(stage.lit.sun.power),
                "sky": list(stage.lit.sun.sky),
            }
            assert naive.instance is not None
            meta = SampleMeta(
                name=sequence.sample_name(number),
                sequence=sequence.name,
                camera=SampleCamera.of(view, standpoint.camera.name),
                actors=tuple(_seen(inserts, naive.instance)),
                sun=SampleSun.of(stage.lit.sun.direction, view),
                origin=f"procedural street {sequence.street_seed}, sample {number}",
                seed=sequence.street_seed,
                details=details,
            )
            samples.append((meta, pair))
        return samples
    raise RuntimeError(f"no place for an insert in street {sequence.street_seed} after {TRIES} tries")


def _draw_inserts(lits: list[LitStreet], standpoint: Standpoint, rng: Rng, *, covering: bool) -> list[Insert]:
    """One or two; with `covering` two that cover each other, or none where there is no place for them."""
    inserts: list[Insert] = []
    taken: list[Array] = []
    for k in range(2 if covering or rng.random() < 0.2 else 1):
        thing = make_thing(draw_kind(rng), rng)

        def fits(pose: Rigid, thing: Thing = thing) -> bool:
            others = [(insert.thing, insert.T_scene_thing) for insert in inserts] if covering else []
            return all(cover_each_other(standpoint.view, other, (thing, pose)) for other in others)

        pose = draw_place(thing, lits, standpoint, taken, rng, fits=fits)
        if pose is not None:
            inserts.append(Insert(thing, pose, f"insert_{k}", len(inserts) + 1))
            taken.append(box(pose, thing.size_m))
    return inserts if len(inserts) == 2 or not covering else []


def _interest(inserts: list[Insert], suns: list[Array]) -> Array:
    """Points [N, 3] that a sample should show: the inserts' boxes and the ends of their shadows on the ground.

    suns  unit vectors towards each: where an insert is in the picture then tells nothing of which of them shines
    """
    points = []
    for insert in inserts:
        corners = insert.T_scene_thing.apply(BOX_CORNERS * insert.thing.size_m)
        height = (corners[:, 2] - insert.T_scene_thing.translation[2])[:, None]
        points += [corners, *(corners - height / sun[2] * sun for sun in suns)]
    return np.concatenate(points)


def _seen(inserts: list[Insert], instance: np.ndarray) -> Iterator[SampleActor]:
    """The inserts that have pixels in the image."""
    for insert in inserts:
        left, top, width, height = cv2.boundingRect((instance == insert.instance).view(np.uint8))
        if width:
            yield SampleActor(
                id=insert.id,
                asset=insert.thing.kind,
                category=insert.thing.kind,
                box_px=(left, top, left + width, top + height),
                size_m=insert.thing.size_m,
                T_world_actor=rows(insert.T_scene_thing.matrix()),
                instance=insert.instance,
            )


def _plain(values: Array) -> tuple[float, float, float]:
    r, g, b = (float(v) for v in values)
    return r, g, b
