"""Projection, scale and objects in pointmaps."""

from dataclasses import replace

import fabricated_clip
import numpy as np
import pytest
from fabricated_clip import SIZE, K
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_training.hand3d.clip import Hand, Object
from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.geometry import (
    VisibilityConfig,
    hand_in_view,
    in_camera,
    in_world,
    inverse,
    pose_of,
    projected,
    transformed,
    unprojected,
)
from vipa_training.hand3d.observation import observe
from vipa_training.hand3d.pointmaps import object_surface, values_at
from vipa_training.hand3d.scale import ScaleConfig, calibrated_scale

coordinate = st.floats(-2.0, 2.0)
vectors = st.tuples(coordinate, coordinate, coordinate)
seeds = st.integers(0, 2**32 - 1)


@given(vectors, vectors, vectors, st.floats(0.05, 5.0), st.floats(100.0, 3000.0))
def test_projection_and_back(
    turn: tuple[float, ...], place: tuple[float, ...], xy: tuple[float, ...], z: float, f: float
) -> None:
    pose, intrinsics = pose_of(matrix_from_rotation_vector(turn), place), K * np.array([[f], [f], [1.0]])
    camera = np.array([[xy[0], xy[1], z]])
    world = transformed(inverse(pose), camera)
    pixels = projected(transformed(pose, world), intrinsics)
    homogeneous = intrinsics @ pose[:3] @ np.append(world[0], 1.0)
    np.testing.assert_allclose(pixels[0], homogeneous[:2] / homogeneous[2], rtol=1e-6, atol=1e-5)
    again = transformed(inverse(pose), unprojected(pixels, camera[:, 2], intrinsics))
    np.testing.assert_allclose(again, world, atol=1e-9)


def test_points_behind_the_camera_have_no_pixel() -> None:
    assert np.isnan(projected([[0.1, 0.1, -1.0], [0.1, 0.1, 0.0]], K)).all()


def test_world_and_camera_frames_agree() -> None:
    clip = fabricated_clip.clip()
    joints = clip.hands["right"].joints
    seen = in_camera(joints, "world", clip.camera)
    np.testing.assert_allclose(in_world(seen, "camera", clip.camera), joints, atol=1e-12)
    assert in_camera(seen, "camera", clip.camera) is seen
    np.testing.assert_allclose(seen[9], transformed(clip.camera.extrinsics[9], joints[9]), atol=1e-12)


def test_hands_out_of_view_are_filtered() -> None:
    seen = fabricated_clip.flat_hand() + np.array([0.0, -0.05, 0.5])
    shifts = np.array([[0, 0, 0], [0.5, 0, 0], [0, 0, -0.49], [0, 0, 9.0], [0, 0, -2.0]])
    views = hand_in_view(seen + shifts[:, None], K, SIZE, VisibilityConfig())
    assert views.tolist() == [True, False, False, False, False]


@given(seeds, st.floats(0.05, 20.0), st.integers(40, 400), st.sampled_from(["far", "near", "both"]))
def test_a_planted_scale_is_recovered_with_outliers(seed: int, scale: float, count: int, kind: str) -> None:
    chance = np.random.default_rng(seed)
    seen = chance.uniform(0.2, 2.0, count)
    real = scale * seen * (1.0 + chance.normal(0.0, 0.005, count))
    wrong = chance.permutation(count)[: int(0.3 * count)]
    factors = {"far": (1.2, 4.0), "near": (0.1, 0.8), "both": (0.1, 4.0)}[kind]
    real[wrong] *= chance.uniform(*factors, len(wrong))
    found = calibrated_scale(real, seen)
    assert abs(found.value / scale - 1.0) < 0.01


def test_joints_without_depth_do_not_count() -> None:
    seen = np.array([0.5] * 8 + [0.0, np.nan, -1.0, 0.5])
    real = np.array([1.0] * 8 + [1.0, 1.0, 1.0, np.nan])
    found = calibrated_scale(real, seen)
    assert (found.value, found.joints, found.spread) == (2.0, 8, 0.0)


@pytest.mark.parametrize(
    ("real", "seen", "reason"),
    [
        (np.ones(7), np.ones(7), "7 joints have a depth, 8 are needed"),
        (np.ones(20), np.zeros(20), "0 joints have a depth"),
        (np.ones(20), -np.ones(20), "negative"),
        (np.full(20, np.nan), np.ones(20), "0 joints have a depth"),
        ([], [], "0 joints have a depth"),
        (np.linspace(0.1, 3.0, 40), np.ones(40), "the joints do not agree"),
    ],
)
def test_no_scale_without_enough_joints_that_agree(real: object, seen: object, reason: str) -> None:
    with pytest.raises(Rejection, match=reason):
        calibrated_scale(np.asarray(real, float), np.asarray(seen, float))
    with pytest.raises(ValueError, match="fewest"):
        ScaleConfig(fewest=0)


