"""INRIA PLY: what a correct file means, whatever its columns look like, and that writing loses nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.cameras import R_BODY_OPTICAL
from r3d2_ros.formats import load_gaussians, write_inria_ply
from r3d2_ros.gaussians import SH_C0, Gaussians
from r3d2_ros.geometry import Rigid, rotation_from_rpy
from r3d2_ros.rendering.base import RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from r3d2_ros.rendering.reference import ReferenceRenderer
from tests.formats.plys import gaussian_columns, ply_bytes, write_ply
from tests.rendering.cpu_scenes import cloud, psnr_db, scene_of, view_of


def random_gaussians(count: int = 500, *, degree: int = 3, seed: int = 0) -> Gaussians:
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(count, 4))
    return Gaussians(
        means=rng.normal(scale=50, size=(count, 3)),
        quats=quats / np.linalg.norm(quats, axis=1, keepdims=True),
        scales=np.exp(rng.uniform(-8, 1, (count, 3))),
        opacities=rng.uniform(0.001, 0.999, count),
        sh=rng.normal(size=(count, (degree + 1) ** 2, 3)),
    )


def test_values_are_activated(tmp_path: Path) -> None:
    columns = gaussian_columns(1) | {"scale_0": [0.0], "scale_1": [np.log(2)], "scale_2": [np.log(0.25)]}
    columns |= {"opacity": [np.log(3)], "rot_0": [0.0], "rot_1": [0.0], "rot_2": [3.0], "rot_3": [4.0]}
    columns |= {"f_dc_0": [1.0], "f_dc_1": [0.0], "f_dc_2": [-1.0]}
    loaded = load_gaussians(write_ply(tmp_path / "a.ply", columns))
    gaussians = loaded.gaussians
    assert (loaded.format, loaded.dropped, loaded.notes) == ("inria-ply", 0, ())
    np.testing.assert_allclose(gaussians.means, [[1, 10, -2]])
    np.testing.assert_allclose(gaussians.scales, [[1, 2, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(gaussians.opacities, [0.75], rtol=1e-6)
    np.testing.assert_allclose(gaussians.quats, [[0, 0, 0.6, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(SH_C0 * gaussians.sh[0, 0] + 0.5, [0.782095, 0.5, 0.217905], rtol=1e-5)


@pytest.mark.parametrize(("columns", "degree"), [(0, 0), (9, 1), (24, 2), (45, 3)])
def test_f_rest_is_channel_major(tmp_path: Path, columns: int, degree: int) -> None:
    gaussians = load_gaussians(write_ply(tmp_path / "a.ply", gaussian_columns(2, rest=columns))).gaussians
    per_channel = columns // 3
    assert gaussians.sh_degree == degree
    for k in range(per_channel):
        for channel in range(3):
            assert gaussians.sh[0, 1 + k, channel] == channel * per_channel + k  # the column's own number


def test_degree_four_is_cut_to_three_with_a_note(tmp_path: Path) -> None:
    loaded = load_gaussians(write_ply(tmp_path / "a.ply", gaussian_columns(2, rest=72)))
    assert loaded.gaussians.sh_degree == 3
    assert loaded.gaussians.sh[0, 1:, 1].tolist() == [24 + k for k in range(15)]  # the first 15 of green's 24
    assert len(loaded.notes) == 1 and "degree 4" in loaded.notes[0] and "a.ply" in loaded.notes[0]


def test_column_order_types_normals_and_extra_columns_do_not_matter(tmp_path: Path) -> None:
    columns = gaussian_columns(300, rest=9)
    plain = load_gaussians(write_ply(tmp_path / "plain.ply", columns)).gaussians
    shuffled = {name: columns[name] for name in sorted(columns, key=lambda n: n[::-1])}
    zeros = np.zeros(300)
    odd = {"nx": zeros, "ny": zeros, "nz": zeros, "semantic": zeros + 7} | shuffled | {"flag": zeros + 255}
    others = ("element chunk 2\nproperty float a\nproperty uchar b\n", bytes(10))
    faces = ("element face 1\nproperty list uchar int vertex_index\n", bytes(13))
    data = ply_bytes(odd, types={"flag": "u1", "semantic": "f2", "rot_1": "f8"}, before=others, after=faces)
    (tmp_path / "odd.ply").write_bytes(data)
    other = load_gaussians(tmp_path / "odd.ply").gaussians
    for name in ("means", "quats", "scales", "opacities", "sh"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_big_endian_and_ascii_read_the_same(tmp_path: Path, line_end: str) -> None:
    columns = gaussian_columns(3, rest=9)
    little = load_gaussians(write_ply(tmp_path / "little.ply", columns)).gaussians
    big = load_gaussians(write_ply(tmp_path / "big.ply", columns, byte_order=">")).gaussians
    lines = ["ply", "format ascii 1.0", "element camera 1", "property list uchar int ids", "element vertex 3"]
    lines += [f"property float {name}" for name in columns] + ["end_header", "2 8 9"]
    lines += [" ".join(repr(float(v)) for v in row) for row in np.stack(list(columns.values()), axis=1)]
    (tmp_path / "ascii.ply").write_bytes(line_end.join([*lines, ""]).encode())
    text = load_gaussians(tmp_path / "ascii.ply").gaussians
    for name in ("means", "quats", "scales", "opacities", "sh"):
        np.testing.assert_array_equal(getattr(little, name), getattr(big, name), err_msg=name)
        np.testing.assert_allclose(getattr(little, name), getattr(text, name), rtol=1e-6, err_msg=name)


def test_uchar_colours_stand_in_for_f_dc(tmp_path: Path) -> None:
    columns = {k: v for k, v in gaussian_columns(2).items() if not k.startswith("f_dc")}
    columns |= {"red": [255, 0], "green": [51, 0], "blue": [0, 102]}
    types = {"red": "u1", "green": "u1", "blue": "u1"}
    gaussians = load_gaussians(write_ply(tmp_path / "rgb.ply", columns, types=types)).gaussians
    np.testing.assert_allclose(SH_C0 * gaussians.sh[:, 0] + 0.5, [[1, 0.2, 0], [0, 0, 0.4]], atol=1e-6)


def street_gaussians_columns(count: int, *, terms: int, rest: int = 9) -> dict[str, np.ndarray]:
    """Columns of a model; term k of channel c, f_dc_{c * terms + k}, is 10 c + k."""
    columns = {name: v for name, v in gaussian_columns(count, rest=rest).items() if not name.startswith("f_dc")}
    dc = {f"f_dc_{c * terms + k}": np.full(count, 10.0 * c + k) for c in range(3) for k in range(terms)}
    return columns | dc | {"semantic_0": np.zeros(count)}


def test_colours_that_change_with_time_are_read_at_their_mean(tmp_path: Path) -> None:
    loaded = load_gaussians(write_ply(tmp_path / "obj_001.ply", street_gaussians_columns(2, terms=5)))
    assert loaded.gaussians.sh[1, 0].tolist() == [0, 10, 20]
    assert loaded.gaussians.sh[0, 1:].tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert loaded.notes == (
        f"{tmp_path / 'obj_001.ply'}: 15 f_dc columns: colours that change with time (5 Fourier terms per channel, as "
        "Street Gaussians writes them) are read at their mean",
    )


def test_the_background_of_a_street_gaussians_scene_is_read(tmp_path: Path) -> None:
    background = ply_bytes(gaussian_columns(3)).replace(b"element vertex", b"element vertex_background")
    header, rows = background.split(b"end_header\n")
    path = tmp_path / "scene.ply"
    path.write_bytes(background)
    assert load_gaussians(path).notes == ()
    model, values = ply_bytes(street_gaussians_columns(2, terms=5)).split(b"end_header\n")
    actor = model[model.index(b"element") :].replace(b"element vertex", b"element vertex_obj_001")
    path.write_bytes(header + actor + b"end_header\n" + rows + values)
    loaded = load_gaussians(path)
    assert loaded.gaussians.means[:, 0].tolist() == [1, 2, 3]
    (note,) = loaded.notes
    assert "a scene of Street Gaussians: of its models the background is read, and not vertex_obj_001. An" in note


def test_mip_splatting_filter_is_baked_in(tmp_path: Path) -> None:
    columns = gaussian_columns(1) | {"filter_3D": [4.0], "opacity": [0.0]}
    columns |= {f"scale_{a}": [np.log(3.0)] for a in range(3)}
    loaded = load_gaussians(write_ply(tmp_path / "mip.ply", columns))
    np.testing.assert_allclose(loaded.gaussians.scales, [[5, 5, 5]], rtol=1e-6)  # sqrt(3^2 + 4^2)
    np.testing.assert_allclose(loaded.gaussians.opacities, [0.5 * 0.6**3], rtol=1e-6)
    assert "filter_3D" in loaded.notes[0]


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_round_trip(tmp_path: Path, degree: int) -> None:
    gaussians = random_gaussians(degree=degree)
    write_inria_ply(tmp_path / "a.ply", gaussians)
    loaded = load_gaussians(tmp_path / "a.ply")
    for name in ("means", "quats", "sh"):
        np.testing.assert_array_equal(getattr(loaded.gaussians, name), getattr(gaussians, name), err_msg=name)
    np.testing.assert_allclose(loaded.gaussians.scales, gaussians.scales, rtol=1e-6)
    np.testing.assert_allclose(loaded.gaussians.opacities, gaussians.opacities, rtol=1e-6, atol=1e-7)
    assert loaded.notes == () and list(tmp_path.iterdir()) == [tmp_path / "a.ply"]


def test_the_written_header_is_the_trainers(tmp_path: Path) -> None:
    write_inria_ply(tmp_path / "a.ply", random_gaussians(2, degree=1))
    header = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")[0].decode().splitlines()
    assert header[:3] == ["ply", "format binary_little_endian 1.0", "element vertex 2"]
    names = [
        "x",
        "y",
        "z",
        "nx",
        "ny",
        "nz",
        "f_dc_0",
        "f_dc_1",
        "f_dc_2",
        *(f"f_rest_{i}" for i in range(9)),
    ]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    assert header[3:] == [f"property float {name}" for name in names]


def test_saturated_values_stay_finite_in_the_file(tmp_path: Path) -> None:
    ends = Gaussians(
        means=np.zeros((2, 3)),
        quats=np.tile([1.0, 0, 0, 0], (2, 1)),
        scales=np.full((2, 3), 1e-30),
        opacities=np.array([0.0, 1.0]),
        sh=np.zeros((2, 1, 3)),
    )
    write_inria_ply(tmp_path / "a.ply", ends)
    loaded = load_gaussians(tmp_path / "a.ply")
    assert loaded.dropped == 0
    np.testing.assert_allclose(loaded.gaussians.opacities, [0, 1], atol=2e-7)
    assert (loaded.gaussians.opacities < 1).all() and (loaded.gaussians.scales > 0).all()


def test_infinite_logits_are_opaque_or_unseen_and_log_scales_of_minus_infinity_flat(tmp_path: Path) -> None:
    """What PlayCanvas splat-transform writes for alpha 255 and 0, and for a thickness of 0, in every row."""
    columns = gaussian_columns(2) | {"opacity": [np.inf, -np.inf], "scale_1": [-np.inf, -np.inf]}
    loaded = load_gaussians(write_ply(tmp_path / "a.ply", columns))
    assert (loaded.dropped, loaded.notes) == (0, ())
    np.testing.assert_allclose(loaded.gaussians.opacities, [1, 0], atol=1e-7)
    np.testing.assert_allclose(loaded.gaussians.scales[0], np.exp([-1, -np.inf, -3]), rtol=1e-6, atol=1e-11)
    write_inria_ply(tmp_path / "b.ply", loaded.gaussians)
    again = load_gaussians(tmp_path / "b.ply").gaussians
    np.testing.assert_allclose(again.opacities, loaded.gaussians.opacities, atol=2e-7)
    np.testing.assert_allclose(again.scales, loaded.gaussians.scales, rtol=1e-5)


def test_far_double_coordinates_keep_their_detail(tmp_path: Path) -> None:
    utm = np.array([500_123.4, 4_600_567.8, 31.25])
    columns = gaussian_columns(101)
    step = np.arange(101) * 0.001  # a millimetre apart: float32 at 4.6e6 resolves half a metre
    columns |= {"x": utm[0] + step, "y": utm[1] + step, "z": utm[2] + step}
    loaded = load_gaussians(write_ply(tmp_path / "utm.ply", columns, types={"x": "f8", "y": "f8", "z": "f8"}))
    gaussians = loaded.gaussians
    assert loaded.notes == ()
    assert gaussians.origin.tolist() == [500_123.0, 4_600_568.0, 31.0]
    position = gaussians.origin + gaussians.means
    np.testing.assert_allclose(position, utm + step[:, None], rtol=0, atol=1e-7)
    write_inria_ply(tmp_path / "again.ply", gaussians)
    again = load_gaussians(tmp_path / "again.ply").gaussians
    assert again.origin.tolist() == gaussians.origin.tolist()
    np.testing.assert_allclose(again.means, gaussians.means, rtol=0, atol=1e-8)


def test_far_float_coordinates_are_warned_about(tmp_path: Path) -> None:
    columns = gaussian_columns(3) | {"x": np.full(3, 500_000.0), "y": [4_600_000.0, 4_600_001.0, 4_600_002.0]}
    loaded = load_gaussians(write_ply(tmp_path / "baked.ply", columns))
    assert loaded.gaussians.origin.tolist() == [500_000, 4_600_001, -3]
    assert loaded.gaussians.means[:, 1].tolist() == [-1, 0, 1]
    assert len(loaded.notes) == 1 and "baked.ply" in loaded.notes[0] and "0.5 m" in loaded.notes[0]


@pytest.mark.parametrize("distance_m", [200, 9900])
def test_far_float_coordinates_are_rendered_as_precisely_as_near_ones(tmp_path: Path, distance_m: int) -> None:
    place = np.array([distance_m, -0.9 * distance_m, 0.0])
    near = cloud(300, centre=(5, 0, 0))
    far = Gaussians((near.means + place).astype(np.float32), near.quats, near.scales, near.opacities, near.sh)
    write_inria_ply(tmp_path / "far.ply", far)
    loaded = load_gaussians(tmp_path / "far.ply")
    assert loaded.notes == () and np.abs(loaded.gaussians.origin - place).max() < 10
    T_world_camera = Rigid(rotation_from_rpy(0.01, 0.02, 0.1) @ R_BODY_OPTICAL, place + [0.0123, 0.0456, 0.0789])
    view = view_of(width=96, height=64, focal=400, principal=(0.5, 0.5), T_camera_world=T_world_camera.inverse())
    (frame,) = CpuRenderer(RenderSettings(), 1).render(scene_of(loaded.gaussians), [view])
    (expected,) = ReferenceRenderer(RenderSettings()).render(scene_of(far), [view])
    assert psnr_db(frame.rgb, expected.rgb) > 100


def test_far_float_coordinates_come_back_from_a_file_written_again(tmp_path: Path) -> None:
    """Means become relative to an origin once, and double columns keep them from there on."""
    far = random_gaussians()
    far = Gaussians(far.means + [3000.0, 0, 0], far.quats, far.scales, far.opacities, far.sh)
    write_inria_ply(tmp_path / "a.ply", far)
    once = load_gaussians(tmp_path / "a.ply").gaussians
    np.testing.assert_allclose(once.origin + once.means, far.means.astype(np.float64), rtol=0, atol=1e-5)
    write_inria_ply(tmp_path / "b.ply", once)
    again = load_gaussians(tmp_path / "b.ply").gaussians
    for name in ("origin", "means", "quats", "sh"):
        np.testing.assert_array_equal(getattr(again, name), getattr(once, name), err_msg=name)


def test_a_few_far_rows_neither_move_the_origin_nor_warn(tmp_path: Path) -> None:
    columns = gaussian_columns(9)
    columns["x"][0] = 50_000.0  # a piece of sky
    loaded = load_gaussians(write_ply(tmp_path / "sky.ply", columns))
    assert not loaded.gaussians.origin.any() and loaded.notes == ()


@pytest.mark.parametrize("keyword", ["comment", "obj_info"])
def test_comments_may_be_in_any_encoding(tmp_path: Path, keyword: str) -> None:
    data = ply_bytes(gaussian_columns(4)).replace(b"comment made by hand", keyword.encode() + b" caf\xe9 \xff\x85\x1c")
    (tmp_path / "a.ply").write_bytes(data)
    assert len(load_gaussians(tmp_path / "a.ply").gaussians) == 4


def test_bytes_behind_the_last_row_are_counted(tmp_path: Path) -> None:
    """A row has 14 float columns: 56 bytes. Of four rows, the header announces three."""
    path = write_ply(tmp_path / "a.ply", gaussian_columns(4), count=3)
    loaded = load_gaussians(path)
    assert len(loaded.gaussians) == 3
    assert loaded.notes[0].startswith(f"{path}: 56 bytes are left over behind the rows of the header (3 in 'vertex')")
    camera = ("element camera 2\nproperty uchar a\n", b"12")
    assert load_gaussians(write_ply(path, gaussian_columns(4), before=camera, after=camera_named("b"))).notes == ()
    with_junk = path.read_bytes() + b"junk\n"
    path.write_bytes(with_junk)
    assert "5 bytes are left over" in load_gaussians(path).notes[0]


def camera_named(name: str) -> tuple[str, bytes]:
    return f"element {name} 1\nproperty float f\n", bytes(4)


def test_ascii_rows_beyond_the_count_are_counted(tmp_path: Path) -> None:
    header = ply_bytes(gaussian_columns(1)).split(b"end_header\n")[0].replace(b"binary_little_endian", b"ascii")
    row = b"1 2 3 0 0 0 1 -1 -1 -1 1 0 0 0\n"
    path = tmp_path / "a.ply"
    path.write_bytes(header + b"end_header\n" + row + b"\n  \n")
    assert load_gaussians(path).notes == ()
    path.write_bytes(header + b"end_header\n" + row + b"\n" + row + b"end\n")
    assert f"{len(row) + 4} bytes are left over" in load_gaussians(path).notes[0]


def test_ascii_counts_beyond_all_files_behind_the_rows(tmp_path: Path) -> None:
    """Ten elements of 10^18 - 1 rows each, which together are more than 64 bits count."""
    columns = gaussian_columns(1)
    behind = "".join(f"element e{i} {10**18 - 1}\nproperty float a\n" for i in range(10))
    header = ply_bytes(columns, after=(behind, b"")).split(b"end_header\n")[0]
    path = tmp_path / "a.ply"
    header = header.replace(b"binary_little_endian", b"ascii")
    path.write_bytes(header + b"end_header\n1 2 3 0 0 0 1 -1 -1 -1 1 0 0 0\n")
    loaded = load_gaussians(path)
    assert len(loaded.gaussians) == 1 and loaded.notes == ()


def test_what_looks_activated_already_is_noted(tmp_path: Path) -> None:
    columns = gaussian_columns(4) | {f"scale_{i}": np.full(4, 0.05) for i in range(3)} | {"opacity": np.full(4, 0.9)}
    (note,) = load_gaussians(write_ply(tmp_path / "a.ply", columns)).notes
    assert "as if they were activated already" in note
    columns["scale_1"][2] = -3.0
    assert not load_gaussians(write_ply(tmp_path / "b.ply", columns)).notes


def test_an_origin_has_no_negative_zero(tmp_path: Path) -> None:
    columns = gaussian_columns(4) | {"x": np.full(4, 5e5), "y": np.full(4, -0.2)}
    origin = load_gaussians(write_ply(tmp_path / "a.ply", columns, types={"x": "f8"})).gaussians.origin
    assert str(origin.tolist()) == "[500000.0, 0.0, -4.0]"
