"""Temporal blending, on a plane seen from above, where every number can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from r3d2_ros.cameras import Camera, CameraView
from r3d2_ros.config import load_config
from r3d2_ros.errors import InputErrors
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.compositing.region import ActorBox
from r3d2_ros.harmonizer.settings import HarmonizerConfig, TemporalConfig
from r3d2_ros.harmonizer.temporal.blend import TemporalHistory, blend
from r3d2_ros.harmonizer.temporal.patch import CameraResidual
from r3d2_ros.harmonizer.windows import Window

HEIGHT, WIDTH = 80, 120
# 10 m above the ground, looking down, the top of the image towards +x: 1 m of ground is 10 pixels.
K = np.array([[100.0, 0, WIDTH / 2 - 0.5], [0, 100.0, HEIGHT / 2 - 0.5], [0, 0, 1]])
DOWN = Camera("down", WIDTH, HEIGHT, K, Rigid(np.array([[0, -1, 0], [-1, 0, 0], [0, 0, -1.0]]), np.array([0, 0, 10.0])))
CONFIG = HarmonizerConfig(temporal=TemporalConfig(enabled=True, blend=0.8))
SIZE_M = (2.0, 1.0, 0.01)
"""Of the car: 20 rows and 10 columns of the image."""

Paint = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""A change as a function of x and y in metres."""


def grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y [H, W] on the ground of the pixels' centres."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    return (HEIGHT / 2 - rows) / 10, (WIDTH / 2 - columns) / 10


