"""The scenes: what is drawn from a seed, and how the task reach is judged."""

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from vipa_sim.errors import SimulationError
from vipa_sim.evaluation import planned
from vipa_sim.robot_model import joint_limits
from vipa_sim.scenes import SCENES, Task, make_scene
from vipa_sim.scenes.reach import COLOURS, Reach, ReachConfig, default_config
from vipa_sim.world import HOME, World

Array = NDArray[np.float64]
LIMITS = joint_limits()
MIDDLE_FINGER_TIP = np.array([0.002, -0.0095, 0.225])  # in the flange frame, hand open
UP = np.array([0.0, 0.0, 1.0])
DOWN = np.diag([1.0, -1.0, -1.0])
SEEDS = range(50)


@pytest.fixture(scope="module")
def shared() -> World:
    """A world whose episodes the tests draw anew; the arm stays at home."""
    return World(make_scene("reach"))


def ball(world: World, colour: str) -> Array:
    return world.body_pose(f"{colour}_marker")[:3, 3]


def joints_for_tip(world: World, tip: Array) -> Array:
    """(7,) rad: the middle finger's tip at ``tip``, fingers down; fails where the arm cannot reach."""
    target = tip - DOWN @ MIDDLE_FINGER_TIP
    joints, error = HOME.copy(), np.full(6, np.inf)
    for _ in range(200):
        pose = world.flange_pose(joints)
        turn = DOWN @ pose[:3, :3].T
        error = np.array(
            [*(target - pose[:3, 3]), turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]
        )
        error[3:] /= 2
        if np.abs(error).max() < 1e-5:
            break
        jacobian = world.flange_jacobian(joints)
        joints += jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-5 * np.eye(6), error)
    assert np.abs(error).max() < 1e-4, f"no configuration reaches {tip}"
    assert (joints > LIMITS[:, 0] + 0.1).all()
    assert (joints < LIMITS[:, 1] - 0.1).all()
    return joints


class Driver:
    """Moves the arm by joint impedance, as the robot's own controller would, and remembers the largest force."""

    def __init__(self, world: World) -> None:
        self.world, self.target = world, world.positions
        self.largest_force = 0.0

    def go(self, target: Array, milliseconds: int) -> None:
        start = self.target
        for step in range(milliseconds):
            self.target = start + (target - start) * min(1.0, (step + 1) / max(milliseconds - 30, 1))
            stiffness, damping = np.array([1500.0] * 4 + [500.0] * 3), np.array([80.0] * 4 + [25.0] * 3)
            self.world.step(stiffness * (self.target - self.world.positions) - damping * self.world.velocities)
            if step % 10 == 0:
                external = self.world.external_torques()
                if external.any():
                    jacobian = self.world.flange_jacobian(self.world.positions)
                    force = np.linalg.lstsq(jacobian.T, external, rcond=None)[0][:3]
                    self.largest_force = max(self.largest_force, float(np.linalg.norm(force)))

    def touch(self, colour: str, milliseconds: int = 150) -> None:
        """Come from above, press the marker 8 mm down for a while, and go up again."""
        top = ball(self.world, colour) + default_config().radius * UP
        above, pressed = joints_for_tip(self.world, top + 0.08 * UP), joints_for_tip(self.world, top - 0.008 * UP)
        self.go(above, 700)
        self.go(pressed, 400)
        self.go(pressed, milliseconds)
        self.go(above, 300)


def test_unknown_scene_is_named_with_the_known_ones() -> None:
    with pytest.raises(SimulationError, match=r"task 'juggle': no such task; known: .*reach"):
        make_scene("juggle")


def test_every_scene_is_a_task() -> None:
    for name in SCENES:
        scene: Task = make_scene(name)
        assert scene.name == name
        assert scene.time_limit_s > 0
        assert scene.variants[0] == "seen"


