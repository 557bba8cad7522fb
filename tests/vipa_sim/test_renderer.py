"""Rendering against geometry: depth by ray casting, projection by colour, and what a snapshot changes."""

import dataclasses
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from vipa_sim.engine import Spec, mujoco
from vipa_sim.errors import SimulationError
from vipa_sim.moving_rectangle import MovingRectangle, Rectangle
from vipa_sim.renderer import DEPTH_UNIT_M, MAX_DEPTH_M, Renderer
from vipa_sim.scenes import make_scene
from vipa_sim.scenes.base import CAMERAS, Scene
from vipa_sim.scenes.reach import COLOURS, Reach
from vipa_sim.world import Snapshot, World

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def world() -> World:
    return World(make_scene("reach"), seed=3)


@pytest.fixture(scope="module")
def renderer(world: World) -> Iterator[Renderer]:
    with Renderer(world.model) as renderer:
        yield renderer


def picture(renderer: Renderer, snapshot: Snapshot, camera: str) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    renderer.update(snapshot)
    return renderer.render(camera)


def project(renderer: Renderer, camera: str, point: Array) -> tuple[Array, float]:
    """Pixel (u, v) and distance along the optical axis (m) of a point in the base frame."""
    inside = np.linalg.inv(renderer.camera_to_base(camera)) @ [*point, 1.0]
    return (renderer.intrinsics(camera) @ (inside[:3] / inside[2]))[:2], float(inside[2])


def cast(world: World, renderer: Renderer, camera: str, u: int, v: int) -> tuple[int, float]:
    """Geom that the ray through a pixel meets, and its distance along the optical axis (m)."""
    pose = renderer.camera_to_base(camera)
    ray = np.linalg.inv(renderer.intrinsics(camera)) @ [u, v, 1.0]
    geom = np.zeros(1, np.int32)
    direction = pose[:3, :3] @ ray / np.linalg.norm(ray)
    distance = mujoco.mj_ray(world.model, world.data, pose[:3, 3], direction, None, 1, -1, geom, None)
    return int(geom[0]), float(distance / np.linalg.norm(ray))


@pytest.mark.parametrize("camera", CAMERAS)
def test_depth_of_the_table_agrees_with_ray_casting(world: World, renderer: Renderer, camera: str) -> None:
    world.reset(3)
    _, depth = picture(renderer, world.snapshot(), camera)
    table, checked = world.model.geom("table").id, 0
    for v in range(0, 480, 24):
        for u in range(0, 640, 32):
            geom, distance = cast(world, renderer, camera, u, v)
            if geom == table:
                assert depth[v, u] * DEPTH_UNIT_M == pytest.approx(distance, abs=0.002)
                checked += 1
    assert checked > 80


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_picture_in_two_parts_is_the_picture_drawn_at_once(world: World, renderer: Renderer, camera: str) -> None:
    generator, areas = np.random.default_rng(0), []
    for seed in range(8):
        world.reset(seed, ("seen", "unseen_cloth")[seed % 2])
        snapshot = world.snapshot()
        arm = snapshot.qpos[:7] + generator.uniform(-0.6, 0.6, 7)
        snapshot = dataclasses.replace(snapshot, qpos=np.concatenate([arm, snapshot.qpos[7:]]))
        colour, depth = picture(renderer, snapshot, camera)
        with Renderer(world.model) as other:  # knows no background, and draws everything in one piece
            other.update(snapshot)
            whole, whole_depth = other._draw(camera, mujoco.mjtCatBit.mjCAT_ALL, Rectangle(0, 0, 640, 480))
        off = np.abs(colour.astype(int) - whole).max(axis=-1) > 2
        off_depth = np.abs(depth.astype(int) - whole_depth) > 4
        assert off.mean() < 5e-4
        assert off_depth.mean() < 2e-3
        drawn = renderer.moving_rectangle(camera)
        assert drawn is not None
        areas.append((drawn.right - drawn.left) * (drawn.bottom - drawn.top) / (640 * 480))
    assert min(areas) < 0.7, "nothing is saved"


