"""From a tracked hand to the six values."""

import numpy as np
import pytest
from fabricated_hand import mirrored, right_hand
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa.teleop.hand_skeleton import SkeletonConfig, hand_values, is_hand, pinch_distance
from vipa_inference.rotations import matrix_from_rotation_vector

angles = st.floats(0.0, 1.5)


def test_a_flat_hand_is_open_and_a_fist_is_closed() -> None:
    assert hand_values(right_hand(), "right").tolist() == [1.0] * 6
    assert hand_values(right_hand(1.3, 0.9, 1.0), "right").tolist() == [0.0] * 6


@pytest.mark.parametrize(("finger", "value"), [("little", 0), ("ring", 1), ("middle", 2), ("index", 3)])
def test_each_finger_has_its_value_in_the_order_of_the_registers(finger: str, value: int) -> None:
    values = hand_values(right_hand({finger: 1.3}), "right")
    expected = np.ones(6)
    expected[value] = 0.0
    assert values.tolist() == expected.tolist()


def test_the_thumb_bends_and_rotates_apart() -> None:
    bent, opposed = hand_values(right_hand(0.0, 0.9, 0.0), "right"), hand_values(right_hand(0.0, 0.0, 1.0), "right")
    assert bent.tolist() == [1, 1, 1, 1, 0, 1]
    assert opposed.tolist() == [1, 1, 1, 1, 1, 0]


@given(angles, angles, st.floats(-0.3, 1.4), st.tuples(*[st.floats(-3.0, 3.0)] * 3), st.tuples(*[st.floats(-2, 2)] * 3))
@settings(max_examples=60, deadline=None)
def test_values_depend_on_neither_place_nor_side(
    bend: float, thumb: float, opposition: float, turn: tuple[float, ...], place: tuple[float, ...]
) -> None:
    hand = right_hand(bend, thumb, opposition)
    values = hand_values(hand, "right")
    assert ((values >= 0.0) & (values <= 1.0)).all()
    elsewhere = hand @ matrix_from_rotation_vector(turn).T + place
    assert is_hand(elsewhere)
    assert hand_values(elsewhere, "right") == pytest.approx(values, abs=1e-6)
    assert hand_values(mirrored(hand), "left") == pytest.approx(values, abs=1e-9)


@given(angles, angles)
@settings(max_examples=40, deadline=None)
def test_the_more_a_finger_bends_the_more_it_closes(a: float, b: float) -> None:
    less, more = (hand_values(right_hand(bend), "right")[:4] for bend in sorted((a, b)))
    assert (less >= more - 1e-9).all()


def test_what_is_no_hand() -> None:
    hand = right_hand()
    assert is_hand(hand)
    assert not is_hand(hand[:24])
    assert not is_hand(np.zeros((25, 3)))
    assert not is_hand(np.where(np.arange(75).reshape(25, 3) == 40, np.nan, hand))
    far = hand.copy()
    far[1:] += 0.5
    assert not is_hand(far)


def test_a_pinch_is_the_distance_of_the_tips() -> None:
    hand = right_hand()
    hand[4] = hand[9] + (0.0, 0.015, 0.0)
    assert pinch_distance(hand) == pytest.approx(0.015)


def test_an_open_angle_must_be_less_than_the_closed_one() -> None:
    with pytest.raises(ValueError, match="finger"):
        SkeletonConfig(finger=(2.0, 1.0))
