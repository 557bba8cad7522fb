"""Round trips between the forms of a rotation, with angles near 0 and pi."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa_inference.rotations import (
    matrix_from_quaternion,
    matrix_from_rotation_vector,
    matrix_from_six_d,
    quaternion_from_matrix,
    rotation_vector_from_matrix,
    six_d_from_matrix,
    skew,
    unit_quaternion,
)

axes = (
    st.tuples(*[st.floats(-1, 1)] * 3)
    .filter(lambda a: np.linalg.norm(a) > 1e-2)
    .map(lambda a: np.array(a) / np.linalg.norm(a))
)
angles = st.one_of(
    st.floats(0.0, np.pi),
    st.floats(-12.0, -1.0).map(lambda exponent: 10.0**exponent),
    st.floats(-12.0, -1.0).map(lambda exponent: np.pi - 10.0**exponent),
    st.sampled_from([0.0, 1e-8, 1e-9, np.pi / 2, np.pi]),
)
vectors = st.builds(lambda axis, angle: axis * angle, axes, angles)


@settings(max_examples=200)
@given(vectors)
def test_rotation_vectors_give_rotations(vector):
    matrix = matrix_from_rotation_vector(vector)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1.0)
    np.testing.assert_allclose(matrix @ vector, vector, atol=1e-12)
    assert np.trace(matrix) == pytest.approx(1.0 + 2.0 * np.cos(np.linalg.norm(vector)), abs=1e-12)


@settings(max_examples=200)
@given(vectors)
def test_rotation_vectors_come_back(vector):
    back = rotation_vector_from_matrix(matrix_from_rotation_vector(vector))
    assert np.linalg.norm(back) <= np.pi + 1e-12
    if np.linalg.norm(vector) > np.pi - 1e-7:  # both signs are the same rotation
        back = back if back @ vector >= 0 else -back
        np.testing.assert_allclose(back, vector, atol=1e-6)
    else:
        np.testing.assert_allclose(back, vector, atol=1e-9)


@settings(max_examples=200)
@given(vectors)
def test_matrices_come_back_through_every_form(vector):
    matrix = matrix_from_rotation_vector(vector)
    quaternion = quaternion_from_matrix(matrix)
    assert np.linalg.norm(quaternion) == pytest.approx(1.0)
    assert quaternion[3] >= 0.0
    np.testing.assert_allclose(matrix_from_quaternion(quaternion), matrix, atol=1e-9)
    np.testing.assert_allclose(matrix_from_quaternion(-3.0 * quaternion), matrix, atol=1e-9)
    np.testing.assert_allclose(matrix_from_six_d(six_d_from_matrix(matrix)), matrix, atol=1e-9)
    np.testing.assert_allclose(matrix_from_rotation_vector(rotation_vector_from_matrix(matrix)), matrix, atol=1e-9)


@settings(max_examples=100)
@given(vectors, st.floats(0.1, 10.0), st.floats(-2.0, 2.0))
def test_the_six_d_form_tolerates_scale_and_shear(vector, scale, shear):
    matrix = matrix_from_rotation_vector(vector)
    six_d = six_d_from_matrix(matrix)
    six_d = np.concatenate([scale * six_d[:3], six_d[3:] + shear * six_d[:3]])
    np.testing.assert_allclose(matrix_from_six_d(six_d), matrix, atol=1e-9)


@settings(max_examples=100)
@given(vectors, st.tuples(*[st.floats(-10, 10)] * 3))
def test_skew_is_the_cross_product(a, b):
    np.testing.assert_allclose(skew(a) @ np.array(b), np.cross(a, b), atol=1e-12)


def test_known_rotations():
    quarter_about_z = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(matrix_from_rotation_vector([0, 0, np.pi / 2]), quarter_about_z, atol=1e-15)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(quaternion_from_matrix(quarter_about_z), [0, 0, half, half], atol=1e-15)
    np.testing.assert_allclose(six_d_from_matrix(quarter_about_z), [0, 1, 0, -1, 0, 0])


def test_batches_equal_single_conversions():
    generator = np.random.default_rng(0)
    batch = generator.normal(size=(2, 5, 3))
    matrices = matrix_from_rotation_vector(batch)
    assert matrices.shape == (2, 5, 3, 3)
    np.testing.assert_allclose(matrices[1, 3], matrix_from_rotation_vector(batch[1, 3]), atol=1e-15)
    np.testing.assert_allclose(rotation_vector_from_matrix(matrices)[1, 3], rotation_vector_from_matrix(matrices[1, 3]))
    assert quaternion_from_matrix(matrices).shape == (2, 5, 4)
    assert matrix_from_six_d(six_d_from_matrix(matrices)).shape == (2, 5, 3, 3)


@given(st.tuples(*[st.floats(-1.0, 1.0)] * 4).filter(lambda q: sum(v * v for v in q) > 0.01))
def test_the_fast_quaternion_is_the_same(quaternion: tuple[float, float, float, float]) -> None:
    matrix = matrix_from_quaternion(quaternion)
    np.testing.assert_allclose(matrix_from_quaternion(unit_quaternion(matrix)), matrix, atol=1e-9)
    assert unit_quaternion(matrix)[3] >= 0.0