def test_what_is_out_of_the_picture_is_not_drawn_and_what_is_too_near_draws_all(world: World) -> None:
    moving = MovingRectangle(world.model, np.array([1, 1, 1, 0, 0, 0], np.uint8))
    intrinsics = np.array([[600.0, 0.0, 319.5], [0.0, 600.0, 239.5], [0.0, 0.0, 1.0]])
    ahead = np.array(
        [[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    )  # columns: right, up, back in the base frame
    seen = moving.seen_from(world.data, np.array([-3.0, 0.0, 0.4]), ahead, intrinsics, 640, 480)
    assert seen is not None
    assert 0 < seen.left < 320 < seen.right < 640
    assert moving.seen_from(world.data, np.array([-3.0, 30.0, 0.4]), ahead, intrinsics, 640, 480) is None
    inside = moving.seen_from(world.data, np.array([0.0, 0.0, 0.4]), ahead, intrinsics, 640, 480)
    assert inside == Rectangle(0, 0, 640, 480)


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("seed", [3, 4, 5])
def test_markers_appear_where_they_are_projected(world: World, renderer: Renderer, camera: str, seed: int) -> None:
    world.reset(seed)
    colour_image, depth_image = picture(renderer, world.snapshot(), camera)
    for channel, colour in enumerate(COLOURS):
        centre = world.body_pose(f"{colour}_marker")[:3, 3]
        (u, v), distance = project(renderer, camera, centre)
        nearest, met = cast(world, renderer, camera, round(u), round(v)), world.model.geom(f"{colour}_ball").id
        if nearest[0] != met:
            continue  # another marker stands before it
        pixel = colour_image[round(v), round(u)].astype(int)
        assert pixel[channel] > 1.4 * np.delete(pixel, channel).max()
        assert depth_image[round(v), round(u)] * DEPTH_UNIT_M == pytest.approx(distance - 0.025, abs=0.003)


@pytest.mark.parametrize("camera", CAMERAS)
def test_both_cameras_see_the_whole_workspace_and_the_hand(world: World, renderer: Renderer, camera: str) -> None:
    corners = [[x, y, z] for x in (0.36, 0.64) for y in (-0.27, 0.27) for z in (0.0, 0.2)]
    for corner in [*corners, *world.end_effector_pose()[None, :3, 3]]:
        (u, v), distance = project(renderer, camera, np.array(corner))
        assert 10 < u < 630
        assert 10 < v < 470
        assert 0.25 < distance < 3.0


def test_camera_is_that_of_an_l515(renderer: Renderer) -> None:
    for camera in CAMERAS:
        matrix = renderer.intrinsics(camera)
        np.testing.assert_allclose(matrix, [[600, 0, 319.5], [0, 600, 239.5], [0, 0, 1]], atol=1e-6)
        pose = renderer.camera_to_base(camera)
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0)
        assert pose[2, 1] < -0.5  # the image's rows run downwards in the room


def test_images_are_new_contiguous_arrays_of_the_right_type(world: World, renderer: Renderer) -> None:
    renderer.update(world.snapshot())
    colour, depth = renderer.render("front")
    assert (colour.shape, colour.dtype) == ((480, 640, 3), np.uint8)
    assert (depth.shape, depth.dtype) == ((480, 640), np.uint16)
    assert colour.flags.c_contiguous
    assert depth.flags.c_contiguous
    before = colour.copy(), depth.copy()
    assert not np.array_equal(renderer.render("side")[0], colour)
    np.testing.assert_array_equal(colour, before[0])
    np.testing.assert_array_equal(depth, before[1])


def test_what_is_too_far_has_no_depth(world: World, renderer: Renderer) -> None:
    snapshot = world.snapshot()
    snapshot.geom_rgba[:, 3] = 0.0  # nothing left to see
    snapshot.geom_matid[:] = -1
    assert not picture(renderer, snapshot, "front")[1].any()
    assert 0 < picture(renderer, world.snapshot(), "front")[1].max() * DEPTH_UNIT_M <= MAX_DEPTH_M


def test_a_snapshot_is_drawn_as_it_was_taken(world: World, renderer: Renderer) -> None:
    world.reset(3)
    snapshot = world.snapshot()
    colour, depth = picture(renderer, snapshot, "front")
    world.reset(4, "unseen_cloth")
    other, _ = picture(renderer, world.snapshot(), "front")
    again = picture(renderer, snapshot, "front")
    np.testing.assert_array_equal(colour, again[0])
    np.testing.assert_array_equal(depth, again[1])
    assert (colour != other).any(axis=2).mean() > 0.3
    world.reset(3)


def test_painted_textures_reach_the_picture(painted_table: Scene) -> None:
    world = World(painted_table, seed=3)
    with Renderer(world.model) as renderer:
        before, _ = picture(renderer, world.snapshot(), "front")
        world.texture("sheet")[:] = (255, 0, 255)
        world.texture_painted("sheet")
        after, _ = picture(renderer, world.snapshot(), "front")
    changed = (before != after).any(axis=2)
    assert 0.25 < changed.mean() < 0.8
    assert (after[changed][:, 1] < 90).mean() > 0.9


def test_a_standing_body_that_was_put_elsewhere_is_drawn_there() -> None:
    """Mocap bodies stand still for MuJoCo; the cached picture of what stands still must not keep them."""

    class Signpost(Reach):
        def add_objects(self, spec: Spec) -> None:
            super().add_objects(spec)
            post = spec.worldbody.add_body(name="post", mocap=True, pos=[0.5, 0.3, 0.1])
            post.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.05, 0, 0], rgba=[1, 1, 0, 1], contype=0)

    world = World(Signpost(), seed=0)
    with Renderer(world.model) as renderer:
        for place in ([0.5, 0.3, 0.1], [0.5, -0.3, 0.1]):
            world.place_mocap("post", place)
            colour, _ = picture(renderer, world.snapshot(), "front")
            yellow = (colour[..., 0] > 120) & (colour[..., 1] > 120) & (colour[..., 2] < 60)
            (u, v), _ = project(renderer, "front", np.array(place))
            rows, columns = np.nonzero(yellow)
            assert rows.size > 500
            np.testing.assert_allclose([columns.mean(), rows.mean()], [u, v], atol=3.0)


