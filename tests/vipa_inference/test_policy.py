"""What an action chunk means."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa_inference.policy import ACTION_DIMENSION, ActionChunk, CameraView, Observation
from vipa_inference.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix


def make_chunk(actions, reference):
    return ActionChunk(actions, 0.05, reference, 1_000, "test", "0" * 64)


def pose(position, vector):
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = matrix_from_rotation_vector(vector), position
    return out


def test_zero_actions_stay_at_the_reference():
    reference = pose([0.4, 0.1, 0.3], [3.0, 0.2, 0.1])
    chunk = make_chunk(np.zeros((16, ACTION_DIMENSION)), reference)
    assert chunk.horizon == 16
    np.testing.assert_allclose(chunk.target_poses(), np.tile(reference, (16, 1, 1)), atol=1e-15)


def test_translation_and_rotation_are_in_the_base_frame():
    reference = pose([0.4, 0.0, 0.3], [np.pi, 0.0, 0.0])  # fingers down: its z axis is minus that of the base
    action = np.zeros((1, ACTION_DIMENSION))
    action[0, 2], action[0, 5] = 0.1, np.pi / 2
    target = make_chunk(action, reference).target_poses()[0]
    np.testing.assert_allclose(target[:3, 3], [0.4, 0.0, 0.4])
    np.testing.assert_allclose(target[:3, 0], [0.0, 1.0, 0.0], atol=1e-12)  # x turned to the left about the base's z
    np.testing.assert_allclose(target[:3, 2], [0.0, 0.0, -1.0], atol=1e-12)


@settings(max_examples=50)
@given(
    st.tuples(*[st.floats(-1, 1)] * 3),
    st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    st.tuples(*[st.floats(-1, 1)] * 3),
    st.tuples(*[st.floats(-1.5, 1.5)] * 3),
)
def test_relative_actions_lead_to_the_pose_they_were_made_from(position, vector, goal_position, goal_vector):
    reference, goal = pose(position, vector), pose(goal_position, goal_vector)
    action = np.zeros((1, ACTION_DIMENSION))
    action[0, :3] = goal[:3, 3] - reference[:3, 3]
    action[0, 3:6] = rotation_vector_from_matrix(goal[:3, :3] @ reference[:3, :3].T)
    target = make_chunk(action, reference).target_poses()[0]
    np.testing.assert_allclose(target, goal, atol=1e-9)
    np.testing.assert_allclose(target[3], [0, 0, 0, 1])


def test_the_oldest_exposure_is_the_clock():
    image = np.zeros((2, 2, 3), np.uint8)
    views = {name: CameraView(image, time_ns, np.eye(3), np.eye(4)) for name, time_ns in (("front", 30), ("side", 20))}
    assert Observation(views, np.eye(4), np.zeros(7), np.ones(6), "").observation_ns == 20