def nothing(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.0 * x


def texture(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 or 0.2 in squares of 0.2 m, at random."""
    squares = np.floor(x * 5 + 0.01).astype(int) * 31 + np.floor(y * 5 + 0.01).astype(int) * 17
    return 0.2 * (np.sin(squares * 12.9898) * 43758.5453 % 1 > 0.5)


def shadow(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Left of the car, 1 m wide."""
    return -0.3 * ((np.abs(x) < 1) & (y > 0.5) & (y < 1.5))


def car(x_m: float, y_m: float = 0.0, *, id: str = "car", number: int = 1) -> ActorBox:
    return ActorBox(Rigid.from_xyz_yaw(x_m, y_m, 0, 0), SIZE_M, id, number)


def picture(
    *cars: ActorBox,
    on_car: Paint = nothing,
    on_ground: Paint = nothing,
    around_car: Paint = nothing,
    mask: NDArray[np.float32] | None = None,
    view: CameraView | None = None,
) -> CameraResidual:
    """The ground 10 m away with cars on it; what the network changes is painted on either, or goes with a car."""
    x, y = grid()
    change, instance = on_ground(x, y), np.zeros((HEIGHT, WIDTH), np.int32)
    for actor in cars:
        x_m, y_m, _ = actor.T_world_actor.translation
        own = (np.abs(x - x_m) < SIZE_M[0] / 2) & (np.abs(y - y_m) < SIZE_M[1] / 2)
        instance[own] = actor.instance
        change = np.where(own, on_car(x - x_m, y - y_m), change + around_car(x - x_m, y - y_m))
    return CameraResidual(
        "down",
        view or DOWN.view(Rigid.identity()),
        residual=torch.from_numpy(np.broadcast_to(change, (3, HEIGHT, WIDTH)).astype(np.float32)),
        mask=None if mask is None else torch.from_numpy(mask),
        depth=torch.full((HEIGHT, WIDTH), 10.0),
        instance=torch.from_numpy(instance),
    )


def step(
    camera: CameraResidual,
    cars: Sequence[ActorBox] = (),
    history: TemporalHistory | None = None,
    *,
    ms: float = 0.0,
    config: HarmonizerConfig = CONFIG,
) -> tuple[Tensor, TemporalHistory]:
    (residual,), history = blend([camera], actors=cars, stamp_ns=round(ms * 1e6), history=history, config=config)
    assert residual is not None
    return residual, history


def constant(value: float, **arguments: object) -> CameraResidual:
    return picture(on_ground=lambda x, y: value + 0 * x, **arguments)  # type: ignore[arg-type]


def test_the_first_frame_is_what_the_network_gave() -> None:
    camera = picture(car(0), on_car=texture, on_ground=texture)
    assert torch.equal(step(camera, [car(0)])[0], camera.residual)


def test_standing_still_the_carried_residual_has_the_configured_share() -> None:
    _, history = step(constant(0.10))
    second, history = step(constant(0.12), history=history, ms=100)
    # 0.8 * 0.10 + 0.2 * 0.12, then 0.8 * 0.104 + 0.2 * 0.12
    assert second.min().item() == pytest.approx(0.104) and second.max().item() == pytest.approx(0.104)
    third, _ = step(constant(0.12), history=history, ms=200)
    assert third.mean().item() == pytest.approx(0.1072, abs=1e-6)


def test_standing_still_the_noise_converges_to_a_third() -> None:
    random, history, blended = torch.Generator().manual_seed(0), None, torch.zeros(3, HEIGHT, WIDTH)
    for k in range(30):
        camera = constant(0.1)
        noise = 0.01 * torch.randn(3, HEIGHT, WIDTH, generator=random)
        blended, history = step(replace(camera, residual=camera.residual + noise), history=history, ms=100 * k)
    # A geometric mean with ratio w leaves sqrt((1 - w) / (1 + w)) = 1 / 3 of the noise.
    assert blended.std().item() == pytest.approx(0.01 / 3, rel=0.05)
    assert blended.mean().item() == pytest.approx(0.1, abs=1e-4)


def test_a_change_that_is_no_flicker_is_taken_at_once() -> None:
    _, history = step(constant(0.0))
    # The tolerance is 0.05; from twice that on, nothing is carried.
    after, _ = step(constant(-0.11), history=history, ms=100)
    assert torch.equal(after, constant(-0.11).residual)


def test_outside_the_mask_there_is_exactly_nothing_whatever_the_network_gave() -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[20:50, 30:70] = 0.5
    camera = constant(0.1, mask=mask)
    assert camera.residual is not None
    camera.residual[:, mask == 0] = float("nan")
    first, history = step(camera)
    second, _ = step(constant(0.12, mask=mask), history=history, ms=100)
    for residual, value in ((first, 0.1), (second, 0.104)):
        assert torch.all(residual[:, mask == 0] == 0)
        np.testing.assert_allclose(residual[:, mask > 0], value, rtol=1e-5)


@pytest.mark.parametrize("rows", [180, 720, 900, 1080])
def test_bounds_of_the_mask_that_are_given_change_nothing(rows: int) -> None:
    """Blocks of 2, 5, 7 and 8 pixels: they lie where they lay, however near to the mask the bounds are."""
    size, random = (rows, 160), torch.Generator().manual_seed(rows)
    mask, depth = torch.zeros(size), torch.full(size, 10.0)
    mask[23:121, 37:118] = 1
    view = replace(DOWN, width_px=size[1], height_px=size[0]).view(Rigid.identity())
    changes = [
        0.04 * F.interpolate(torch.randn(1, 3, rows // 20, 8, generator=random), size=size, mode="bilinear")[0]
        for _ in range(2)
    ]

    def blended(*windows: Window | None) -> Tensor:
        residual, history = torch.empty(0), None
        for k, (change, window) in enumerate(zip(changes, windows, strict=True)):
            camera = CameraResidual("down", view, change, mask, depth, torch.zeros(size, dtype=torch.int32), window)
            residual, history = step(camera, history=history, ms=100 * k)
        return residual

    exact, whole = Window(23, 37, 121, 118), Window(0, 0, *size)
    expected = blended(whole, whole)
    assert (expected - changes[1] * mask).abs().max() > 5 / 255, "something was carried"
    for windows in ((exact, exact), (exact, Window(20, 20, 124, 121)), (Window(7, 11, 133, 126), whole), (None, None)):
        np.testing.assert_allclose(blended(*windows), expected, atol=1e-5)


@pytest.mark.parametrize("pixels", [[], [(0, 0)], [(79, 119)], [(5, 7), (6, 7)]])
def test_a_mask_of_hardly_any_pixels(pixels: list[tuple[int, int]]) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    for pixel in pixels:
        mask[pixel] = 1
    _, history = step(constant(0.10, mask=mask))
    after, _ = step(constant(0.12, mask=mask), history=history, ms=100)
    np.testing.assert_allclose(after[0], 0.104 * mask, atol=1e-6)


def test_where_the_region_grows_the_new_residual_counts() -> None:
    small, large = (np.zeros((HEIGHT, WIDTH), np.float32) for _ in range(2))
    small[:, :40] = large[:, :100] = 1
    _, history = step(constant(0.1, mask=small))
    after, _ = step(constant(0.1, mask=large), history=history, ms=100)
    np.testing.assert_allclose(after[:, :, :100], 0.1, rtol=1e-6)


def test_what_is_painted_on_a_car_goes_with_it() -> None:
    # 0.3 m forward is 3 pixels up. The network repeats itself exactly, so that the blend has to as well.
    history = None
    for k in range(5):
        now = car(-1 + 0.3 * k)
        camera = picture(now, on_car=texture)
        blended, history = step(camera, [now], history, ms=100 * k)
        np.testing.assert_allclose(blended, camera.residual, atol=1e-4)


def test_what_is_painted_on_the_ground_stays_there_while_camera_and_car_move() -> None:
    history = None
    for k in range(5):
        now = car(-1 + 0.3 * k)
        camera = picture(now, on_ground=texture)
        # The camera flies sideways by 0.2 m or 2 pixels per frame: the same world, seen from a world moved backwards.
        T = Rigid(np.eye(3), np.array([0.0, 0.2 * k, 0.0]))
        actor = replace(now, T_world_actor=T @ now.T_world_actor)
        camera = replace(camera, view=DOWN.view(T))
        on_ground = texture(grid()[0], grid()[1] + 0.2 * k)
        residual = torch.where(camera.instance > 0, camera.residual, torch.from_numpy(on_ground).to(torch.float32))
        camera = replace(camera, residual=residual)
        blended, history = step(camera, [actor], history, ms=100 * k)
        # Next to the car a little of the ground's other motion remains, at most 3 of 51 grey levels.
        np.testing.assert_allclose(blended, residual, atol=3 / 255)
        assert (blended - residual).abs().mean().item() < 0.01 / 255


def test_the_shadow_of_a_car_that_moves_leaves_no_trail() -> None:
    history = None
    for k in range(6):
        now = car(-1.5 + 0.5 * k)
        camera = picture(now, around_car=shadow)
        blended, history = step(camera, [now], history, ms=100 * k)
        # A trail would have the shadow's 76 grey levels. A dozen pixels beside the car are off by at most 4.
        error = (blended - camera.residual)[0].abs() * 255
        assert error.max() < 4 and (error > 1).sum() < 20


def test_the_shadow_of_a_car_that_moves_does_not_flicker_either() -> None:
    random, history, errors = np.random.default_rng(0), None, []
    for k in range(8):
        now = car(-1.7 + 0.5 * k)
        clean = picture(now, around_car=shadow)
        flicker = np.float32(0.015 * random.normal())
        blended, history = step(replace(clean, residual=clean.residual + flicker), [now], history, ms=100 * k)
        in_shadow = clean.residual[0] < -0.2
        errors.append((abs(flicker), (blended - clean.residual)[0][in_shadow].abs().mean().item()))
    raw, left = np.mean(errors[3:], axis=0)
    assert left < 0.6 * raw


def test_a_car_that_jumps_or_changes_its_size_is_a_new_one() -> None:
    _, history = step(picture(car(0), on_car=lambda x, y: 0.1 + 0 * x), [car(0)])

    def after(moved: ActorBox, ms: float = 100) -> float:
        camera = picture(moved, on_car=lambda x, y: 0.12 + 0 * x)
        residual, _ = step(camera, [moved], history, ms=ms)
        return residual[0][camera.instance > 0].mean().item()

    # The ground beside it did not change, so that nothing is spread from there.
    assert after(car(1.0)) == pytest.approx(0.104, abs=1e-4)
    # 80 m/s allow 8 m in 100 ms and 2 m in 25 ms.
    assert after(car(2.5), ms=25) == pytest.approx(0.12, abs=2e-3)
    assert after(replace(car(1.0), size_m=(2.0, 1.2, 0.01))) == pytest.approx(0.12, abs=2e-3)
    # A tracker's sizes are never twice the same.
    assert after(replace(car(1.0), size_m=(2.001, 1.05, 0.01))) == pytest.approx(0.104, abs=1e-4)


def test_cars_are_known_by_their_ids_whatever_their_numbers() -> None:
    left, right = car(0, 2, id="left", number=1), car(0, -2, id="right", number=2)
    first = picture(left, right, on_car=texture)
    _, history = step(first, [left, right])
    expected, _ = step(picture(left, right, on_car=nothing), [left, right], history, ms=100)
    # The same two with their numbers exchanged, and with numbers that were not there before.
    for numbers in ((2, 1), (7, 1), (5, 6)):
        renamed = [replace(actor, instance=n) for actor, n in zip((left, right), numbers, strict=True)]
        again, _ = step(picture(*renamed, on_car=nothing), renamed, history, ms=100)
        assert torch.equal(again, expected)


def test_another_car_in_the_place_and_with_the_number_of_one_that_left_inherits_nothing() -> None:
    _, history = step(picture(car(0), on_car=lambda x, y: 0.1 + 0 * x), [car(0)])
    other = car(0, id="other")
    camera = picture(other, on_car=lambda x, y: 0.12 + 0 * x)
    residual, _ = step(camera, [other], history, ms=100)
    np.testing.assert_allclose(residual[0][camera.instance > 0], 0.12, atol=2e-3)


@pytest.mark.parametrize("ms", [-100.0, 0.0, 501.0, 1e6])
def test_nothing_is_carried_over_a_gap_or_a_step_back_in_time(ms: float) -> None:
    _, history = step(constant(0.10), ms=1000)
    after, _ = step(constant(0.12), history=history, ms=1000 + ms)
    assert torch.equal(after, constant(0.12).residual)


def test_a_camera_of_another_size_begins_anew() -> None:
    _, history = step(constant(0.10))
    camera = constant(0.12)
    view = DOWN.resized(WIDTH // 2, HEIGHT // 2).view(Rigid.identity())
    half = slice(None, None, 2)
    small = replace(
        camera,
        view=view,
        residual=camera.residual[:, half, half],
        depth=camera.depth[half, half],
        instance=camera.instance[half, half],
    )
    after, _ = step(small, history=history, ms=100)
    assert after.shape == (3, HEIGHT // 2, WIDTH // 2) and torch.equal(after, small.residual)


def test_a_camera_that_is_not_due_keeps_its_history_and_one_without_cars_loses_it() -> None:
    _, history = step(constant(0.10))
    other = replace(constant(0.3), name="other")
    _, waiting = blend([other], actors=[], stamp_ns=50_000_000, history=history, config=CONFIG)
    after, _ = step(constant(0.12), history=waiting, ms=100)
    assert after.mean().item() == pytest.approx(0.104)
    none, ended = blend(
        [replace(constant(0.1), residual=None)], actors=[], stamp_ns=50_000_000, history=history, config=CONFIG
    )
    assert none == [None]
    after, _ = step(constant(0.12), history=ended, ms=100)
    assert after.mean().item() == pytest.approx(0.12)


def test_a_history_is_a_value() -> None:
    _, history = step(picture(car(0), on_car=texture, around_car=shadow), [car(0)])
    camera = picture(car(0.3), on_car=texture, around_car=shadow)
    first, _ = step(camera, [car(0.3)], history, ms=100)
    step(picture(car(2.0)), [car(2.0)], history, ms=200)
    again, _ = step(camera, [car(0.3)], history, ms=100)
    assert torch.equal(first, again)


def test_the_number_of_threads_changes_no_bit() -> None:
    def blended(threads: int) -> Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            _, history = step(picture(car(0), on_car=texture, around_car=shadow), [car(0)])
            return step(picture(car(0.33), on_car=texture, around_car=shadow), [car(0.33)], history, ms=100)[0]
        finally:
            torch.set_num_threads(before)

    one = blended(1)
    assert all(torch.equal(one, blended(threads)) for threads in (2, 3, 4))


def test_far_from_the_origin_of_the_map_it_is_the_same() -> None:
    def blended(origin: tuple[float, float, float]) -> Tensor:
        T = Rigid.from_xyz_yaw(*origin, 0.0)

        def frame(x_m: float, ms: float, history: TemporalHistory | None) -> tuple[Tensor, TemporalHistory]:
            at = car(x_m)
            camera = replace(picture(at, on_car=texture, around_car=shadow), view=DOWN.view(T))
            return step(camera, [replace(at, T_world_actor=T @ at.T_world_actor)], history, ms=ms)

        return frame(0.33, 100, frame(0.0, 0, None)[1])[0]

    np.testing.assert_allclose(blended((566_000.0, 5_933_000.0, 30.0)), blended((0, 0, 0)), atol=1e-4)


def test_the_sky_is_carried_as_well_when_the_whole_picture_is_harmonized() -> None:
    sky = torch.full((HEIGHT, WIDTH), float("nan"))
    _, history = step(replace(constant(0.10), depth=sky))
    ahead = DOWN.view(Rigid(np.eye(3), np.array([3.0, 1.0, 0.0])))
    after, _ = step(replace(constant(0.12), depth=sky, view=ahead), history=history, ms=100)
    np.testing.assert_allclose(after, 0.104, rtol=1e-5)


def test_tensors_that_do_not_fit_together_are_refused() -> None:
    camera = constant(0.1)
    with pytest.raises(ValueError, match=r"camera 'down': depth: expected the shape \(80, 120\), got \(80, 119\)"):
        step(replace(camera, depth=camera.depth[:, 1:]))
    with pytest.raises(ValueError, match=r"residual: expected the shape \(3, 80, 120\), got \(80, 120\)"):
        step(replace(camera, residual=camera.depth))


@pytest.mark.parametrize(
    ("key", "value"),
    [("blend", 1.0), ("blend", -0.1), ("tolerance", 0), ("depth_tolerance", 1), ("max_gap_s", 0), ("taper", 2)],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, key: str, value: float) -> None:
    path = tmp_path / "sim.yaml"
    path.write_text(f"harmonizer: {{temporal: {{{key}: {value}}}}}\n")
    with pytest.raises(InputErrors, match=f"harmonizer.temporal.{key}"):
        load_config(path)