def test_small_images_show_the_same_view(world: World, renderer: Renderer) -> None:
    with Renderer(world.model, width=160, height=120) as small:
        image, _ = picture(small, world.snapshot(), "side")
        matrix = small.intrinsics("side")
    assert matrix[0, 0] == pytest.approx(150.0)
    large = picture(renderer, world.snapshot(), "side")[0].reshape(120, 4, 160, 4, 3).mean(axis=(1, 3))
    assert np.abs(image - large).mean() < 12


def test_missing_opengl_is_told_with_its_cure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")
    broken = ModuleType("mujoco.egl")
    monkeypatch.setitem(sys.modules, "mujoco.egl", broken)
    with pytest.raises(SimulationError, match=r"rendering: no egl context .* Install libegl1"):
        Renderer(world.model)


def test_osmesa_is_chosen_with_a_warning_where_there_is_no_egl(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(width: int, height: int) -> None:
        raise RuntimeError(f"no {width} x {height} here")

    def find_nothing(name: str) -> None:
        del name

    monkeypatch.setenv("MUJOCO_GL", "")  # so that the variable is put back afterwards
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.setattr("ctypes.util.find_library", find_nothing)
    osmesa = ModuleType("mujoco.osmesa")
    monkeypatch.setattr(osmesa, "GLContext", refuse, raising=False)
    monkeypatch.setitem(sys.modules, "mujoco.osmesa", osmesa)
    with pytest.raises(SimulationError, match=r"rendering: no osmesa context \(no 640 x 480 here\)"):
        Renderer(world.model)
    assert "no libEGL found, using OSMesa" in caplog.text
