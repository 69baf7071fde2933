"""The project's own rig files: what they mean, and every way in which one can be wrong."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.rigs import load_rig
from tests.rigs.projection import elevation_deg, heading_deg, pixel

CAMERA = "{width_px: 64, height_px: 48, K: [50, 51, 32, 23.5], pose: {xyz_m: [1, 2, 3], rpy_deg: [0, 0, 0]}}"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rig.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(path: Path, **options: object) -> dict[str, InputError]:
    """The faults of a file by key, with the file's name cut off."""
    with pytest.raises((InputError, InputErrors)) as caught:
        load_rig(path, **options)  # type: ignore[arg-type]
    faults = caught.value.faults if isinstance(caught.value, InputErrors) else (caught.value,)
    assert all(fault.where.startswith(str(path)) for fault in faults)
    return {fault.where.removeprefix(str(path)).removeprefix(": "): fault for fault in faults}


def one_camera(tmp_path: Path, **changes: str) -> Path:
    """A rig with one good camera `cam`, some of whose keys are replaced by YAML text ('' removes one)."""
    keys = {
        "width_px": "640",
        "height_px": "480",
        "K": "[500, 510, 320.5, 239.5]",
        "pose": "{xyz_m: [1, 2, 3], rpy_deg: [0, 0, 0]}",
        **changes,
    }
    lines = [f"    {key}: {value}" for key, value in keys.items() if value]
    return write(tmp_path, "\n".join(["cameras:", "  cam:", *lines]))


def test_K_is_camera_info_K(tmp_path: Path):
    camera = load_rig(one_camera(tmp_path))["cam"]
    np.testing.assert_array_equal(camera.K, [[500, 0, 320.5], [0, 510, 239.5], [0, 0, 1]])
    np.testing.assert_allclose(pixel(camera, [1 + 10, 2, 3]), [320.5, 239.5])


def test_the_rig_is_named_by_the_file_or_its_name(tmp_path: Path):
    assert load_rig(one_camera(tmp_path)).name == "rig"
    assert load_rig(write(tmp_path, f"name: mine\ncameras: {{a: {CAMERA}}}")).name == "mine"


def test_yaw_turns_left_and_pitch_looks_down(tmp_path: Path):
    camera = load_rig(one_camera(tmp_path, pose="{xyz_m: [0, 0, 0], rpy_deg: [0, 10, 30]}"))["cam"]
    assert heading_deg(camera) == pytest.approx(30)
    assert elevation_deg(camera) == pytest.approx(-10)


def test_roll_lifts_the_left_side_of_the_camera(tmp_path: Path):
    """+90 deg about x moves the camera's left to the world's up: what is above appears on the left."""
    camera = load_rig(one_camera(tmp_path, pose="{xyz_m: [0, 0, 0], rpy_deg: [90, 0, 0]}"))["cam"]
    u, v = pixel(camera, [10, 0, 1])
    assert u == pytest.approx(320.5 - 50) and v == pytest.approx(239.5)


def test_quaternion_of_body_axes_equals_rpy(tmp_path: Path):
    half = math.sqrt(0.5)
    by_quat = load_rig(one_camera(tmp_path, pose=f"{{xyz_m: [1, 2, 3], quat_wxyz: [{half}, 0, 0, {half}]}}"))[
        "cam"
    ]
    by_rpy = load_rig(one_camera(tmp_path, pose="{xyz_m: [1, 2, 3], rpy_deg: [0, 0, 90]}"))["cam"]
    np.testing.assert_allclose(by_quat.T_ego_camera.matrix(), by_rpy.T_ego_camera.matrix(), atol=1e-12)


def test_optical_axes_take_the_rotation_as_it_is(tmp_path: Path):
    """(0.5, -0.5, 0.5, -0.5) is the well-known rotation of an optical frame that looks along x."""
    pose = "{xyz_m: [1, 2, 3], quat_wxyz: [0.5, -0.5, 0.5, -0.5], axes: optical}"
    camera = load_rig(one_camera(tmp_path, pose=pose))["cam"]
    forward = load_rig(one_camera(tmp_path))["cam"]
    np.testing.assert_allclose(camera.T_ego_camera.matrix(), forward.T_ego_camera.matrix(), atol=1e-12)


