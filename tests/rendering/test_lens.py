"""Pictures through lenses: every pixel shows what its own ray sees, whatever pinholes were rendered for it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera
from r3d2_ros.errors import InputError
from r3d2_ros.gaussians import Gaussians, rgb_to_sh
from r3d2_ros.geometry import Affine, Rigid
from r3d2_ros.rendering.base import PlacedGaussians, PlacedScene, RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from r3d2_ros.rendering.lens import WIDEST_FACE_DEG, Lens, check_lens
from r3d2_ros.sky import Sky

PLACE = Rigid(R_BODY_OPTICAL, np.array([1.0, 0.2, 1.5]))


def camera(focal_px: float, model: str, D: tuple[float, ...], size: tuple[int, int] = (320, 200)) -> Camera:
    width, height = size
    K = np.array([[focal_px, 0, width / 2 - 3], [0, focal_px * 1.02, height / 2 + 2], [0, 0, 1]])
    return Camera("eye", width, height, K, PLACE, D=D, distortion_model=model)


BARREL = camera(190.0, "plumb_bob", (-0.25, 0.06, 0.001, -0.0005, -0.004))
CUSHION = camera(300.0, "plumb_bob", (0.12, 0.03, -0.002, 0.001, 0.0))
RATIONAL = camera(260.0, "rational_polynomial", (0.9, 0.3, 1e-4, 2e-4, 0.01, 1.2, 0.6, 0.05))
FISHEYE = camera(140.0, "equidistant", (0.02, -0.01, 0.003, -0.0005))
AROUND = camera(90.0, "equidistant", (0.0, 0.0, 0.0, 0.0))
"""Sees 205 degrees from left to right, 127 from top to bottom."""

BEHIND = camera(60.0, "equidistant", (0.0, 0.0, 0.0, 0.0), (320, 320))
"""Sees as far as any: 140 degrees aside in every direction."""

CAMERAS = {
    "barrel": BARREL, "cushion": CUSHION, "rational": RATIONAL, "fisheye": FISHEYE, "around": AROUND, "behind": BEHIND,
}  # fmt: skip
each_camera = pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)


def directions(face: Camera, of: Camera) -> np.ndarray:
    """[H, W, 3]: a face's rays in the frame of its camera."""
    return face.rays() @ (of.T_ego_camera.inverse() @ face.T_ego_camera).rotation.T


def colour(rays: np.ndarray) -> np.ndarray:
    """Something smooth all around, between 0 and 1."""
    return (0.5 + 0.4 * np.sin(3 * rays + [0.0, 1.0, 2.0])).astype(np.float32)


def test_a_camera_without_distortion_shows_the_render_itself() -> None:
    plain = replace(BARREL, D=(0.0,) * 5)
    lens, image = Lens(plain), np.zeros((200, 320, 3), np.uint8)
    assert lens.faces == (plain,) and lens.is_identity
    assert lens.picture([image]) is image and lens.depth([image]) is image and lens.numbers([image]) is image


def test_lenses_that_see_far_to_the_sides_have_several_faces() -> None:
    counts = {name: len(Lens(camera).faces) for name, camera in CAMERAS.items()}
    assert counts == {"barrel": 1, "cushion": 1, "rational": 1, "fisheye": 3, "around": 5, "behind": 5}


@each_camera
def test_faces_are_pinholes_at_the_cameras_place_and_no_larger_than_needed(camera: Camera) -> None:
    faces = Lens(camera).faces
    for face in faces:
        assert not face.is_distorted
        np.testing.assert_array_equal(face.T_ego_camera.translation, PLACE.translation)
        # Some pixels around what is looked up, so that the corner's ray may be a little farther out.
        assert np.rad2deg(np.arccos(face.rays()[..., 2].min())) < 76 > WIDEST_FACE_DEG
    assert sum(face.width_px * face.height_px for face in faces) < 4.3 * camera.width_px * camera.height_px
    assert [face.name for face in faces] == (["eye"] if len(faces) == 1 else [f"eye[{i}]" for i in range(len(faces))])


