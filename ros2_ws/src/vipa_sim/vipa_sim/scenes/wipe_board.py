"""The task Wipe-Board: pick up the cloth and wipe all pen marks off the whiteboard.

The marks are pixels of the board's texture. The cloth erases what it covers while it is pressed on the board.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from vipa_sim.engine import Spec, mujoco
from vipa_sim.hand_model import HAND_PREFIX
from vipa_sim.robot_model import ENVIRONMENT_BIT
from vipa_sim.scenes.judging import Lasting
from vipa_sim.scenes.variation import VARIANTS, AddGeom, VariedScene, add_sizes, set_inertia

if TYPE_CHECKING:
    from vipa_sim.world import World

Array = NDArray[np.float64]

BOARD_HALF_SIZE = (0.13, 0.17, 0.010)
FACE_HALF_SIZE = (0.12, 0.16)
CLOTH_HALF_SIZE = (0.024, 0.040, 0.034)
PIXEL = 0.002  # m of the board that one pixel of its texture shows
SHAPE = (round(2 * FACE_HALF_SIZE[1] / PIXEL), round(2 * FACE_HALF_SIZE[0] / PIXEL))  # rows along y, columns along x
_WHITE = 242
_CELL = 10  # pixels along the sides of the squares in which ``facts`` tells where ink is

SEEN_MARKERS = {"blue": (22, 44, 190), "black": (30, 30, 34)}
UNSEEN_MARKERS = {"red": (200, 30, 36), "green": (20, 130, 60), "violet": (120, 40, 160), "orange": (235, 120, 20)}


@dataclass(frozen=True)
class WipeBoardConfig:
    """Where things are, how they behave, and when a sub-task counts (m, N, s, shares)."""

    cloth_x: tuple[float, float] = (0.38, 0.48)
    cloth_y: tuple[float, float] = (-0.30, -0.18)
    board: tuple[float, float] = (0.48, 0.13)
    board_spread: tuple[float, float] = (0.02, 0.04)  # to either side
    strokes: tuple[int, int] = (2, 4)  # from - to
    stroke_length: float = 0.22
    stroke_width: float = 0.008
    wiping_force: float = 1.0  # from this on the cloth erases
    weld_assist: bool = True  # the cloth sticks to a hand that holds it between thumb and a finger
    grip_s: float = 0.05  # thumb and finger must touch the cloth for so long
    lifted: float = 0.03  # of the cloth's lower side above the table
    wiped_share: float = 0.5  # of the ink, for "wipe pen marks"
    clean_share: float = 0.98  # for "clean entire whiteboard"
    lasting_s: float = 0.2
    time_limit_s: float = 90.0

    def __post_init__(self) -> None:
        for name in ("cloth_x", "cloth_y"):
            low, high = getattr(self, name)
            if not low <= high:
                raise ValueError(f"{name}: the lower end {low} lies above the upper end {high}")
        if not 1 <= self.strokes[0] <= self.strokes[1]:
            raise ValueError(f"strokes: must be at least 1 and in order, is {self.strokes}")
        if not 0 < self.wiped_share < self.clean_share <= 1:
            raise ValueError(f"wiped_share: must lie between 0 and clean_share ({self.clean_share})")
        for name in ("stroke_length", "stroke_width", "wiping_force", "grip_s", "lasting_s", "time_limit_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: must be positive, is {getattr(self, name)}")


def default_config() -> WipeBoardConfig:
    """The configuration of the shipped task."""
    return WipeBoardConfig()


class WipeBoard(VariedScene):
    """A folded cloth to the right, a whiteboard with pen marks flat on the table to the left."""

    name = "wipe_board"
    instruction = "pick up the cloth and wipe all pen marks off the whiteboard"
    sub_tasks = ("pick up cloth", "wipe pen marks", "clean entire whiteboard")
    variants = (*VARIANTS, "unseen_markers")
    bodies = ("cloth", "board")
    distractor_zones = ((0.32, 0.40, -0.43, -0.40), (0.62, 0.68, -0.30, -0.20), (0.66, 0.70, -0.12, -0.08))

    def __init__(self, config: WipeBoardConfig | None = None) -> None:
        super().__init__()
        self.config = config or default_config()
        self.time_limit_s = self.config.time_limit_s
        self.ink = np.zeros(SHAPE, dtype=bool)
        self._ink_at_first = 1
        self._conditions = {name: Lasting(self.config.lasting_s) for name in self.sub_tasks}
        self._grip = Lasting(self.config.grip_s, gap_s=self.config.grip_s / 2)
        self._loose = Lasting(self.config.grip_s, gap_s=self.config.grip_s / 2)

    @property
    def wiped_share(self) -> float:
        """Share of the episode's ink that has been wiped off."""
        return 1.0 - float(self.ink.sum()) / self._ink_at_first

    def add_things(self, spec: Spec) -> None:
        """Add the board (mocap), the cloth, and the weld between cloth and hand."""
        box = mujoco.mjtGeom.mjGEOM_BOX
        texture = spec.add_texture(name="board", type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3)
        texture.height, texture.width = SHAPE
        texture.data = bytes([_WHITE]) * (SHAPE[0] * SHAPE[1] * 3)
        spec.add_material(name="board").textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "board"
        board = spec.worldbody.add_body(name="board", mocap=True)
        board.add_geom(
            name="board",
            type=box,
            size=BOARD_HALF_SIZE,
            pos=[0, 0, BOARD_HALF_SIZE[2]],
            rgba=[0.62, 0.64, 0.67, 1],
            friction=[0.25, 0.005, 0.0005],
            priority=1,  # or MuJoCo would take the larger friction of the two
            solref=[0.04, 1.0],
            contype=ENVIRONMENT_BIT,
            conaffinity=0,
        )
        board.add_geom(
            type=box,
            size=[*FACE_HALF_SIZE, 0.0005],
            pos=[0, 0, 2 * BOARD_HALF_SIZE[2]],
            material="board",
            contype=0,
            conaffinity=0,
        )
        cloth = spec.worldbody.add_body(name="cloth")
        cloth.add_freejoint(name="cloth")
        set_inertia(cloth, 0.05, (0, 0, 0), CLOTH_HALF_SIZE)

        def fold(add: AddGeom, scale: float) -> None:
            add(type=box, size=np.array(CLOTH_HALF_SIZE) * scale)

        add_sizes(
            cloth,
            "cloth",
            fold,
            rgba=[0.93, 0.60, 0.20, 1],
            friction=[0.9, 0.02, 0.002],
            condim=4,
            solref=[0.03, 1.0],
            solimp=[0.8, 0.95, 0.01, 0.5, 2.0],
        )
        weld = spec.add_equality(name="cloth_grip", type=mujoco.mjtEq.mjEQ_WELD, active=False)
        weld.objtype = mujoco.mjtObj.mjOBJ_BODY
        weld.name1, weld.name2 = f"{HAND_PREFIX}palm", "cloth"

    def place_objects(self, world: "World", rng: np.random.Generator, variant: str) -> None:
        """Draw the places of cloth and board, and the marks.

        Raises:
            SimulationError: the robot touches something wherever the things stand.
        """
        config = self.config
        spread = np.array(config.board_spread)
        world.place_mocap("board", [*(np.array(config.board) + rng.uniform(-spread, spread)), 0.0])
        self.show_size(world.model, "cloth")
        place = rng.uniform((config.cloth_x[0], config.cloth_y[0]), (config.cloth_x[1], config.cloth_y[1]))
        world.place_free("cloth", [*place, CLOTH_HALF_SIZE[2] * self.scale])
        colours = list((UNSEEN_MARKERS if variant == "unseen_markers" else SEEN_MARKERS).values())
        colour = colours[int(rng.uniform() * len(colours))]
        self.ink = self._draw_strokes(rng)
        self._ink_at_first = int(self.ink.sum())
        world.texture("board")[:] = np.where(self.ink[..., None], np.array(colour, np.uint8), np.uint8(_WHITE))
        world.texture_painted("board")
        world.refresh()
        for condition in (*self._conditions.values(), self._grip, self._loose):
            condition.reset()
        self._cloth = self.size_geoms(world, "cloth")
        self._board = world.geoms("board")
        names = [world.model.geom(i).name for i in range(world.model.ngeom)]
        self._thumb = np.array([name.startswith(f"{HAND_PREFIX}thumb") for name in names])
        self._fingers = world.hand_geoms & ~self._thumb
        self._fingers[[names.index(f"{HAND_PREFIX}{part}") for part in ("palm", "wrist")]] = False
        self.refuse_robot_in_the_way(world)

    def update(self, world: "World") -> None:
        """Let the cloth stick to the hand that grips it and erase what it is pressed on; judge."""
        config, now = self.config, world.time_ns
        gripped = world.touches(self._thumb, self._cloth) and world.touches(self._fingers, self._cloth)
        if config.weld_assist:
            self._assist(world, gripped)
        self._erase(world)
        lower_side = self._cloth_bottom(world)
        states = (
            (gripped or world.is_welded("cloth_grip")) and lower_side > config.lifted,
            self.wiped_share >= config.wiped_share,
            self.wiped_share >= config.clean_share,
        )
        self.done = tuple(
            done | self._conditions[name].update(now, state)
            for done, name, state in zip(self.done, self.sub_tasks, states, strict=True)
        )

    def facts(self, world: "World") -> dict[str, list[float]]:
        """``ink``: x, y, x, y, ... in m in the base frame of the middles of the squares with ink (2 cm wide)."""
        rows, columns = SHAPE[0] // _CELL, SHAPE[1] // _CELL
        inked = self.ink.reshape(rows, _CELL, columns, _CELL).any(axis=(1, 3))
        middles = _positions(rows, columns)[inked] + world.body_pose("board")[:2, 3]
        return {"ink": [float(value) for value in middles.ravel()]}

    def _assist(self, world: "World", gripped: bool) -> None:
        welded = world.is_welded("cloth_grip")
        if not welded and self._grip.update(world.time_ns, gripped):
            world.weld("cloth_grip", True)
            self._loose.reset()
        elif welded and self._loose.update(world.time_ns, not gripped):
            world.weld("cloth_grip", False)
            self._grip.reset()

    def _erase(self, world: "World") -> None:
        if world.contact_force(self._cloth, self._board) < self.config.wiping_force:
            return
        pose = world.body_pose("cloth")
        inked = np.nonzero(self.ink)
        points = _POSITIONS[inked] + world.body_pose("board")[:2, 3] - pose[:2, 3]
        half = np.array(CLOTH_HALF_SIZE[:2]) * self.scale
        covered = (np.abs(points @ pose[:2, :2]) < half).all(axis=-1)
        if covered.any():
            erased = tuple(index[covered] for index in inked)
            self.ink[erased] = False
            world.texture("board")[erased] = _WHITE
            world.texture_painted("board")

    def _cloth_bottom(self, world: "World") -> float:
        pose = world.body_pose("cloth")
        return float(pose[2, 3] - np.abs(pose[2, :3]) @ np.array(CLOTH_HALF_SIZE) * self.scale)

    def _draw_strokes(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Smooth random curves of the pen: which pixels (``SHAPE``) have ink."""
        config = self.config
        canvas = np.zeros(SHAPE, np.uint8)
        steps, margin = 40, 3.0 * config.stroke_width / PIXEL
        high = np.array(SHAPE[::-1]) - margin
        for _ in range(int(rng.integers(config.strokes[0], config.strokes[1] + 1))):
            turns = rng.uniform(-np.pi, np.pi) + np.cumsum(rng.normal(0.0, 0.22, steps))
            course = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], -1), axis=0)
            course *= config.stroke_length / PIXEL / steps
            points = np.clip(rng.uniform(0.25, 0.75, 2) * SHAPE[::-1] + course, margin, high)
            cv2.polylines(canvas, [np.rint(points).astype(np.int32)], False, 1, round(config.stroke_width / PIXEL))
        return canvas.astype(bool)


def _positions(rows: int, columns: int) -> Array:
    """(rows, columns, 2) m: middles of the cells of a grid over the board's face, in the board's frame."""
    x = ((np.arange(columns) + 0.5) / columns - 0.5) * 2 * FACE_HALF_SIZE[0]
    y = (0.5 - (np.arange(rows) + 0.5) / rows) * 2 * FACE_HALF_SIZE[1]
    return np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)


_POSITIONS = _positions(*SHAPE)