def test_defaults_hold_for_every_camera_and_a_camera_may_replace_them(tmp_path: Path):
    path = write(
        tmp_path,
        """
        defaults: {width_px: 640, height_px: 480, fov_x_deg: 90, rate_hz: 20, phase_s: 0.01}
        cameras:
          a:
            pose: {xyz_m: [0, 0, 1], rpy_deg: [0, 0, 0]}
          b:
            {K: [700, 700, 300, 200], rate_hz: 5, width_px: 800, pose: {xyz_m: [0, 0, 1], rpy_deg: [0, 0, 0]}}
        """,
    )
    a, b = load_rig(path).cameras
    assert (a.width_px, a.rate_hz, a.phase_s) == (640, 20.0, 0.01)
    assert a.K[0, 0] == pytest.approx(320.0) and a.K[0, 2] == 319.5 and a.K[1, 2] == 239.5
    assert (b.width_px, b.rate_hz, b.phase_s) == (800, 5.0, 0.01)
    assert b.K[0, 0] == 700.0


def test_distortion_names_and_frames_are_kept(tmp_path: Path):
    camera = load_rig(
        one_camera(
            tmp_path,
            D="[0.1, 0, 0, 1e-3, 0]",
            frame_id="cam/optical",
            topic="sensing/cam",
            rate_hz="30",
            phase_s="0.01",
        )
    )["cam"]
    assert (
        camera.D == (0.1, 0, 0, 0.001, 0) and camera.is_distorted and camera.distortion_model == "plumb_bob"
    )
    assert (camera.frame_id, camera.topic, camera.rate_hz, camera.phase_s) == (
        "cam/optical",
        "sensing/cam",
        30,
        0.01,
    )


