"""Observations that a policy must refuse, each with a line that names what is wrong."""

import dataclasses

import numpy as np
import pytest

from vipa_inference.observation_checks import check_observation
from vipa_inference.policy import CameraView, Observation, PolicyError

CAMERAS = ("front", "side")
INTRINSICS = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])


def observation(**changes):
    image = np.zeros((48, 64, 3), np.uint8)
    views = {name: CameraView(image, 1_000_000_000, INTRINSICS, np.eye(4)) for name in CAMERAS}
    return dataclasses.replace(Observation(views, np.eye(4), np.zeros(7), np.ones(6), "wave"), **changes)


def with_side(**changes):
    good = observation()
    return observation(views={**good.views, "side": dataclasses.replace(good.views["side"], **changes)})


def test_a_good_observation_passes():
    check_observation(observation(), CAMERAS)


def test_frames_up_to_100_ms_apart_pass():
    check_observation(with_side(exposure_ns=1_100_000_000), CAMERAS)


def test_a_bad_camera_that_the_policy_does_not_need_passes():
    check_observation(with_side(image=np.zeros((2, 2), np.uint8), exposure_ns=0), ("front",))


def broken(shape, index, value=np.nan):
    out = np.eye(4) if shape == (4, 4) else np.zeros(shape)
    out[index] = value
    return out


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (observation(views={}), r"no frame of camera front \(present: none\)"),
        (with_side(image=np.zeros((48, 64), np.uint8)), r"camera side gave an image of uint8 \(48, 64\)"),
        (with_side(image=np.zeros((48, 64, 4), np.uint8)), r"camera side gave an image of uint8 \(48, 64, 4\)"),
        (with_side(image=np.zeros((0, 64, 3), np.uint8)), "camera side gave an image"),
        (with_side(image=np.zeros((48, 64, 3), np.float32)), "camera side gave an image of float32"),
        (with_side(exposure_ns=1_101_000_000), "frame of camera front is 101 ms older than that of side"),
        (with_side(exposure_ns=0), "frame of camera side is 1000 ms older than that of front"),
        (with_side(intrinsics=np.eye(4)), "intrinsics of camera side of shape"),
        (with_side(intrinsics=np.diag([0.0, 600, 1])), "focal lengths of camera side"),
        (with_side(camera_to_base=broken((4, 4), (0, 3))), "pose of camera side not finite"),
        (with_side(camera_to_base=np.diag([1.0, 1, -1, 1])), "pose of camera side is no rigid transform"),
        (observation(end_effector_pose=broken((4, 4), (2, 3), np.inf)), "end-effector pose not finite"),
        (observation(end_effector_pose=np.zeros((4, 4))), "end-effector pose is no rigid transform"),
        (observation(end_effector_pose=np.eye(3)), "end-effector pose of shape"),
        (observation(joint_positions=broken(7, 3)), "joint positions not finite"),
        (observation(joint_positions=np.zeros(6)), r"joint positions of shape \(6,\), expected \(7,\)"),
        (observation(hand_positions=broken(6, 0)), "hand positions not finite"),
        (observation(hand_positions=np.zeros(12)), "hand positions of shape"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(bad, complaint):
    with pytest.raises(PolicyError, match=complaint) as caught:
        check_observation(bad, CAMERAS)
    assert "\n" not in str(caught.value)