@each_camera
def test_every_pixel_shows_what_its_ray_sees(camera: Camera) -> None:
    lens = Lens(camera)
    picture = lens.picture([colour(directions(face, camera)) for face in lens.faces])
    # Bilinear between pixels of at most 1/60 radian, 0.4 (3/60)^2 / 8, in OpenCV's steps of 1/32, 0.4 (3/60) / 64.
    np.testing.assert_allclose(picture, np.nan_to_num(colour(camera.rays())), atol=4e-4)


@each_camera
def test_depth_is_along_the_cameras_own_axis(camera: Camera) -> None:
    """Of a sphere of 5 m around the camera: 5 times the ray's z. Beside and behind there is none."""
    lens = Lens(camera)
    picture = lens.depth([(5 * face.rays()[..., 2]).astype(np.float32) for face in lens.faces])
    z = 5 * camera.rays()[..., 2]
    np.testing.assert_array_equal(np.isfinite(picture), z > 0)
    # The nearest pixel of the face is up to 0.71 pixels away, each 1/60 radian at most.
    np.testing.assert_allclose(picture[z > 0], z[z > 0], atol=5 * 0.71 / 56)


@each_camera
def test_numbers_are_never_mixed(camera: Camera) -> None:
    lens = Lens(camera)
    sides = [np.where(directions(face, camera)[..., 0] > 0.1, 700, 30).astype(np.uint16) for face in lens.faces]
    picture = lens.numbers(sides)
    x = camera.rays()[..., 0]
    assert set(np.unique(picture)) == {30, 700} | ({0} if np.isnan(x).any() else set())
    clear = np.abs(x - 0.1) > 0.71 / 56
    np.testing.assert_array_equal(picture[clear], np.where(x > 0.1, 700, 30)[clear])


@each_camera
def test_pictures_differ_only_where_the_mask_is(camera: Camera) -> None:
    lens = Lens(camera)
    random = np.random.default_rng(0)
    before = [random.integers(0, 256, (face.height_px, face.width_px, 3), np.uint8) for face in lens.faces]
    masks = [np.zeros(image.shape[:2], np.float32) for image in before]
    for mask in masks:
        mask[40:80, 30:90] = 1.0
        mask[60:70, 90:95] = 1e-3
    after = [np.where(mask[..., None] > 0, 255 - image, image) for image, mask in zip(before, masks, strict=True)]
    mask = lens.picture(masks)
    changed = np.any(lens.picture(before) != lens.picture(after), axis=-1)
    assert changed.any() and not np.any(changed & (mask == 0)) and mask.max() <= 1


@pytest.mark.parametrize("of", [AROUND, FISHEYE, camera(59.997138690948475, "equidistant", (), (160, 121))])
def test_faces_are_mixed_to_the_nearest_grey_level_and_leave_no_gap(of: Camera) -> None:
    """The third has pixels where a face's share of a seam is less than float32 can tell beside 1."""
    lens = Lens(of)
    seen = np.isfinite(of.rays()[..., 0])

    def filled(levels: tuple[int, int], kind: type[np.generic]) -> np.ndarray:
        """Faces of these two levels by turns."""
        by_turns = zip(itertools.cycle(levels), lens.faces)
        return lens.picture([np.full((face.height_px, face.width_px), level, kind) for level, face in by_turns])[seen]

    assert np.all(filled((200, 200), np.uint8) == 200)
    np.testing.assert_array_equal(filled((100, 101), np.uint8), 100 + np.rint(filled((0, 1), np.float32)))
    assert len(np.unique(filled((0, 1), np.float32))) > 10, "there are seams"


@each_camera
def test_faces_that_mirror_each_other_have_one_size(camera: Camera) -> None:
    sizes = [(face.width_px, face.height_px) for face in Lens(camera).faces]
    assert sizes == sizes[::-1] and all(side % 16 == 0 for size in sizes for side in size)


@pytest.mark.parametrize("focal_px, size", [(384.0, (8192, 64)), (30.0, (640, 480))])
def test_lenses_that_take_too_many_pixels_are_refused_and_so_does_the_check(
    focal_px: float, size: tuple[int, int]
) -> None:
    for refuse in (Lens, check_lens):
        with pytest.raises(InputError, match="camera 'eye': D: expected a lens that pinholes of up to 8 times"):
            refuse(camera(focal_px, "plumb_bob", (0.001, 0, 0, 0, 0), size))