@pytest.mark.parametrize(
    "changes, key, expected, got",
    [
        ({"width_px": "0"}, "width_px", "greater than or equal to 1", "0"),
        ({"height_px": "-480"}, "height_px", "greater than or equal to 1", "-480"),
        ({"width_px": "9000"}, "width_px", "less than or equal to 8192", "9000"),
        ({"width_px": "8192", "height_px": "8192"}, "width_px", "64 megapixels", "67.1"),
        ({"width_px": "yes"}, "width_px", "a number", "True"),
        ({"width_px": "wide"}, "width_px", "integer", "'wide'"),
        ({"width_px": ""}, "width_px", "a value", "missing"),
        ({"K": "[.nan, 500, 320, 240]"}, "K.0", "finite", "nan"),
        ({"K": "[500, .inf, 320, 240]"}, "K.1", "finite", "inf"),
        ({"K": "[-500, 500, 320, 240]"}, "K.0", "greater than 0", "-500"),
        ({"K": "[500, 500, 320]"}, "K.3", "a value", "missing"),
        ({"K": "500"}, "K", "a list", "500"),
        ({"K": ""}, "K", "either K: [fx, fy, cx, cy] or fov_x_deg", "neither"),
        ({"fov_x_deg": "90"}, "K", "either K", "both"),
        ({"K": "", "fov_x_deg": "180"}, "fov_x_deg", "less than 180", "180"),
        ({"D": "[0.1, 0.2]"}, "D", "5 coefficients for 'plumb_bob'", "2 of them"),
        ({"D": "[0, 0, 0, 0, 0]", "distortion_model": "equidistant"}, "D", "4 coefficients", "5 of them"),
        ({"distortion_model": "fisheye"}, "distortion_model", "'equidistant'", "'fisheye'"),
        ({"rate_hz": "0"}, "rate_hz", "greater than 0", "0"),
        ({"phase_s": "0.1"}, "phase_s", "less than one period (0.1 s)", "0.1 s"),
        ({"phase_s": "-0.01"}, "phase_s", "greater than or equal to 0", "-0.01"),
        ({"topic": "a b"}, "topic", "match pattern", "'a b'"),
        ({"frame_id": "/cam"}, "frame_id", "match pattern", "'/cam'"),
        ({"pose": ""}, "pose", "a value", "missing"),
        ({"pose": "{xyz_m: [1, 2, 3]}"}, "pose", "either rpy_deg", "neither"),
        (
            {"pose": "{xyz_m: [1, 2, 3], rpy_deg: [0,0,0], quat_wxyz: [1,0,0,0]}"},
            "pose",
            "either rpy_deg",
            "both",
        ),
        ({"pose": "{xyz_m: [1, 2, 3], quat_wxyz: [1, 1, 0, 0]}"}, "pose.quat_wxyz", "length 1", "1.41421"),
        ({"pose": "{xyz_m: [1, 2, 3], quat_wxyz: [0, 0, 0, 0]}"}, "pose.quat_wxyz", "length 1", "length 0"),
        ({"pose": "{xyz_m: [1, .nan, 3], rpy_deg: [0,0,0]}"}, "pose.xyz_m.1", "finite", "nan"),
        (
            {"pose": "{xyz_m: [1, 2, 5e6], rpy_deg: [0,0,0]}"},
            "pose.xyz_m.2",
            "less than or equal to 1000",
            "5e6",
        ),
        ({"widht_px": "640"}, "widht_px", "one of the keys", "unknown key"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_wrong_camera_is_refused(
    tmp_path: Path, changes: dict[str, str], key: str, expected: str, got: str
):
    faults = faults_of(one_camera(tmp_path, **changes))
    assert list(faults) == [f"cameras.cam.{key}"]
    fault = faults[f"cameras.cam.{key}"]
    assert expected in fault.expected and got in fault.got


def test_an_unknown_key_comes_with_a_suggestion(tmp_path: Path):
    fault = faults_of(one_camera(tmp_path, widht_px="640"))["cameras.cam.widht_px"]
    assert fault.hint == "Did you mean 'width_px'?"


def test_all_faults_of_a_file_are_reported_at_once(tmp_path: Path):
    path = write(
        tmp_path,
        f"""
        defaults: {{rate_hz: -1, colour: red}}
        cameras:
          good: {CAMERA}
          bad:
            {{width_px: 0, height_px: 48, K: [50, .nan, 32, 24], pose: {{xyz_m: [1,2,3], rpy_deg: [0,0,0]}}}}
          front camera: {CAMERA}
          text: hello
        """,
    )
    assert set(faults_of(path)) == {
        "defaults.rate_hz",
        "defaults.colour",
        "cameras.bad.width_px",
        "cameras.bad.K.1",
        "cameras.front camera",
        "cameras.text",
    }


@pytest.mark.parametrize(
    "defaults, key",
    [("D: [0.1, 0.2]", "D"), ("phase_s: 3", "phase_s"), ("width_px: 8192, height_px: 8192", "width_px")],
)
def test_a_default_that_is_a_fault_only_with_a_cameras_other_keys(tmp_path: Path, defaults: str, key: str):
    pose = "pose: {xyz_m: [0, 0, 1], rpy_deg: [0, 0, 0]}"
    path = write(
        tmp_path,
        f"""
        defaults: {{fov_x_deg: 90, {defaults}}}
        cameras:
          good: {{width_px: 64, height_px: 48, D: [], phase_s: 0, {pose}}}
          bad: {{{"" if "px" in key else "width_px: 64, height_px: 48, "}{pose}}}
        """,
    )
    assert set(faults_of(path)) == {f"cameras.bad.{key}"}


def test_a_name_that_ends_like_a_key_of_the_defaults(tmp_path: Path):
    faults = faults_of(
        write(tmp_path, f"defaults: {{rate_hz: 5}}\ncameras: {{front: {CAMERA}, left.rate_hz: {CAMERA}}}")
    )
    assert set(faults) == {"cameras.left.rate_hz"}


@pytest.mark.parametrize("name", ["1st", "a-b", "a/b", "kamera_ö", "'a b'", "''", '"front\\n"'])
def test_a_camera_name_must_be_a_ros_name(tmp_path: Path, name: str):
    faults = faults_of(write(tmp_path, f"cameras: {{{name}: {CAMERA}}}"))
    assert [fault.expected for fault in faults.values()] == [
        "a ROS name: a letter, then letters, digits and _"
    ]


def test_two_cameras_of_one_name(tmp_path: Path):
    faults = faults_of(write(tmp_path, f"cameras:\n  a: {CAMERA}\n  a: {CAMERA}\n"))
    assert faults["cameras.a"].expected == "each key once" and "line 3" in faults["cameras.a"].got


@pytest.mark.parametrize("key", ["topic", "frame_id"])
def test_two_cameras_must_not_share_a_topic_or_a_frame(tmp_path: Path, key: str):
    camera = CAMERA.removesuffix("}") + f", {key}: same}}"
    faults = faults_of(write(tmp_path, f"cameras:\n  a: {camera}\n  b: {camera}\n"))
    assert list(faults) == [f"cameras.b.{key}"] and "'same', as 'a'" in faults[f"cameras.b.{key}"].got


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", "a rig"),
        ("[1, 2]", "a rig"),
        ("just text", "a rig"),
        ("speed: 3", "a rig"),
        ("cameras: [", "valid YAML"),
        ("cameras: !!python/object/apply:os.system ['true']", "valid YAML"),
        ("cameras: {}", "at least 1 item"),
        ("cameras: 3", "a mapping"),
        ("cameras: &a [*a]", "aliases"),
    ],
)
def test_what_is_not_a_rig(tmp_path: Path, text: str, expected: str):
    (fault,) = faults_of(write(tmp_path, text)).values()
    assert expected in fault.expected


@pytest.mark.parametrize("K", ["[900, 0, 480, 0, 910, 270, 0, 0, 1]", "[[900, 0, 480], [0, 910, 270], [0, 0, 1]]"])
def test_the_matrix_of_a_camera_info_is_told_with_its_four_numbers(tmp_path: Path, K: str):
    camera = f"{{width_px: 960, height_px: 540, K: {K}, pose: {{xyz_m: [0, 0, 1], rpy_deg: [0, 0, 0]}}}}"
    faults = faults_of(write(tmp_path, f"cameras: {{front: {camera}}}"))
    fault = next(fault for key, fault in faults.items() if key.endswith("front.K"))
    assert fault.expected == "[fx, fy, cx, cy], of this 3x3 matrix [900, 910, 480, 270]"


@pytest.mark.parametrize("merge", [False, True], ids=["nested lists", "merge keys"])
def test_aliases_that_grow_without_bound_are_refused_at_once(tmp_path: Path, merge: bool):
    """Ten levels of ten aliases each: 10^10 values when written out."""
    lines = ["a0: &a0 {x: 1}"]
    for i in range(1, 11):
        tens = ", ".join([f"*a{i - 1}"] * 10)
        lines.append(f"a{i}: &a{i} {{<<: [{tens}]}}" if merge else f"a{i}: &a{i} [{tens}]")
    (fault,) = faults_of(write(tmp_path, "\n".join([*lines, "cameras: *a10"]))).values()
    assert "aliases" in fault.expected


def test_binary_and_oversized_files(tmp_path: Path):
    path = tmp_path / "rig.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80garbage")
    assert next(iter(faults_of(path).values())).expected == "valid YAML"
    path.write_bytes(b"# " + b"x" * 2**24)
    assert "at most 16777216 bytes" in next(iter(faults_of(path).values())).expected