def test_there_are_no_trials_of_calibration() -> None:
    with pytest.raises(SimulationError, match="task calibration: nothing is judged in it"):
        planned(["reach", "calibration"], [], [0])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("x", (0.6, 0.4)),
        ("spacing", 0.5),
        ("radius", 0.0),
        ("gap_s", 0.06),
        ("touch_s", -1.0),
        ("post_height", (0.2, 0.1)),
    ],
)
def test_configuration_that_cannot_work_names_its_key(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{key}:"):
        ReachConfig(**{key: value})  # type: ignore[arg-type]


def test_unknown_variant_is_refused(shared: World) -> None:
    with pytest.raises(SimulationError, match="no variant 'underwater'; known: seen, unseen_cloth"):
        shared.reset(0, "underwater")


def test_markers_stand_apart_in_the_workspace_clear_of_the_robot(shared: World) -> None:
    config = default_config()
    for seed in SEEDS:
        shared.reset(seed)
        places = np.array([ball(shared, colour) for colour in COLOURS])
        assert (places[:, 0] >= config.x[0]).all()
        assert (places[:, 0] <= config.x[1]).all()
        assert (np.abs(places[:, 1]) <= config.y[1]).all()
        assert (places[:, 2] >= config.post_height[0] + config.radius - 1e-6).all()
        assert (places[:, 2] <= config.post_height[1] + config.radius + 1e-6).all()
        gaps = np.linalg.norm(places[:, :2] - np.roll(places[:, :2], 1, axis=0), axis=1)
        assert gaps.min() >= config.spacing
        assert not shared.touches(shared.robot_geoms, ~shared.robot_geoms)


def test_markers_are_within_the_arms_reach(shared: World) -> None:
    for seed in SEEDS:
        shared.reset(seed)
        for colour in COLOURS:
            joints_for_tip(shared, ball(shared, colour))


def test_order_is_drawn_from_the_seed_and_told_in_the_instruction(shared: World) -> None:
    instructions: set[str] = set()
    for seed in SEEDS:
        shared.reset(seed)
        instructions.add(shared.scene.instruction)
        told = [word for word in shared.scene.instruction.replace(",", "").split() if word in COLOURS]
        assert shared.scene.sub_tasks == tuple(f"touch {colour}" for colour in told)
        assert shared.scene.judge(shared) == [False, False, False]
    assert instructions == {f"touch the {a}, then the {b}, then the {c} marker" for a, b, c in permutations(COLOURS)}


def test_unseen_cloth_changes_the_table_and_nothing_else(shared: World) -> None:
    shared.reset(9, "seen")
    seen, instruction = shared.snapshot(), shared.scene.instruction
    shared.reset(9, "unseen_cloth")
    cloth = shared.snapshot()
    np.testing.assert_array_equal(seen.mocap_pos, cloth.mocap_pos)
    assert shared.scene.instruction == instruction
    changed = np.flatnonzero(seen.geom_matid != cloth.geom_matid)
    assert changed.tolist() == [shared.model.geom("table").id]
    assert not np.array_equal(seen.mat_rgba, cloth.mat_rgba)
    shared.reset(9, "seen")
    np.testing.assert_array_equal(shared.snapshot().geom_matid, seen.geom_matid)
    np.testing.assert_array_equal(shared.snapshot().mat_rgba, seen.mat_rgba)


def test_markers_wait_at_rest(shared: World) -> None:
    shared.reset(3)
    before = [ball(shared, colour) for colour in COLOURS]
    for _ in range(300):
        shared.step(np.zeros(7))
    np.testing.assert_allclose([ball(shared, colour) for colour in COLOURS], before, atol=1e-4)
    assert shared.scene.judge(shared) == [False, False, False]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_touching_in_the_order_of_the_instruction_succeeds_gently(seed: int) -> None:
    world = World(make_scene("reach"), seed=seed)
    assert isinstance(world.scene, Reach)
    driver = Driver(world)
    for count, colour in enumerate(world.scene.order, start=1):
        driver.touch(colour)
        assert world.scene.judge(world) == [i < count for i in range(3)]
    assert 0.5 < driver.largest_force < 20.0
    world.reset(seed + 1)
    assert world.scene.judge(world) == [False, False, False]


def test_wrong_order_does_not_count_until_it_is_put_right() -> None:
    world = World(make_scene("reach"), seed=1)
    assert isinstance(world.scene, Reach)
    driver, (first, second, third) = Driver(world), world.scene.order
    driver.touch(second)
    driver.touch(third)
    assert world.scene.judge(world) == [False, False, False]
    driver.touch(first)
    assert world.scene.judge(world) == [True, False, False]
    driver.touch(third)
    assert world.scene.judge(world) == [True, False, False]
    driver.touch(second)
    assert world.scene.judge(world) == [True, True, False]


@pytest.mark.parametrize(
    ("milliseconds", "counts"),
    [
        pytest.param((40,), False, id="brief"),
        pytest.param((70,), True, id="long"),
        pytest.param((30, 10, 40), True, id="bounce"),
        pytest.param((30, 50, 30), False, id="two-brief"),
        pytest.param((30, 50, 30, 50, 30, 50, 30), False, id="many-brief"),
    ],
)
def test_touch_counts_after_50_ms_and_bridges_a_bounce(milliseconds: tuple[int, ...], counts: bool) -> None:
    """The first marker is held to the resting finger, taken away, and so on, for the given times in turn."""
    world = World(make_scene("reach"), seed=2)
    assert isinstance(world.scene, Reach)
    first = world.scene.order[0]
    tip = world.flange_pose(world.positions) @ [*MIDDLE_FINGER_TIP, 1.0]
    away = world.body_pose(f"{first}_stand")[:3, 3]
    touching = tip[:3] - (0.0, 0.0, 2 * default_config().radius - 0.003)
    on = 0
    for index, duration in enumerate(milliseconds):
        world.place_mocap(f"{first}_stand", away if index % 2 else touching)
        for _ in range(duration):
            world.step(1000 * (HOME - world.positions) - 60 * world.velocities)
            on += world.touches(world.hand_geoms, world.geoms(f"{first}_ball"))
    assert on == pytest.approx(sum(milliseconds[::2]), abs=2 * len(milliseconds))
    assert world.scene.judge(world) == [counts, False, False]


def test_robot_in_the_way_of_all_markers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(Reach())
    posts = np.array([[0.45, 0.0, 0.15], [0.55, 0.2, 0.1], [0.55, -0.2, 0.1]])
    monkeypatch.setattr(Reach, "_draw_posts", lambda scene, rng: posts)
    world.data.qpos[:7] = joints_for_tip(world, np.array([0.45, 0.0, 0.05]))
    world.refresh()
    before = world.state_hash()
    with pytest.raises(SimulationError, match="move it to its home pose first"):
        world.reset(1)
    assert world.state_hash() == before, "a refused reset leaves the episode as it was"