def test_a_lens_that_few_pixels_see_through_works() -> None:
    K = np.array([[4.0, 0, 322], [0, 4.0, 242], [0, 0, 1]])
    few = Camera("eye", 640, 480, K, PLACE, D=(-0.3, 0, 0, 0, 0))
    lens = Lens(few)
    picture = lens.picture([np.full((face.height_px, face.width_px), 9, np.uint8) for face in lens.faces])
    np.testing.assert_array_equal(picture, np.where(np.isfinite(few.rays()[..., 0]), 9, 0))


def test_pixels_that_no_ray_reaches_are_black() -> None:
    """r (1 - 0.3 r^2) is at most 0.7027: 141 of the 160 pixels to the left."""
    camera = Camera("eye", 320, 200, np.array([[200.0, 0, 160], [0, 200, 100], [0, 0, 1]]), PLACE, D=(-0.3, 0, 0, 0, 0))
    lens = Lens(camera)
    ones = [np.ones((face.height_px, face.width_px), np.float32) for face in lens.faces]
    picture, depth = lens.picture(ones), lens.depth(ones)
    assert picture[100, 18] == 0 and np.isnan(depth[100, 18]) and picture[100, 21] == 1 == depth[100, 21]
    assert lens.numbers([np.uint16(image) for image in ones])[100, 17:22].tolist() == [0, 0, 0, 1, 1]


def test_a_lens_that_no_pixel_sees_through_is_refused() -> None:
    with pytest.raises(InputError, match="camera 'eye': D: expected a lens that some pixel sees through"):
        Lens(Camera("eye", 8, 8, np.array([[1.0, 0, 900], [0, 1, 900], [0, 0, 1]]), PLACE, D=(-0.3, 0, 0, 0, 0)))


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 40), (5, 3)])
def test_the_smallest_pictures_work(size: tuple[int, int]) -> None:
    lens = Lens(camera(200.0, "plumb_bob", (-0.2, 0.0, 0.0, 0.0, 0.0), size))
    (face,) = lens.faces
    picture = lens.picture([np.full((face.height_px, face.width_px, 3), 7, np.uint8)])
    assert picture.shape == (size[1], size[0], 3) and np.all(picture == 7)


@each_camera
def test_a_gaussian_is_seen_where_opencv_projects_it(camera: Camera) -> None:
    """Small bright balls, one at a time, rendered, and found again by their centre of brightness."""
    renderer, lens = CpuRenderer(RenderSettings(), 1), Lens(camera)
    corner = camera.K[:2, 2] * 0.8 / camera.K[0, 0]
    for x, y in [(0.0, 0.0), (0.7 * corner[0], 0.4 * corner[1]), (-corner[0], 0.6 * corner[1]), (0.3, -corner[1])]:
        point = np.array([x, y, 1.0]) * 8.0
        rays = point[None] / 8.0
        if camera.distortion_model == "equidistant":
            expected = cv2.fisheye.projectPoints(rays[None], np.zeros(3), np.zeros(3), camera.K, np.array(camera.D))[0]
        else:
            expected = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), camera.K, np.array(camera.D))[0]
        ball = Gaussians(
            means=PLACE.apply(point)[None],
            quats=np.array([[1.0, 0, 0, 0]]),
            scales=np.full((1, 3), 0.05),
            opacities=np.array([0.95]),
            sh=rgb_to_sh(np.ones((1, 3)))[:, None].reshape(1, 1, 3),
        )
        placed = PlacedScene(PlacedGaussians(ball, Affine(np.eye(3), np.zeros(3)), np.eye(3)), (), Sky())
        views = [face.view(Rigid.identity()) for face in lens.faces]
        picture = lens.picture([image.rgb for image in renderer.render(placed, views)])[..., 1].astype(np.float64)
        v, u = np.mgrid[: camera.height_px, : camera.width_px]
        centre = np.array([(u * picture).sum(), (v * picture).sum()]) / picture.sum()
        np.testing.assert_allclose(centre, expected.ravel(), atol=0.1)