def test_every_image_at_another_size(tmp_path: Path):
    camera = load_rig(one_camera(tmp_path), width_px=320, height_px=240)["cam"]
    assert (camera.width_px, camera.height_px) == (320, 240)
    np.testing.assert_allclose(camera.K, [[250, 0, 160.0], [0, 255, 119.5], [0, 0, 1]])


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"width_px": 320}, "width and height"),
        ({"width_px": 0, "height_px": 10}, "1 to 8192 pixels"),
        ({"width_px": 8192, "height_px": 8192}, "64 megapixels"),
        ({"fov_deg": 180.0}, "less than 180"),
        ({"fov_deg": float("nan")}, "less than 180"),
        ({"fov_deg": 60.0}, "its own intrinsics"),
        ({"kind": "rosbag"}, "auto, r3d2, pandaset, hugsim, autoware"),
    ],
)
def test_wrong_arguments(tmp_path: Path, options: dict[str, object], expected: str):
    with pytest.raises((InputError, InputErrors), match=expected):
        load_rig(one_camera(tmp_path), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("place", "fov", "noted"), [("cameras", 1.57, True), ("defaults", 3.19, True), ("cameras", 3.2, False)]
)
def test_a_field_of_view_in_radians_is_noted(tmp_path: Path, place: str, fov: float, noted: bool) -> None:
    own, shared = ("", f"fov_x_deg: {fov}") if place == "defaults" else (f"fov_x_deg: {fov}, ", "")
    camera = f"{own}width_px: 64, height_px: 48, pose: {{xyz_m: [0, 0, 0], rpy_deg: [0, 0, 0]}}"
    path = write(tmp_path, f"defaults: {{{shared}}}\ncameras: {{cam: {{{camera}}}}}")
    notes = load_rig(path).notes
    assert bool(notes) is noted
    assert all(f"{path}: cameras.cam.fov_x_deg: {fov} degrees: is this in radians?" in note for note in notes)


