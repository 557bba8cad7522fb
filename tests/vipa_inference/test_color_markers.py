"""Markers in drawn images: accuracy, and everything that must be left out rather than located wrongly."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa_inference.color_markers import find_markers, intersect_rays

POSITIONS = {"red": (0.45, 0.15, 0.12), "green": (0.55, -0.05, 0.08), "blue": (0.40, -0.18, 0.15)}
coordinates = st.tuples(st.floats(0.35, 0.62), st.floats(-0.25, 0.25), st.floats(0.08, 0.17))


def balls(sphere, positions=POSITIONS):
    return [sphere(colour, np.array(position)) for colour, position in positions.items()]


def error(found, colour, position):
    return float(np.linalg.norm(found[colour] - np.asarray(position)))


def test_all_three_balls_are_located(cell, sphere):
    found = find_markers(cell.views(balls(sphere)))
    assert set(found) == {"red", "green", "blue"}
    for colour, position in POSITIONS.items():
        assert error(found, colour, position) < 0.002


@settings(max_examples=25, deadline=None)
@given(
    position=coordinates, colour=st.sampled_from(sorted(POSITIONS)), noise=st.floats(0.0, 8.0), seed=st.integers(0, 99)
)
def test_a_ball_is_located_anywhere_on_the_table_despite_noise(cell, sphere, position, colour, noise, seed):
    found = find_markers(cell.views([sphere(colour, np.array(position))], noise=noise, seed=seed))
    assert set(found) == {colour}
    assert error(found, colour, position) < 0.005


@settings(max_examples=40, deadline=None)
@given(
    direction=st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-0.2, 1)).filter(
        lambda d: np.linalg.norm(d) > 0.1
    ),
    gap=st.floats(0.0, 0.06),
    radius=st.floats(0.006, 0.03),
)
def test_a_ball_behind_the_hand_is_located_well_or_not_at_all(cell, sphere, direction, gap, radius):
    position = np.array(POSITIONS["red"])
    away = np.array(direction) / np.linalg.norm(direction)
    hand = sphere("grey", position + away * (0.025 + radius + gap), radius)
    found = find_markers(cell.views([sphere("red", position), hand], noise=4.0))
    if "red" in found:
        assert error(found, "red", position) < 0.005


def test_a_ball_half_hidden_in_one_view_is_left_out(cell, sphere):
    position = np.array(POSITIONS["red"])
    to_front = cell.cameras["front"][:3, 3] - position
    to_front /= np.linalg.norm(to_front)
    sideways = np.cross(to_front, [0.0, 0.0, 1.0])
    hand = sphere("grey", position + 0.08 * to_front + 0.02 * sideways, 0.02)
    found = find_markers(cell.views([*balls(sphere), hand]))
    assert "red" not in found
    assert {"green", "blue"} <= set(found)


def test_other_colours_and_sizes_are_no_markers(cell, sphere):
    others = [
        sphere("yellow", np.array([0.45, 0.1, 0.1])),
        sphere("grey", np.array([0.5, -0.1, 0.1])),
        sphere("red", np.array([0.4, -0.2, 0.15]), 0.05),
        sphere("blue", np.array([0.5, 0.2, 0.15]), 0.010),
    ]
    assert find_markers(cell.views(others)) == {}


def test_a_small_ball_of_the_same_colour_does_not_distract(cell, sphere):
    distractor = sphere("green", np.array([0.40, 0.20, 0.1]), 0.014)
    found = find_markers(cell.views([*balls(sphere), distractor]))
    assert error(found, "green", POSITIONS["green"]) < 0.002


def test_one_view_is_not_enough(cell, sphere):
    views = cell.views(balls(sphere))
    assert find_markers({"front": views["front"]}) == {}
    assert find_markers({}) == {}


def test_a_ball_cut_by_the_edge_of_an_image_is_left_out(cell, sphere):
    views = cell.views(balls(sphere))
    u = views["front"].intrinsics @ _in_camera(views["front"], POSITIONS["red"])
    column = int(u[0] / u[2])
    front = dataclasses.replace(views["front"], image=views["front"].image[:, : column + 4])
    found = find_markers({"front": front, "side": views["side"]})
    assert "red" not in found


def test_views_that_contradict_each_other_locate_nothing(cell, sphere):
    views = cell.views(balls(sphere))
    moved = views["side"].camera_to_base.copy()
    moved[2, 3] += 0.05  # the camera was knocked
    side = dataclasses.replace(views["side"], camera_to_base=moved)
    assert find_markers({"front": views["front"], "side": side}) == {}


def test_two_cameras_at_one_place_locate_nothing(cell, sphere):
    front = cell.views(balls(sphere))["front"]
    assert find_markers({"front": front, "copy": front}) == {}


@pytest.mark.parametrize("shape", [(480, 640), (481, 639), (31, 7)])
def test_images_without_markers_of_any_size(cell, shape):
    image = np.full((*shape, 3), 128, np.uint8)
    views = {n: dataclasses.replace(v, image=image) for n, v in cell.views([]).items()}
    assert find_markers(views) == {}


@settings(max_examples=50, deadline=None)
@given(
    point=st.tuples(*[st.floats(-1, 1)] * 3),
    origins=st.lists(st.tuples(*[st.floats(-5, 5)] * 3), min_size=2, max_size=4, unique=True),
)
def test_rays_through_a_point_intersect_there(point, origins):
    offsets = np.array(point) - np.array(origins)
    lengths = np.linalg.norm(offsets, axis=1)
    directions = offsets / np.maximum(lengths, 1e-9)[:, None]
    angle = np.arccos(np.clip(abs(directions @ directions.T).min(), -1, 1))
    if lengths.min() < 0.1 or angle < 0.1:
        return
    found, distance = intersect_rays(np.array(origins), directions)
    np.testing.assert_allclose(found, point, atol=1e-6)
    assert distance < 1e-6


def test_skew_rays_report_their_distance():
    found, distance = intersect_rays(np.array([[0.0, 0, 0], [0, 0, 0.02]]), np.array([[1.0, 0, 0], [0, 1.0, 0]]))
    np.testing.assert_allclose(found, [0, 0, 0.01], atol=1e-12)
    assert distance == pytest.approx(0.01)


def _in_camera(view, position):
    return np.linalg.inv(view.camera_to_base)[:3] @ np.array([*position, 1.0])
