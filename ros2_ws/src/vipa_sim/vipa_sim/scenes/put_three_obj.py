"""The task Put-Three-Obj: open the drawer, put apple, banana and plum into it one after the other, close the drawer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vipa_sim.engine import Body, Spec, mujoco
from vipa_sim.errors import SimulationError
from vipa_sim.robot_model import ENVIRONMENT_BIT
from vipa_sim.scenes.judging import Lasting
from vipa_sim.scenes.variation import AddGeom, VariedScene, add_sizes, set_inertia

if TYPE_CHECKING:
    from vipa_sim.world import World

Array = NDArray[np.float64]

FRUITS = ("apple", "banana", "plum")
RADII = {"apple": 0.034, "banana": 0.018, "plum": 0.024}
"""m: so high above the table is the middle of a fruit of scale 1."""
_COLOURS = {"apple": (0.82, 0.11, 0.10, 1.0), "banana": (0.96, 0.84, 0.18, 1.0), "plum": (0.38, 0.11, 0.46, 1.0)}
_MASSES = {"apple": 0.12, "banana": 0.10, "plum": 0.06}  # kg
_BANANA_BEND = 0.35  # rad between the middle and either end
_BANANA_HALF = 0.022  # m, half of each of its three parts

DRAWER_HALF_SIZE = (0.11, 0.13, 0.045)
"""m: half the depth, width and height inside."""
DRAWER_TRAVEL = 0.20
BAR_DISTANCE = 0.185
"""m from the middle of the drawer to the bar in front of it; the bar lies across, at ``BAR_HEIGHT`` above the table."""
BAR_HEIGHT = 0.09
_CABINET_WOOD, _DRAWER_WOOD, _METAL = (0.50, 0.33, 0.20, 1.0), (0.75, 0.60, 0.40, 1.0), (0.25, 0.26, 0.28, 1.0)
_MAX_PLACES = 10_000


@dataclass(frozen=True)
class PutThreeObjConfig:
    """Where things stand and when a sub-task counts (m, m/s, s)."""

    x: tuple[float, float] = (0.42, 0.57)  # of the fruits
    y: tuple[float, float] = (-0.30, -0.02)
    spacing: float = 0.13  # between two fruits, at least
    banana_turn: tuple[float, float] = (0.8, 1.6)  # rad; 0: it lies across
    cabinet: tuple[float, float] = (0.76, 0.27)
    cabinet_spread: tuple[float, float] = (0.015, 0.03)  # to either side
    opened: float = 0.13  # of the drawer's travel
    closed: float = 0.02
    resting_speed: float = 0.1  # below this a fruit lies still
    lasting_s: float = 0.3
    time_limit_s: float = 150.0

    def __post_init__(self) -> None:
        for name in ("x", "y", "banana_turn"):
            low, high = getattr(self, name)
            if not low < high:
                raise ValueError(f"{name}: the lower end {low} lies above the upper end {high}")
        for name in ("spacing", "lasting_s", "resting_speed", "time_limit_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: must be positive, is {getattr(self, name)}")
        if np.hypot(self.x[1] - self.x[0], self.y[1] - self.y[0]) < 2.0 * self.spacing:
            raise ValueError(f"spacing: three fruits {self.spacing} m apart do not fit into x {self.x}, y {self.y}")
        if not 0 < self.closed < self.opened < DRAWER_TRAVEL:
            raise ValueError(f"opened: must lie between closed ({self.closed}) and {DRAWER_TRAVEL}, is {self.opened}")


def default_config() -> PutThreeObjConfig:
    """The configuration of the shipped task."""
    return PutThreeObjConfig()


class PutThreeObj(VariedScene):
    """A drawer in a cabinet to the left, three fruits to the right.

    A fruit counts once it has lain still inside the drawer, untouched; the drawer counts as closed once it was open and
    at least one fruit has been put into it.
    """

    name = "put_three_obj"
    instruction = "open the drawer, put the apple, the banana and the plum into it one after the other, and close it"
    sub_tasks = ("open drawer", *(f"pick & place {fruit}" for fruit in FRUITS), "close drawer")
    bodies = ("drawer", *FRUITS)
    joints = ("drawer",)
    distractor_zones = ((0.32, 0.40, -0.43, -0.40), (0.46, 0.54, -0.43, -0.40), (0.62, 0.70, -0.43, -0.38))

    def __init__(self, config: PutThreeObjConfig | None = None) -> None:
        super().__init__()
        self.config = config or default_config()
        self.time_limit_s = self.config.time_limit_s
        self._conditions = {name: Lasting(self.config.lasting_s) for name in ("opened", *FRUITS, "closed")}

    def add_things(self, spec: Spec) -> None:
        """Add the cabinet (mocap) with its drawer on a slide joint, and the fruits."""
        cabinet = spec.worldbody.add_body(name="cabinet", mocap=True)
        _add_cabinet(cabinet)
        _add_drawer(cabinet)
        for fruit in FRUITS:
            body = spec.worldbody.add_body(name=fruit)
            body.add_freejoint(name=fruit)
            radius = RADII[fruit]
            set_inertia(body, _MASSES[fruit], (0, 0, 0), (radius, 0.05 if fruit == "banana" else radius, radius))
            add_sizes(
                body,
                fruit,
                _banana if fruit == "banana" else _ball(radius),
                rgba=_COLOURS[fruit],
                friction=[1.2, 0.05, 0.002],
                condim=6,
                solref=[0.01, 1.0],
            )

    def place_objects(self, world: "World", rng: np.random.Generator, variant: str) -> None:
        """Draw the places of the fruits and of the cabinet.

        Raises:
            SimulationError: the robot touches something wherever the things stand, or there is no room for them.
        """
        del variant
        config = self.config
        spread = np.array(config.cabinet_spread)
        world.place_mocap("cabinet", [*(np.array(config.cabinet) + rng.uniform(-spread, spread)), 0.0])
        places, turn = self._draw_places(rng), rng.uniform(*config.banana_turn)
        for fruit, place in zip(FRUITS, places, strict=True):
            self.show_size(world.model, fruit)
            half = turn / 2 if fruit == "banana" else 0.0
            height = RADII[fruit] * self.scale
            world.place_free(fruit, [*place, height], [np.cos(half), 0.0, 0.0, np.sin(half)])
        world.refresh()
        self._inside = {fruit: self.size_geoms(world, fruit) for fruit in FRUITS}
        for condition in self._conditions.values():
            condition.reset()
        self.refuse_robot_in_the_way(world)

    def update(self, world: "World") -> None:
        """Judge the drawer and each fruit."""
        config, now = self.config, world.time_ns
        travel = world.joint_position("drawer")
        opened, *placed, closed = self.done
        opened |= self._conditions["opened"].update(now, travel > config.opened)
        for i, fruit in enumerate(FRUITS):
            placed[i] |= self._conditions[fruit].update(now, not placed[i] and self._lies_in_drawer(world, fruit))
        shut = opened and any(placed) and travel < config.closed
        closed |= self._conditions["closed"].update(now, shut)
        self.done = (opened, *placed, closed)

    def _lies_in_drawer(self, world: "World", fruit: str) -> bool:
        depth, width, height = DRAWER_HALF_SIZE
        place = world.body_pose(fruit)[:3, 3] - world.body_pose("drawer")[:3, 3]
        return (
            bool((np.abs(place[:2]) < (depth, width)).all() and 0.0 < place[2] < 2 * height)
            and world.body_speed(fruit) < self.config.resting_speed
            and not world.touches(world.hand_geoms, self._inside[fruit])
        )

    def _draw_places(self, rng: np.random.Generator) -> Array:
        """(3, 2) m: where the fruits lie, no two nearer than the spacing."""
        config = self.config
        low, high = zip(config.x, config.y, strict=True)
        for _ in range(_MAX_PLACES):
            places = rng.uniform(low, high, size=(3, 2))
            if np.linalg.norm(places - np.roll(places, 1, axis=0), axis=1).min() >= config.spacing:
                return places
        raise SimulationError(f"task {self.name}: no room for three fruits; widen x or y")


def _ball(radius: float) -> Callable[[AddGeom, float], None]:
    def build(add: AddGeom, scale: float) -> None:
        add(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[radius * scale, 0, 0])

    return build


def _banana(add: AddGeom, scale: float) -> None:
    """Three capsules in an arc, lying across (along y) with both ends bent towards the robot."""
    half, radius = _BANANA_HALF * scale, RADII["banana"] * scale
    for side in (-1, 1):
        end = np.array([-np.sin(_BANANA_BEND), np.cos(_BANANA_BEND), 0.0]) * 2 * half
        start = np.array([0.0, half, 0.0])
        points = np.array([start, start + end]) * (1.0, side, 1.0)
        add(type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=points.ravel(), size=[radius * 0.9, 0, 0])
    add(type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=[0, -half, 0, 0, half, 0], size=[radius, 0, 0])


def _add_cabinet(cabinet: Body) -> None:
    depth, width, height = DRAWER_HALF_SIZE
    box = {
        "type": mujoco.mjtGeom.mjGEOM_BOX,
        "rgba": _CABINET_WOOD,
        "contype": ENVIRONMENT_BIT,
        "conaffinity": 0,
        "friction": [0.6, 0.01, 0.001],
    }
    for side in (-1, 1):
        y = side * (width + 0.012)
        cabinet.add_geom(size=[depth + 0.02, 0.01, height + 0.035], pos=[0, y, height + 0.035], **box)
    cabinet.add_geom(size=[0.01, width, height + 0.035], pos=[depth + 0.02, 0, height + 0.035], **box)
    cabinet.add_geom(size=[depth + 0.02, width + 0.022, 0.006], pos=[0, 0, 2 * height + 0.07], **box)


def _add_drawer(cabinet: Body) -> None:
    depth, width, height = DRAWER_HALF_SIZE
    drawer = cabinet.add_body(name="drawer", pos=[0, 0, 0.015])
    slide = drawer.add_joint(name="drawer", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[-1, 0, 0], range=[0, DRAWER_TRAVEL])
    slide.damping[0], slide.frictionloss, slide.armature = 8.0, 1.0, 0.05
    common = {"contype": ENVIRONMENT_BIT, "conaffinity": 0, "friction": [0.8, 0.01, 0.001]}
    box = {"type": mujoco.mjtGeom.mjGEOM_BOX, "rgba": _DRAWER_WOOD, **common}
    bar = {"type": mujoco.mjtGeom.mjGEOM_CAPSULE, "rgba": _METAL, **common}
    drawer.add_geom(size=[depth, width - 0.01, 0.004], pos=[0, 0, 0.004], mass=0.4, **box)
    for side in (-1, 1):
        y = side * (width - 0.014)
        drawer.add_geom(size=[depth, 0.004, height - 0.01], pos=[0, y, height - 0.005], mass=0.1, **box)
    drawer.add_geom(size=[0.004, width - 0.01, height - 0.01], pos=[depth - 0.004, 0, height - 0.005], mass=0.1, **box)
    front = [-depth - 0.01, 0, height + 0.01]
    drawer.add_geom(name="drawer_front", size=[0.006, width + 0.02, height + 0.015], pos=front, mass=0.2, **box)
    z = BAR_HEIGHT - 0.015
    drawer.add_geom(
        name="drawer_bar",
        fromto=[-BAR_DISTANCE, -0.07, z, -BAR_DISTANCE, 0.07, z],
        size=[0.007, 0, 0],
        mass=0.05,
        **bar,
    )
    for y in (-0.07, 0.07):
        ends = [-BAR_DISTANCE, y, z, -depth - 0.01, y, z]
        drawer.add_geom(fromto=ends, size=[0.006, 0, 0], mass=0.02, **bar)
