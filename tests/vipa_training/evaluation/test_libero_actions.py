"""Targets and LIBERO's actions: there and back, and as LIBERO's controller understands them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_training.evaluation.robosuite.actions import action_to_reach, hand_of_fingers, target_of_action


def numbers(count, bound):
    return st.lists(st.floats(-bound, bound), min_size=count, max_size=count).map(np.array)


def pose(position, vector):
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = matrix_from_rotation_vector(vector), position
    return result


POSES = st.builds(pose, numbers(3, 1.0), numbers(3, 1.8))


@given(numbers(7, 1.0), POSES)
def test_an_action_is_found_again_from_its_target(action, now):
    target, hand = target_of_action(action, now)
    np.testing.assert_allclose(action_to_reach(target, hand, now), action, atol=1e-6)


@given(POSES, POSES, st.floats(0.0, 1.0))
def test_a_target_is_found_again_from_its_action(target, now, opening):
    found, hand = target_of_action(action_to_reach(target, np.full(6, opening), now), now)
    np.testing.assert_allclose(found, target, atol=1e-6)
    np.testing.assert_allclose(hand, opening, atol=1e-9)


@given(POSES, POSES, numbers(3, 1.8))
def test_it_does_not_matter_how_the_end_effector_frame_is_turned_in_the_hand(target, now, vector):
    """LIBERO observes the hand's orientation and controls another frame, which is turned in the hand."""
    turned = pose(np.zeros(3), vector)
    np.testing.assert_allclose(
        np.abs(action_to_reach(target @ turned, np.ones(6), now @ turned)),
        np.abs(action_to_reach(target, np.ones(6), now)),  # a turn by pi has two vectors
        atol=1e-5,
    )


def test_axes_units_and_the_gripper():
    now = pose([0.1, 0.2, 0.3], [np.pi, 0.0, 0.0])
    target = pose([0.15, 0.2, 0.275], [0.0, 0.0, 0.0])
    target[:3, :3] = matrix_from_rotation_vector([0.0, 0.0, 0.25]) @ now[:3, :3]
    np.testing.assert_allclose(action_to_reach(target, np.ones(6), now), [1, 0, -0.5, 0, 0, 0.5, -1], atol=1e-9)
    assert action_to_reach(now, np.zeros(6), now)[6] == 1.0  # closes
    assert action_to_reach(now, [1.2] * 6, now)[6] == -1.0


@pytest.mark.parametrize(("fingers", "opening"), [((0.04, -0.04), 1.0), ((0.0, 0.0), 0.0), ((0.02, -0.02), 0.5)])
def test_the_hand_of_the_gripper(fingers, opening):
    np.testing.assert_allclose(hand_of_fingers(fingers), [opening] * 6)
