"""The hand: range, linkages, forces, and a grasp by friction alone."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vipa_sim.engine import mujoco
from vipa_sim.hand_model import (
    FINGER_LINKAGE,
    FINGERS,
    MAX_TIP_FORCE,
    MOTOR_RANGES,
    MOTORS,
    PINCH_IN_FLANGE,
    THUMB_LINKAGE,
    linkage_matrix,
    tip_levers,
)
from vipa_sim.scenes import make_scene
from vipa_sim.scenes.base import Scene
from vipa_sim.world import HOME, World

Array = NDArray[np.float64]
OPEN_IN_OPPOSITION = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])


class BallScene(Scene):
    """A weightless ball, fixed or free, in the flange's frame at home."""

    name = "ball"
    time_limit_s = 10.0

    def __init__(self, radius: float, place: Array, free: bool) -> None:
        self.radius, self.place, self.free = radius, place, free

    def add_objects(self, spec: Any) -> None:
        flange = np.array([0.4992, 0.0, 0.4823])
        body = spec.worldbody.add_body(name="ball", pos=flange + self.place * (1.0, -1.0, -1.0), gravcomp=1.0)
        if self.free:
            body.add_freejoint(name="ball")
        sphere = mujoco.mjtGeom.mjGEOM_SPHERE
        body.add_geom(
            name="ball", type=sphere, size=[self.radius, 0, 0], mass=0.06, friction=[1.2, 0.05, 0.002], condim=4
        )

    def place_objects(self, world: World, rng: np.random.Generator, variant: str) -> None:
        del world, rng, variant

    def update(self, world: World) -> None:
        del world


def settle(world: World, milliseconds: int) -> None:
    for _ in range(milliseconds):
        world.step(600 * (HOME - world.positions) - 50 * world.velocities)


def joint(world: World, name: str) -> float:
    return float(world.data.joint(f"hand_{name}").qpos[0])


def assert_linked(world: World, tolerance: float) -> None:
    offset, ratio = FINGER_LINKAGE
    for finger in FINGERS:
        proximal, distal = joint(world, f"{finger.name}_proximal"), joint(world, f"{finger.name}_distal")
        assert distal == pytest.approx(offset + ratio * proximal, abs=tolerance)
    for follower, (offset, ratio) in THUMB_LINKAGE.items():
        assert joint(world, follower) == pytest.approx(offset + ratio * joint(world, "thumb_proximal"), abs=tolerance)


@pytest.mark.parametrize("motor", range(6))
def test_each_motor_moves_alone_over_its_whole_range(motor: int) -> None:
    world = World(make_scene("reach"))
    np.testing.assert_allclose(world.hand_positions(), 1.0, atol=1e-6)
    for target in (0.0, 0.37, 1.0):
        targets = np.ones(6)
        targets[motor] = target
        world.set_hand_targets(targets)
        settle(world, 800)
        np.testing.assert_allclose(world.hand_positions(), targets, atol=0.01)
        assert_linked(world, 1e-3)


def test_motor_ranges_are_those_of_the_hand() -> None:
    np.testing.assert_allclose(MOTOR_RANGES, [1.47, 1.47, 1.47, 1.47, 0.6, 1.308])
    world = World(make_scene("reach"))
    world.set_hand_targets(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0]))
    settle(world, 800)
    angles = [joint(world, f"{name}_proximal") for name in MOTORS[:4]] + [joint(world, "thumb_proximal")]
    np.testing.assert_allclose(angles, MOTOR_RANGES[:5], atol=0.01)


@settings(max_examples=8, deadline=None)
@given(targets=st.lists(st.floats(0.45, 1.0), min_size=6, max_size=6))
def test_linkages_hold_wherever_the_hand_is(targets: list[float]) -> None:
    world = World(make_scene("reach"))
    world.set_hand_targets(targets)
    settle(world, 50)
    assert_linked(world, 0.02)  # on the way
    settle(world, 600)
    assert_linked(world, 1e-3)


def test_targets_out_of_range_are_clipped() -> None:
    world = World(make_scene("reach"))
    world.set_hand_targets([-3.0, 0.0, 0.0, 0.0, 7.0, 1.0])
    np.testing.assert_allclose(world.data.ctrl, [1.47, 1.47, 1.47, 1.47, 0.0, 0.0])


@pytest.mark.parametrize("targets", [[np.nan] * 6, [0.5] * 5, [0.5, np.inf, 0.5, 0.5, 0.5, 0.5]])
def test_bad_targets_are_refused_and_change_nothing(targets: list[float]) -> None:
    world = World(make_scene("reach"))
    before = world.state_hash()
    with pytest.raises(ValueError, match="hand targets: expected 6 finite numbers"):
        world.set_hand_targets(targets)
    assert world.state_hash() == before


