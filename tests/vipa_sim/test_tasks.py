"""The paper's three tasks: what is drawn from a seed, what the variants change, and how faults are judged."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from vipa_sim.errors import SimulationError
from vipa_sim.scenes import make_scene, put_three_obj, water_plant, wipe_board
from vipa_sim.scenes.base import CAMERAS
from vipa_sim.scenes.put_three_obj import FRUITS, PutThreeObj, PutThreeObjConfig
from vipa_sim.scenes.variation import SCALES, VariationConfig, VariedScene
from vipa_sim.scenes.water_plant import WaterPlant, WaterPlantConfig
from vipa_sim.scenes.wipe_board import CLOTH_HALF_SIZE, SEEN_MARKERS, UNSEEN_MARKERS, WipeBoard, WipeBoardConfig
from vipa_sim.world import HOME, World

Array = NDArray[np.float64]
TASKS = ("put_three_obj", "wipe_board", "water_plant")
STIFFNESS, DAMPING = np.array([1500.0] * 4 + [500.0] * 3), np.array([80.0] * 4 + [25.0] * 3)


@pytest.fixture(scope="module")
def worlds() -> dict[str, World]:
    """Worlds whose episodes the tests draw anew."""
    return {task: World(make_scene(task), start_ns=0) for task in TASKS}


def run(world: World, seconds: float, each: Callable[[], None] = lambda: None) -> None:
    for _ in range(round(seconds * 1000)):
        each()
        world.step(STIFFNESS * (HOME - world.positions) - DAMPING * world.velocities)


def varied(world: World) -> VariedScene:
    assert isinstance(world.scene, VariedScene)
    return world.scene


@pytest.mark.parametrize("task", TASKS)
def test_things_rest_where_they_were_put_and_nothing_is_done(worlds: dict[str, World], task: str) -> None:
    world = worlds[task]
    for seed, variant in enumerate(world.scene.variants):
        world.restart(seed, variant)
        before = {name: world.body_pose(name)[:3, 3] for name in varied(world).bodies}
        run(world, 0.4)
        for name, place in before.items():
            np.testing.assert_allclose(world.body_pose(name)[:3, 3], place, atol=2e-3, err_msg=f"{name}, {variant}")
        assert not any(world.scene.judge(world)), variant


@pytest.mark.parametrize("task", TASKS)
def test_places_come_from_the_seed_and_not_from_the_variant(worlds: dict[str, World], task: str) -> None:
    world = worlds[task]
    places: dict[tuple[int, str], Array] = {}
    for seed in (3, 4):
        for variant in world.scene.variants:
            world.restart(seed, variant)
            places[seed, variant] = np.array([world.body_pose(name)[:2, 3] for name in varied(world).bodies])
    for variant in world.scene.variants:
        np.testing.assert_allclose(places[3, variant], places[3, "seen"], atol=1e-12)
        assert np.abs(places[3, variant] - places[4, variant]).max() > 1e-3


@pytest.mark.parametrize("task", TASKS)
def test_seen_looks_the_same_whatever_came_before(worlds: dict[str, World], task: str) -> None:
    world = worlds[task]
    world.restart(7, "seen")
    expected = world.state_hash()
    for variant in world.scene.variants[1:]:
        world.restart(8, variant)
        assert world.state_hash() != expected
        world.restart(7, "seen")
        assert world.state_hash() == expected, f"after {variant}"


@pytest.mark.parametrize("task", TASKS)
def test_unknown_variant_is_refused_and_changes_nothing(worlds: dict[str, World], task: str) -> None:
    world = worlds[task]
    world.restart(1, "lighting")
    before = world.state_hash()
    with pytest.raises(SimulationError, match=f"task {task}: no variant 'underwater'; known: seen, unseen_cloth"):
        world.reset(1, "underwater")
    assert world.state_hash() == before


@pytest.mark.parametrize("task", TASKS)
def test_variants_change_what_they_say(worlds: dict[str, World], task: str) -> None:
    world, limits = worlds[task], VariationConfig()
    model = world.model
    table = model.geom("table").id

    def look(variant: str, seed: int) -> dict[str, Array]:
        world.restart(seed, variant)
        mounts = [world.body_pose(f"{camera}_mount") for camera in CAMERAS]
        return {
            "cameras": np.array(mounts),
            "lamp": world.body_pose("lamp_mount")[:3, 3],
            "colours": model.geom_rgba[:, :3].copy(),
            "mug": world.body_pose("mug")[:3, 3],
        }

    for seed in range(5):
        seen = look("seen", seed)
        assert np.array_equal(seen["cameras"], [np.eye(4)] * len(CAMERAS))
        assert model.geom_matid[table] == model.material("wood").id
        assert seen["mug"][2] < -0.1, "no distractor is to be seen"

        assert np.array_equal(look("unseen_cloth", seed)["colours"], seen["colours"])
        assert model.geom_matid[table] == model.material("cloth").id

        assert look("distractors", seed)["mug"][2] > 0
        assert not world.touches(world.geoms("mug", "block", "ball"), ~world.geoms("mug", "block", "ball"))

        lit = look("lighting", seed)
        assert np.abs(lit["colours"] - seen["colours"]).max() > 0.02
        assert 0 < np.abs(lit["lamp"]).max() <= max(limits.lamp_shift)

        shifted = look("camera_shift", seed)
        for camera, mount in zip(CAMERAS, shifted["cameras"], strict=True):
            centre = np.array([*model.camera(camera).pos, 1.0])
            assert 0 < np.linalg.norm((mount @ centre - centre)[:3]) <= limits.camera_shift
            angle = np.degrees(np.arccos(np.clip((np.trace(mount[:3, :3]) - 1) / 2, -1, 1)))
            assert 0 < angle <= limits.camera_turn_deg
        np.testing.assert_array_equal(shifted["colours"], seen["colours"])

        look("object_scale", seed)
        assert varied(world).scale in SCALES
        assert varied(world).scale != 1.0


@pytest.mark.parametrize(
    ("configure", "key", "value"),
    [
        (PutThreeObjConfig, "x", (0.6, 0.4)),
        (PutThreeObjConfig, "spacing", 0.4),
        (PutThreeObjConfig, "opened", 0.01),
        (WipeBoardConfig, "strokes", (0, 2)),
        (WipeBoardConfig, "wiped_share", 0.99),
        (WipeBoardConfig, "wiping_force", 0.0),
        (WaterPlantConfig, "reach", (0.2, 0.1)),
        (WaterPlantConfig, "pressed", 0.0),
        (VariationConfig, "tint", -0.1),
        (VariationConfig, "brightness", (0.0, 1.0)),
    ],
)
def test_configuration_that_cannot_work_names_its_key(configure: type, key: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{key}:"):
        configure(**{key: value})


class TestPutThreeObj:
    @pytest.fixture
    def world(self, worlds: dict[str, World]) -> World:
        world = worlds["put_three_obj"]
        world.restart(2)
        return world

    @staticmethod
    def slide(world: World, travel: float) -> None:
        world.data.joint("drawer").qpos[0] = travel
        world.data.joint("drawer").qvel[0] = 0.0
        world.refresh()

    @staticmethod
    def put_into_drawer(world: World, fruit: str) -> None:
        offset = {"apple": (-0.04, -0.06, 0.045), "banana": (-0.04, 0.0, 0.03), "plum": (-0.04, 0.07, 0.035)}[fruit]
        world.place_free(fruit, world.body_pose("drawer")[:3, 3] + offset, (0.7071, 0.0, 0.0, 0.7071))

    def test_whole_task_counts_step_by_step(self, world: World) -> None:
        self.slide(world, 0.19)
        run(world, 0.5)
        assert world.scene.judge(world) == [True, False, False, False, False]
        for count, fruit in enumerate(FRUITS, start=1):
            self.put_into_drawer(world, fruit)
            run(world, 1.0)
            assert world.scene.judge(world) == [True, *(i < count for i in range(3)), False]
        self.slide(world, 0.0)
        run(world, 0.5)
        assert world.scene.judge(world) == [True] * 5

    def test_drawer_that_was_only_opened_and_shut_is_not_closed(self, world: World) -> None:
        self.slide(world, 0.19)
        run(world, 0.5)
        self.slide(world, 0.0)
        run(world, 0.5)
        assert world.scene.judge(world) == [True, False, False, False, False]

    def test_drawer_that_was_open_for_a_moment_does_not_count(self, world: World) -> None:
        self.slide(world, 0.19)
        run(world, 0.2)
        self.slide(world, 0.0)
        run(world, 0.5)
        assert world.scene.judge(world) == [False] * 5

    def test_fruit_taken_out_at_once_does_not_count_but_what_is_done_stays_done(self, world: World) -> None:
        self.slide(world, 0.19)
        run(world, 0.5)
        table = world.body_pose("plum")[:3, 3]
        self.put_into_drawer(world, "plum")
        run(world, 0.1)
        world.place_free("plum", table)
        run(world, 0.5)
        assert not world.scene.judge(world)[3]
        self.put_into_drawer(world, "plum")
        run(world, 1.0)
        assert world.scene.judge(world)[3]
        world.place_free("plum", table)
        run(world, 0.5)
        assert world.scene.judge(world)[3]

    def test_fruits_lie_apart_within_reach(self, world: World) -> None:
        config = put_three_obj.default_config()
        for seed in range(40):
            world.restart(seed)
            places = np.array([world.body_pose(fruit)[:2, 3] for fruit in FRUITS])
            gaps = np.linalg.norm(places - np.roll(places, 1, axis=0), axis=1)
            assert gaps.min() >= config.spacing
            assert (places >= (config.x[0], config.y[0])).all()
            assert (places <= (config.x[1], config.y[1])).all()

    def test_no_room_is_told(self) -> None:
        scene = PutThreeObj(PutThreeObjConfig(x=(0.42, 0.43), y=(-0.30, -0.03), spacing=0.135))
        with pytest.raises(SimulationError, match="no room for three fruits; widen x or y"):
            World(scene)


class TestWipeBoard:
    @pytest.fixture
    def world(self, worlds: dict[str, World]) -> World:
        world = worlds["wipe_board"]
        world.restart(2)
        return world

    @staticmethod
    def scene(world: World) -> WipeBoard:
        assert isinstance(world.scene, WipeBoard)
        return world.scene

    @staticmethod
    def lay(world: World, x: float, y: float) -> None:
        """Lay the cloth on the board, x and y (m) from its middle."""
        height = 2 * wipe_board.BOARD_HALF_SIZE[2] + CLOTH_HALF_SIZE[2]
        world.place_free("cloth", world.body_pose("board")[:3, 3] + np.array([x, y, height]))

    @staticmethod
    def press(world: World, force: float) -> None:
        world.data.xfrc_applied[world.model.body("cloth").id, 2] = -force

    def test_cloth_erases_what_it_covers_only_while_it_is_pressed(self, world: World) -> None:
        scene = self.scene(world)
        rows, columns = np.nonzero(scene.ink)
        middle = len(rows) // 2
        x = (columns[middle] + 0.5) * wipe_board.PIXEL - wipe_board.FACE_HALF_SIZE[0]
        y = wipe_board.FACE_HALF_SIZE[1] - (rows[middle] + 0.5) * wipe_board.PIXEL
        self.lay(world, x, y)
        run(world, 0.5)
        assert scene.wiped_share == 0.0, "its weight alone is not enough"
        before, picture = scene.ink.copy(), world.texture("board").copy()
        self.press(world, 3.0)
        run(world, 0.5)
        self.press(world, 0.0)
        erased = before & ~scene.ink
        assert erased[rows[middle], columns[middle]]
        assert 0.0 < scene.wiped_share < 1.0
        spread = np.ptp(np.argwhere(erased), axis=0) * wipe_board.PIXEL
        assert (spread <= 2 * np.array(CLOTH_HALF_SIZE[1::-1]) + 2 * wipe_board.PIXEL).all()
        changed = (world.texture("board") != picture).any(axis=-1)
        np.testing.assert_array_equal(changed, erased)
        assert not world.scene.judge(world)[2]

    def test_shares_of_ink_decide(self, world: World) -> None:
        scene = self.scene(world)
        inked = np.argwhere(scene.ink)
        for share, expected in (
            (0.45, [False, False]),
            (0.6, [True, False]),
            (0.97, [True, False]),
            (1.0, [True, True]),
        ):
            gone = inked[: round(share * len(inked))]
            scene.ink[gone[:, 0], gone[:, 1]] = False
            run(world, 0.4)
            assert world.scene.judge(world)[1:] == expected, share

    def test_cloth_in_the_air_that_no_hand_holds_is_not_picked_up(self, world: World) -> None:
        run(world, 0.5, lambda: world.place_free("cloth", (0.45, -0.25, 0.2)))
        assert world.scene.judge(world) == [False] * 3
        assert not world.is_welded("cloth_grip")

    def test_ink_is_told_where_the_texture_shows_it(self, world: World) -> None:
        scene = self.scene(world)
        told = np.array(scene.facts(world)["ink"]).reshape(-1, 2)
        assert 0 < len(told) < 200
        board = world.body_pose("board")[:2, 3]
        assert (np.abs(told - board) < wipe_board.FACE_HALF_SIZE).all()
        scene.ink[:] = False
        assert scene.facts(world) == {"ink": []}

    def test_unseen_markers_have_unseen_colours(self, world: World) -> None:
        for variant, colours in (("seen", SEEN_MARKERS), ("unseen_markers", UNSEEN_MARKERS)):
            found: set[tuple[int, ...]] = set()
            for seed in range(12):
                world.restart(seed, variant)
                found.add(tuple(int(v) for v in world.texture("board")[self.scene(world).ink][0]))
            assert len(found) > 1
            assert found <= set(colours.values())


class TestWaterPlant:
    @pytest.fixture
    def world(self, worlds: dict[str, World]) -> World:
        world = worlds["water_plant"]
        world.restart(2)
        return world

    def test_can_that_hangs_aimed_in_the_air_unheld_does_not_count(self, world: World) -> None:
        plant = world.body_pose("plant")[:3, 3]

        def hang() -> None:
            world.place_free("can", (plant[0] - 0.25, plant[1] + 0.012, 0.26))
            world.data.joint("trigger").qpos[0] = 0.4

        run(world, 0.5, hang)
        assert world.scene.judge(world) == [False] * 3

    @pytest.mark.parametrize(
        ("behind", "aside", "height", "expected"),
        [
            pytest.param(0.25, 0.0, 0.26, True, id="aimed"),
            pytest.param(0.25, 0.10, 0.26, False, id="aside"),
            pytest.param(0.45, 0.0, 0.26, False, id="far"),
            pytest.param(0.25, 0.0, 0.172, False, id="low"),
        ],
    )
    def test_aim_is_judged_by_direction_distance_and_height(
        self, world: World, behind: float, aside: float, height: float, expected: bool
    ) -> None:
        """Seen through the scene's own judgement with a hand that is taken to hold the can."""
        scene = world.scene
        assert isinstance(scene, WaterPlant)
        plant, can = world.body_pose("plant")[:3, 3], np.eye(4)
        can[:3, 3] = plant[0] - behind, plant[1] + 0.012 + aside, height
        assert scene._aims_at(can, plant) is expected

    def test_trigger_springs_back(self, world: World) -> None:
        world.data.joint("trigger").qpos[0] = 0.4
        run(world, 0.5)
        assert abs(world.joint_position("trigger")) < 0.08


def test_only_the_cloth_can_be_welded_and_only_where_it_is_declared() -> None:
    for task in TASKS:
        model = World(make_scene(task)).model
        welds = [model.equality(i).name for i in range(model.neq) if not model.equality(i).name.startswith("hand_")]
        assert welds == (["cloth_grip"] if task == "wipe_board" else [])
    assert not hasattr(water_plant.default_config(), "weld_assist")
    assert wipe_board.default_config().weld_assist