def test_a_calibrators_file_is_told_what_a_rig_needs_besides(tmp_path: Path) -> None:
    faults = faults_of(write(tmp_path, "image_width: 9\ncamera_matrix: {rows: 3}\n"))
    assert "Copy K and D into a rig file" in faults[""].hint


@pytest.mark.parametrize(
    ("text", "got", "hint"),
    [
        ("height: 9\nwidth: 9\nd: []\nk: [5]\nr: [1]\np: [5]\n---\n", "a CameraInfo message", "k[5] (K: [fx, fy"),
        ("cam0: {camera_model: pinhole, intrinsics: [5, 5, 4, 4]}\n", "a camchain of Kalibr", "add the pose of each"),
        ("height: 9\nwidth: 9\nD: []\nK: [5]\nR: [1]\nP: [5]\n", "a CameraInfo message of ROS 1", "K[5] (K: [fx, fy"),
        ('[{"sensor_token": "b", "camera_intrinsic": []}]', "nuScenes' calibrated_sensor.json", "with axes: optical"),
        ("{'sensor_token': 'b', 'camera_intrinsic': []}", "a record of nuScenes' calibrated_sensor", "axes: optical"),
        (
            '{"fl_x": 9, "frames": [{"file_path": "a.png", "transform_matrix": [[1]]}]}',
            "nerfstudio's transforms.json",
            "`ns-export gaussian-splat`, and give the PLY as scene.source",
        ),
        ("%YAML:1.0\n---\ncamera_matrix: !!opencv-matrix\n", "a file of OpenCV's FileStorage", "add the pose"),
    ],
    ids=["echo", "kalibr", "ros 1", "nuscenes", "nuscenes record", "nerfstudio", "opencv"],
)
def test_other_calibrations_are_told_the_same(tmp_path: Path, text: str, got: str, hint: str) -> None:
    fault = faults_of(write(tmp_path, text))[""]
    assert fault.got.startswith(got) and hint in fault.hint


def test_a_rectified_rig_has_pinholes_and_says_so(tmp_path: Path) -> None:
    path = one_camera(tmp_path, D="[0.1, 0, 0, 0, 0]")
    assert load_rig(path).notes == ()
    rig = load_rig(path, rectified=True)
    text = "the lens distortion of cam is left out, as rig.lens asks: pinholes with the file's K"
    assert rig.notes == (f"{path}: {text}",) and not rig["cam"].is_distorted
    np.testing.assert_array_equal(rig["cam"].K, load_rig(path)["cam"].K)
    assert load_rig(one_camera(tmp_path, D="[0, 0, 0, 0, 0]"), rectified=True).notes == ()


@pytest.mark.parametrize(
    "lens",
    [{}, {"D": "[-0.2, 0.02, 0, 0, 0]"}, {"distortion_model": "equidistant"}],
    ids=["pinhole", "barrel", "fisheye"],
)
def test_a_field_of_view_is_that_of_the_lens(tmp_path: Path, lens: dict[str, str]) -> None:
    """100 degrees from one edge of the picture to the other, which lie half a pixel beyond the outer centres."""
    camera = load_rig(one_camera(tmp_path, K="", fov_x_deg="100", **lens))["cam"]
    edges = camera.lens.rays(np.array([[-320 / camera.K[0, 0], 0.0], [320 / camera.K[0, 0], 0.0]]))
    np.testing.assert_allclose(np.rad2deg(np.arctan2(edges[:, 0], edges[:, 2])), [-50, 50], atol=1e-6)


def test_a_field_of_view_that_the_lens_has_not_is_named(tmp_path: Path) -> None:
    """r (1 - 0.3 r^2) turns back at 46.5 degrees from the axis."""
    fault = faults_of(one_camera(tmp_path, K="", fov_x_deg="100", D="[-0.3, 0, 0, 0, 0]"))["cameras.cam.fov_x_deg"]
    assert fault.got == "100 degrees with D [-0.3, 0.0, 0.0, 0.0, 0.0]"


def test_pixels_without_a_ray_are_noted_and_a_lens_without_any_is_refused(tmp_path: Path) -> None:
    """640x480 pixels at fx 200: with k1 = -0.3 rays end 0.7027 * 200 = 141 px from the middle; 80 % are beyond."""
    path = one_camera(tmp_path, K="[200, 200, 319.5, 239.5]", D="[-0.3, 0, 0, 0, 0]")
    (note,) = load_rig(path).notes
    assert note == f"{path}: cam: its lens has no rays for about 80 % of its pixels, which are black"
    assert load_rig(one_camera(tmp_path, K="[600, 600, 319.5, 239.5]", D="[-0.3, 0, 0, 0, 0]")).notes == ()
    path = one_camera(tmp_path, K="[100, 100, 900, 239.5]", D="[-0.3, 0, 0, 0, 0]")
    assert faults_of(path)["cam.D"].expected == "a lens that some pixel sees through"


