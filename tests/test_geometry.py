"""Transforms obey their axioms, and a few cases that can be worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from r3d2_ros.geometry import (
    Affine,
    Array,
    Rigid,
    Similarity,
    matrix_to_quat,
    quat_multiply,
    quat_normalize,
    quat_to_matrix,
    rotation_from_rpy,
    slerp,
)

HALF = np.sqrt(0.5)
components = st.floats(-1.0, 1.0, allow_subnormal=False)
quats = st.tuples(*[components] * 4).filter(lambda q: np.linalg.norm(q) > 1e-2).map(quat_normalize)
metres = st.floats(-1e3, 1e3)
points = st.tuples(metres, metres, metres).map(np.array)
rigids = st.builds(Rigid.from_quat, quats, points)
scales = st.floats(0.01, 100.0)
similarities = st.builds(lambda T, scale: Similarity(T.rotation, T.translation, scale), rigids, scales)


def wxyz(rotation: Rotation) -> Array:
    return np.roll(rotation.as_quat(), 1)


def same_rotation(a: Array, b: Array) -> bool:
    """Whether two unit quaternions are one rotation: q and -q are."""
    return bool(abs(a @ b) > 1 - 1e-9)


@given(rigids, rigids, points)
def test_composition_is_applying_one_after_the_other(A: Rigid, B: Rigid, point: Array):
    np.testing.assert_allclose((A @ B).apply(point), A.apply(B.apply(point)), atol=1e-8)
    np.testing.assert_allclose((A @ B).matrix(), A.matrix() @ B.matrix(), atol=1e-8)


@given(rigids, rigids, rigids)
def test_composition_is_associative(A: Rigid, B: Rigid, C: Rigid):
    np.testing.assert_allclose(((A @ B) @ C).matrix(), (A @ (B @ C)).matrix(), atol=1e-8)


@given(rigids)
def test_identity_and_inverse(T: Rigid):
    np.testing.assert_allclose((T @ T.inverse()).matrix(), np.eye(4), atol=1e-8)
    np.testing.assert_allclose((T.inverse() @ T).matrix(), np.eye(4), atol=1e-8)
    np.testing.assert_array_equal((Rigid.identity() @ T).matrix(), T.matrix())
    np.testing.assert_allclose(Rigid.from_matrix(T.matrix()).matrix(), T.matrix())


@given(rigids, points, points)
def test_rigid_transforms_keep_distances(T: Rigid, a: Array, b: Array):
    assert np.linalg.norm(T.apply(a) - T.apply(b)) == pytest.approx(np.linalg.norm(a - b), abs=1e-7)


@given(similarities, points)
def test_similarity_inverse_and_affine(T: Similarity, point: Array):
    np.testing.assert_allclose(T.inverse().apply(T.apply(point)), point, atol=1e-6)
    np.testing.assert_allclose(T.affine().apply(point), T.apply(point), atol=1e-6)


@given(rigids, st.tuples(*[st.floats(0.1, 10.0)] * 3), points)
def test_affine_composition(T: Rigid, stretch: tuple[float, float, float], point: Array):
    A = Affine(T.rotation * stretch, T.translation)
    np.testing.assert_allclose((A @ A).apply(point), A.apply(A.apply(point)), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose((A @ A).matrix(), A.matrix() @ A.matrix(), rtol=1e-9, atol=1e-6)


@given(quats)
def test_quaternion_round_trip(quat: Array):
    back = matrix_to_quat(quat_to_matrix(quat))
    assert back[0] >= 0 and same_rotation(back, quat)
    np.testing.assert_allclose(quat_to_matrix(quat), Rotation.from_quat(np.roll(quat, -1)).as_matrix(), atol=1e-12)


@pytest.mark.parametrize("quat", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, HALF, HALF, 0)])
def test_quaternion_round_trip_of_half_turns(quat: tuple[float, ...]):
    """Where the trace is -1 and the naive formula divides by zero."""
    assert same_rotation(matrix_to_quat(quat_to_matrix(quat)), np.array(quat))


@given(quats, quats)
def test_quaternion_product_is_the_product_of_rotations(a: Array, b: Array):
    np.testing.assert_allclose(quat_to_matrix(quat_multiply(a, b)), quat_to_matrix(a) @ quat_to_matrix(b), atol=1e-12)


def test_quaternions_are_converted_in_batches():
    batch = np.array([[[2.0, 0, 0, 0], [0, 0, 0, -3.0]]])
    np.testing.assert_allclose(quat_to_matrix(batch)[0, 1], np.diag([-1.0, -1.0, 1.0]))
    assert quat_to_matrix(batch).shape == (1, 2, 3, 3)


@pytest.mark.parametrize("bad", [(0, 0, 0, 0), (np.nan, 0, 0, 1), (np.inf, 0, 0, 0)])
def test_quaternions_that_are_no_rotation(bad: tuple[float, ...]):
    with pytest.raises(ValueError, match="finite quaternion of non-zero length"):
        Rigid.from_quat(bad)


@given(quats, quats, st.floats(0.0, 1.0))
def test_slerp_agrees_with_scipy(a: Array, b: Array, fraction: float):
    if abs(a @ b) < 1e-3:  # half a turn apart: both ways are shortest
        return
    expected = Slerp([0.0, 1.0], Rotation.from_quat([np.roll(a, -1), np.roll(b, -1)]))(fraction)
    assert same_rotation(slerp(a, b, fraction), wxyz(expected))
    assert np.linalg.norm(slerp(a, b, fraction)) == pytest.approx(1.0)


def test_slerp_by_hand():
    """A third of the way from 0 to 90 degrees about z is 30 degrees; q and -q are one rotation."""
    quarter_turn = np.array([HALF, 0, 0, HALF])
    thirty = np.array([np.cos(np.pi / 12), 0, 0, np.sin(np.pi / 12)])
    np.testing.assert_allclose(slerp([1, 0, 0, 0], quarter_turn, 1 / 3), thirty, atol=1e-12)
    assert same_rotation(slerp([1, 0, 0, 0], -quarter_turn, 1 / 3), thirty)
    np.testing.assert_allclose(slerp(quarter_turn, quarter_turn, 0.5), quarter_turn, atol=1e-12)


def test_roll_pitch_yaw_by_hand():
    """REP-103 and URDF: yaw turns x to y, positive pitch turns x down (to -z), roll turns y to z."""
    quarter = np.pi / 2
    np.testing.assert_allclose(rotation_from_rpy(0, 0, quarter) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(rotation_from_rpy(0, quarter, 0) @ [1, 0, 0], [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(rotation_from_rpy(quarter, 0, 0) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    # fixed axes: roll is applied first, yaw last
    np.testing.assert_allclose(rotation_from_rpy(quarter, 0, quarter) @ [0, 1, 0], [0, 0, 1], atol=1e-12)


@given(st.tuples(*[st.floats(-3.0, 3.0)] * 3))
def test_roll_pitch_yaw_are_scipys_fixed_xyz(rpy: tuple[float, float, float]):
    expected = Rotation.from_euler("xyz", rpy).as_matrix()
    np.testing.assert_allclose(rotation_from_rpy(*rpy), expected, atol=1e-12)
    np.testing.assert_allclose(Rigid.from_rpy(rpy, (1, 2, 3)).rotation, expected, atol=1e-12)


def test_a_pose_on_the_ground_by_hand():
    """At (10, 20) facing +y: 3 m ahead and 1 m to the left is (9, 23)."""
    pose = Rigid.from_xyz_yaw(10.0, 20.0, 0.5, np.pi / 2)
    np.testing.assert_allclose(pose.apply([3.0, 1.0, 0.0]), [9.0, 23.0, 0.5])
    assert pose.yaw_rad == pytest.approx(np.pi / 2)


@given(st.floats(-3.1, 3.1))
def test_yaw_round_trip(yaw: float):
    assert Rigid.from_xyz_yaw(0, 0, 0, yaw).yaw_rad == pytest.approx(yaw)


def test_interpolation_by_hand():
    """Half way between (0, 0) facing 0 degrees and (4, 2) facing 60 degrees: (2, 1) facing 30 degrees."""
    A, B = Rigid.from_xyz_yaw(0, 0, 0, 0), Rigid.from_xyz_yaw(4, 2, 0, np.radians(60))
    middle = A.interpolate(B, 0.5)
    np.testing.assert_allclose(middle.translation, [2, 1, 0])
    assert np.degrees(middle.yaw_rad) == pytest.approx(30)
    assert A.interpolate(B, 0.0) is A and A.interpolate(B, 1.0) is B


def test_interpolation_far_from_the_origin_keeps_millimetres():
    """UTM coordinates in float32 would move in steps of half a metre."""
    A = Rigid.from_xyz_yaw(500_000.0, 4_600_000.0, 0, 0)
    B = Rigid.from_xyz_yaw(500_000.002, 4_600_000.002, 0, 0)
    np.testing.assert_allclose(A.interpolate(B, 0.5).translation - A.translation, [0.001, 0.001, 0], atol=1e-9)


def test_interpolation_crosses_half_a_turn_the_short_way():
    A, B = Rigid.from_xyz_yaw(0, 0, 0, np.radians(170)), Rigid.from_xyz_yaw(0, 0, 0, np.radians(-170))
    assert abs(np.degrees(A.interpolate(B, 0.5).yaw_rad)) == pytest.approx(180)


def test_similarity_by_hand():
    """Scale 2, a quarter turn to the left, then 10 m along x: (1, 0, 0) goes to (10, 2, 0)."""
    T = Similarity(rotation_from_rpy(0, 0, np.pi / 2), np.array([10.0, 0, 0]), 2.0)
    np.testing.assert_allclose(T.apply([1, 0, 0]), [10, 2, 0], atol=1e-12)
    np.testing.assert_allclose(T.inverse().apply([10, 2, 0]), [1, 0, 0], atol=1e-12)


@pytest.mark.parametrize(
    "rotation, translation",
    [
        (np.diag([1.0, 1.0, -1.0]), np.zeros(3)),  # a mirror
        (2 * np.eye(3), np.zeros(3)),
        (np.eye(2), np.zeros(3)),
        (np.eye(3), np.zeros(2)),
        (np.eye(3), np.array([0, 0, np.nan])),
    ],
)
def test_what_is_no_rigid_transform(rotation: Array, translation: Array):
    with pytest.raises(ValueError, match="expected"):
        Rigid(rotation, translation)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_scales_must_be_positive(scale: float):
    with pytest.raises(ValueError, match="positive scale"):
        Similarity(np.eye(3), np.zeros(3), scale)


def test_transforms_are_read_only_copies():
    translation = np.zeros(3)
    T = Rigid(np.eye(3), translation)
    translation[0] = 5.0
    assert T.translation[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        T.translation[0] = 1.0