def test_thumb_opposes_index_and_middle_around_the_pinch_frame() -> None:
    world = World(make_scene("reach"))
    world.set_hand_targets([1.0, 1.0, 0.62, 0.62, 0.62, 0.0])
    settle(world, 800)
    tips: dict[str, Array] = {}
    for name in ("index", "middle", "thumb"):
        geom = world.data.geom(f"hand_{name}_distal")
        tips[name] = geom.xpos - geom.xmat.reshape(3, 3)[:, 2] * world.model.geom(f"hand_{name}_distal").size[1]
    fingers = (tips["index"] + tips["middle"]) / 2
    pinch = world.end_effector_pose()[:3, 3]
    np.testing.assert_allclose((fingers + tips["thumb"]) / 2, pinch, atol=0.008)
    to_fingers, to_thumb = fingers - pinch, tips["thumb"] - pinch
    cosine = to_fingers @ to_thumb / (np.linalg.norm(to_fingers) * np.linalg.norm(to_thumb))
    assert cosine < -0.8
    assert 0.03 < np.linalg.norm(fingers - tips["thumb"]) < 0.07


def test_forces_are_zero_in_free_air_and_tell_which_finger_is_held() -> None:
    index = np.array([-0.030, -0.0285, 0.205])  # before the straight index finger's tip
    world = World(BallScene(0.02, index, free=False))
    settle(world, 100)
    np.testing.assert_allclose(world.hand_forces(), 0.0, atol=0.05)
    world.set_hand_targets([1.0, 1.0, 1.0, 0.3, 1.0, 1.0])
    settle(world, 800)
    forces = world.hand_forces()
    assert world.touches(world.geoms("ball"), world.geoms("hand_index_distal"))
    assert 0.8 * contact_force(world) < forces[3] < 1.2 * contact_force(world)
    assert 2.0 < forces[3] < 1.3 * MAX_TIP_FORCE
    np.testing.assert_allclose(np.delete(forces, 3), 0.0, atol=0.05)
    assert world.hand_positions()[3] > 0.5


def contact_force(world: World) -> float:
    """N: the sum of all normal contact forces."""
    wrench, total = np.zeros(6), 0.0
    for contact in range(world.data.ncon):
        mujoco.mj_contactForce(world.model, world.data, contact, wrench)
        total += wrench[0]
    return total


@pytest.mark.parametrize("radius", [0.024, 0.034])
def test_pinch_holds_a_fruit_by_friction_alone(radius: float) -> None:
    world = World(BallScene(radius, PINCH_IN_FLANGE[:3, 3], free=True))
    world.set_hand_targets(OPEN_IN_OPPOSITION)
    settle(world, 600)
    world.set_hand_targets([0.4, 0.4, 0.4, 0.4, 0.25, 0.0])
    settle(world, 1000)
    world.model.body_gravcomp[world.model.body("ball").id] = 0.0
    settle(world, 300)
    start = world.body_pose("ball")[:3, 3]
    settle(world, 1500)
    assert world.touches(world.geoms("ball"), world.geoms("hand_thumb_distal", "hand_thumb_intermediate"))
    assert np.linalg.norm(world.body_pose("ball")[:3, 3] - start) < 0.003


def test_levers_are_the_travel_of_the_tips() -> None:
    world = World(make_scene("reach"))
    data = mujoco.MjData(world.model)
    half = linkage_matrix().T @ (MOTOR_RANGES / 2)
    base = data.qpos.copy()
    base[7:19] = half
    base[[8, 10, 12, 14]] += FINGER_LINKAGE[0]
    tip_geoms = [f"hand_{m}_distal" for m in MOTORS[:4]] + ["hand_thumb_distal"] * 2
    for motor, geom in enumerate(tip_geoms):
        ends: list[Array] = []
        for delta in (-1e-4, 1e-4):
            data.qpos[:] = base
            data.qpos[7:19] += linkage_matrix()[motor] * delta
            mujoco.mj_kinematics(world.model, data)
            place, axis = data.geom(geom).xpos, data.geom(geom).xmat.reshape(3, 3)[:, 2]
            size = world.model.geom(geom).size
            ends.append(place - axis * (size[1] + size[0]))
        across = (ends[1] - ends[0]) / 2e-4
        across -= axis * (axis @ across)
        assert tip_levers()[motor] == pytest.approx(np.linalg.norm(across), rel=0.02)