@pytest.mark.parametrize(
    ("K", "noted"),
    [
        ("959.5, 539.5", True),
        ("319.5, 120", False),
        ("319.5, 119", True),
        ("212.8, 159.5", True),  # 426x319 pixels enlarged by 1.5
        ("266.2, 199.5", True),  # 533x399 pixels enlarged by 1.2
        ("426.2, 319.5", True),  # 853x639 pixels reduced to three quarters
        ("266.2, 239.5", False),  # 107 columns of the left are cut off
        ("266.2, 180", False),  # 0.417 of the width, 0.376 of the height
        ("299, 224", False),  # 0.468 of both, as of a real camera
    ],
)
def test_intrinsics_of_another_image_size_are_noted(tmp_path: Path, K: str, noted: bool) -> None:
    """The image has 640x480 pixels."""
    notes = load_rig(one_camera(tmp_path, K=f"[1000, 1000, {K}]")).notes
    assert bool(notes) is noted
    assert all("far from the middle of 640x480 pixels: is K that of another image size?" in note for note in notes)


@pytest.mark.parametrize(
    ("of", "size"),
    [((1280, 720), (1920, 1080)), ((1600, 900), (1920, 1080)), ((960, 540), (1280, 720)), ((1920, 1080), (1280, 720))],
)
def test_intrinsics_of_the_common_sizes_are_noted_in_one_another(
    tmp_path: Path, of: tuple[int, int], size: tuple[int, int]
) -> None:
    K = f"[1000, 1000, {of[0] / 2}, {of[1] / 2}]"
    keys = {"K": K, "width_px": str(size[0]), "height_px": str(size[1])}
    (note,) = load_rig(one_camera(tmp_path, **keys)).notes
    assert note.endswith(f"middle of {size[0]}x{size[1]} pixels: is K that of another image size?")


NUSCENES_FRONT = "quat_wxyz: [0.4998, -0.5030, 0.4998, -0.4974]"
"""Of nuScenes' CAM_FRONT, rounded: its optical axes in the vehicle."""


@pytest.mark.parametrize(
    ("rotation", "note"),
    [
        ("rpy_deg: [0, 0, 120]", ""),
        ("rpy_deg: [59, 0, 120]", ""),
        ("rpy_deg: [0, 80, 0]", ""),  # looks down: its roll says nothing
        ("rpy_deg: [180, 0, 120]", "its image is rolled by 180 degrees"),
        ("rpy_deg: [61, 0, 0]", "its image is rolled by 61 degrees"),
        (
            NUSCENES_FRONT,
            "its image is rolled by 90 degrees: is its rotation that of the optical axes? Then it needs axes: optical",
        ),
        ("axes: optical, " + NUSCENES_FRONT, ""),
        ("axes: optical, rpy_deg: [-90, 0, -90]", ""),  # of a camera that looks forward
        ("axes: optical, rpy_deg: [180, 0, -90]", ""),  # of one that looks down
        (
            "axes: optical, rpy_deg: [0, 5, 30]",
            "it looks up by 85 degrees: is its rotation that of body axes? Then leave out axes: optical",
        ),
    ],
)
def test_a_camera_that_is_not_upright_is_noted(tmp_path: Path, rotation: str, note: str) -> None:
    path = one_camera(tmp_path, pose=f"{{xyz_m: [0, 0, 1], {rotation}}}")
    assert load_rig(path).notes == ((f"{path}: cameras.cam.pose: {note}",) if note else ())


def test_another_order_of_a_quaternion_is_named(tmp_path: Path) -> None:
    """Renamed as it is, (0, 0, 0, 1) would be a valid camera that is turned by 180 degrees."""
    faults = faults_of(one_camera(tmp_path, pose="{xyz_m: [0, 0, 0], quat_xyzw: [0, 0, 0, 1]}"))
    hint = "Did you mean 'quat_wxyz'? Its numbers have the order w, x, y, z"
    assert faults["cameras.cam.pose.quat_xyzw"].hint == hint