def plane(depth: float, size: tuple[int, int] = SIZE, intrinsics: np.ndarray = K) -> np.ndarray:
    """A pointmap (h, w, 3) of a wall across the view."""
    scale = np.diag([size[1] / SIZE[1], size[0] / SIZE[0], 1.0])
    v, u = np.mgrid[: size[0], : size[1]]
    pixels = np.stack([u, v], -1).reshape(-1, 2) + 0.5
    picture = pixels @ np.linalg.inv(scale)[:2, :2] - 0.5
    return unprojected(picture, np.full(len(pixels), depth), intrinsics).reshape(*size, 3)


@settings(max_examples=30)
@given(seeds, st.floats(0.3, 1.5), st.sampled_from([SIZE, (224, 224), (96, 128)]))
def test_an_object_is_found_before_its_background_and_behind_a_finger(
    seed: int, depth: float, size: tuple[int, int]
) -> None:
    chance = np.random.default_rng(seed)
    box = np.array([200.0, 150.0, 360.0, 300.0]) + chance.uniform(-40, 40)
    cloud = plane(depth + 0.5, size)
    low, high = (np.array([*edge]) * np.array(size[::-1]) / np.array(SIZE[::-1]) for edge in (box[:2], box[2:]))
    left, top, right, bottom = (int(edge) for edge in (*low, *high))
    cloud[top:bottom, left:right] = plane(depth, size)[top:bottom, left:right]
    width = (right - left) // 6
    cloud[top:bottom, left : left + 2 * width] = plane(depth - 0.2, size)[top:bottom, left : left + 2 * width]
    cloud[top : top + 3] = np.nan
    cloud[bottom - 3 : bottom, :, 2] = 0.0
    found = object_surface(cloud, box, SIZE)
    assert abs(found.position[2] - depth) < 1e-6
    middle = projected(found.position[None], K)[0]
    assert (np.abs(middle - (box[:2] + box[2:]) / 2) < 0.25 * (box[2:] - box[:2])).all()
    assert 1 < len(found.points) <= 256


@pytest.mark.parametrize(
    ("cloud", "box", "reason"),
    [
        (plane(1.0), [10, 10, 10, 40], "without area"),
        (plane(1.0), [np.nan, 10, 50, 40], "without area"),
        (plane(1.0), [900, 10, 950, 40], "0 pixels of its box"),
        (plane(1.0) * 0.0, [100, 100, 200, 200], "0 pixels of its box"),
        (plane(1.0) * np.nan, [100, 100, 200, 200], "0 pixels of its box"),
    ],
)
def test_no_object_without_depth(cloud: np.ndarray, box: list[float], reason: str) -> None:
    with pytest.raises(Rejection, match=reason):
        object_surface(cloud, box, SIZE)


def test_maps_of_another_resolution_are_read_at_the_pixels_of_the_picture() -> None:
    cloud = np.zeros((2, 4, 3))
    cloud[..., 2] = np.arange(8).reshape(2, 4)
    pixels = np.array([[0.0, 0.0], [639.0, 479.0], [160.0, 239.0], [160.0, 240.0], [-1.0, 0.0], [np.nan, 1.0]])
    np.testing.assert_array_equal(values_at(cloud, pixels, SIZE)[:, 2], [0, 7, 1, 5, np.nan, np.nan])


def test_pointmaps_of_unknown_scale_place_objects_in_metres() -> None:
    clip = fabricated_clip.clip()
    joints = in_camera(clip.hands["right"].joints, "world", clip.camera)
    maps: dict[int, np.ndarray] = {}
    for number in (0, 10, 20):
        cloud = plane(0.55)
        u, v = np.round(projected(joints[number], K)).astype(int).T
        for joint, (column, row) in enumerate(zip(u, v, strict=True)):
            cloud[row - 1 : row + 2, column - 1 : column + 2] = joints[number, joint]
        cloud[40:90, 500:580] = plane(0.45)[40:90, 500:580]
        maps[number] = cloud / 3.7
    boxes = np.tile([500.0, 40.0, 580.0, 90.0], (60, 1))
    clip = replace(clip, objects=(Object("box", np.ones(60, np.bool_), boxes=boxes),))
    seen, scale = observe(clip, [0, 10, 20, 30], maps)
    assert scale is not None
    assert abs(scale.value / 3.7 - 1.0) < 0.01
    assert [item.number for item in seen] == [0, 10, 20, 30]
    assert abs(seen[1].objects["box"].position[2] - 0.45) < 0.005
    assert not seen[3].objects


def test_frames_without_a_hand_in_view_are_left_out() -> None:
    clip = fabricated_clip.clip()
    joints, valid = clip.hands["right"].joints.copy(), np.ones(60, np.bool_)
    joints[10], valid[20] = joints[10] + 5.0, False
    clip = replace(clip, hands={"right": Hand(valid, joints)})
    seen, scale = observe(clip, [0, 10, 20, 30])
    assert [item.number for item in seen] == [0, 30]
    assert scale is None
    np.testing.assert_allclose(
        seen[1].objects["cup"].position, transformed(clip.camera.extrinsics[30], [[0.12, 0.1, 0.04]])[0], atol=1e-12
    )
    with pytest.raises(Rejection, match="no hand is in view"):
        observe(clip, [10, 20])
    with pytest.raises(Rejection, match="has no joints yet"):
        observe(replace(clip, hands={"right": Hand(valid)}), [0])
