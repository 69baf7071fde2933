"""Damaged files: a valid result or an InputError, never another exception or values outside the contract."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.formats import load_gaussians, load_scene
from tests.formats.plys import gaussian_columns, ply_bytes
from tests.formats.test_compressed_ply import compressed_bytes
from tests.formats.test_splat import splat_bytes

ASCII = (
    b"ply\nformat ascii 1.0\nelement vertex 2\n"
    + b"".join(b"property float %s\n" % name.encode() for name in gaussian_columns())
    + b"end_header\n"
    + b"1 2 3 0.1 0.2 0.3 0.5 -1 -2 -3 1 0 0 0\n" * 2
)
SEEDS = {
    "inria.ply": ply_bytes(gaussian_columns(3, rest=9)),
    "ascii.ply": ASCII,
    "compressed.ply": compressed_bytes(3, sh_columns=9),
    "a.splat": splat_bytes(3),
}
edits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=12)), max_size=4)


def check_contract(path: Path) -> None:
    try:
        gaussians = load_gaussians(path).gaussians
    except InputError:
        return
    assert len(gaussians) > 0
    assert np.isfinite(gaussians.means).all() and np.isfinite(gaussians.sh).all()
    assert (gaussians.scales > 0).all() and np.isfinite(gaussians.scales).all()
    assert ((gaussians.opacities > 0) & (gaussians.opacities < 1)).all()
    np.testing.assert_allclose(np.linalg.norm(gaussians.quats, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(edits=edits, keep=st.floats(0, 1) | st.just(1.0))
def test_damaged_gaussian_files(name: str, edits: list[tuple[float, bytes]], keep: float) -> None:
    data = bytearray(SEEDS[name])
    for position, replacement in edits:
        start = int(position * len(data))
        data[start : start + len(replacement)] = replacement
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data[: int(keep * len(data))])
        check_contract(path)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=300))
def test_random_bytes_after_a_header(data: bytes) -> None:
    header = SEEDS["inria.ply"].split(b"end_header\n")[0] + b"end_header\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ply"
        path.write_bytes(header + data)
        check_contract(path)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=6), v, max_size=3)
)
keys = st.sampled_from(
    ["name", "T_map_scene", "sky", "trajectory", "trajectory_file", "bounds", "assets", "gaussian"]
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.dictionaries(keys, values, max_size=3))
def test_any_yaml_beside_a_good_file(data: dict[str, object]) -> None:
    import yaml

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.ply").write_bytes(SEEDS["inria.ply"])
        text = yaml.safe_dump({"gaussians": "a.ply", **data}, allow_unicode=False)
        (folder / "scene.yaml").write_text(text)
        try:
            assert len(load_scene(folder).background) == 3
        except (InputError, InputErrors) as error:
            assert str(folder) in str(error)
