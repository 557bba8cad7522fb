"""The task Water-Plant: pick up the watering can, aim its spout at the plant, and press its trigger.

The can stands upright. Above its tank is a flat grip for thumb and fingers, in front of which, to the left, hangs a
sprung trigger for the index finger. A spout leaves the tank and points forwards.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vipa_sim.engine import Spec, mujoco
from vipa_sim.robot_model import ENVIRONMENT_BIT
from vipa_sim.scenes.judging import Lasting
from vipa_sim.scenes.variation import AddGeom, VariedScene, add_sizes, set_inertia

if TYPE_CHECKING:
    from vipa_sim.world import World

Array = NDArray[np.float64]

PIVOT_HEIGHT = 0.172
"""m from the can's bottom to the trigger's hinge, which is the origin of the can's frame; of scale 1."""
GRIP_HALF_SIZE = (0.014, 0.022, 0.045)
GRIP_CENTRE = (0.0, -0.012, -0.042)
"""m in the can's frame."""
TRIGGER_PLACE = (0.020, 0.022, 0.0)
"""m in the can's frame: the hinge of the trigger."""
SPOUT = ((0.030, -0.012, -0.135), (0.115, -0.012, -0.050))
"""m in the can's frame: where the spout begins and ends."""
PLANT_HEIGHT = 0.17
"""m: the middle of the leaves above the table."""


@dataclass(frozen=True)
class WaterPlantConfig:
    """Where things stand and when a sub-task counts (m, rad, degrees, s)."""

    can_x: tuple[float, float] = (0.36, 0.46)
    can_y: tuple[float, float] = (-0.28, -0.10)
    can_turn: float = 0.25  # rad to either side
    plant_x: tuple[float, float] = (0.66, 0.74)
    plant_y: tuple[float, float] = (0.08, 0.28)
    lifted: float = 0.03  # of the can's bottom above the table
    reach: tuple[float, float] = (0.03, 0.25)  # from the spout's end to the middle of the leaves, measured level
    aim_deg: float = 15.0  # between the spout's heading and the plant, at most
    clearance: float = 0.04  # m that the spout's end may lie below the middle of the leaves
    pressed: float = 0.15  # rad of the trigger
    lasting_s: float = 0.2
    time_limit_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("can_x", "can_y", "plant_x", "plant_y", "reach"):
            low, high = getattr(self, name)
            if not low < high:
                raise ValueError(f"{name}: the lower end {low} lies above the upper end {high}")
        for name in ("lifted", "aim_deg", "pressed", "lasting_s", "time_limit_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: must be positive, is {getattr(self, name)}")


def default_config() -> WaterPlantConfig:
    """The configuration of the shipped task."""
    return WaterPlantConfig()


class WaterPlant(VariedScene):
    """A watering can near the robot, a plant in a pot at the far side."""

    name = "water_plant"
    instruction = "pick up the watering can, hold its spout to the plant, and press the spray handle"
    sub_tasks = ("pick up watering can", "locate plant", "press spray handle")
    bodies = ("can", "plant")
    joints = ("trigger",)
    distractor_zones = ((0.32, 0.40, -0.43, -0.40), (0.60, 0.70, -0.40, -0.30), (0.44, 0.52, 0.30, 0.40))

    def __init__(self, config: WaterPlantConfig | None = None) -> None:
        super().__init__()
        self.config = config or default_config()
        self.time_limit_s = self.config.time_limit_s
        self._conditions = {name: Lasting(self.config.lasting_s) for name in self.sub_tasks}

    def add_things(self, spec: Spec) -> None:
        """Add the plant (mocap) and the can with its trigger."""
        kinds = mujoco.mjtGeom
        plant = spec.worldbody.add_body(name="plant", mocap=True)
        plant.add_geom(
            name="pot",
            type=kinds.mjGEOM_CYLINDER,
            size=[0.042, 0.045, 0],
            pos=[0, 0, 0.045],
            rgba=[0.66, 0.33, 0.22, 1],
            contype=ENVIRONMENT_BIT,
            conaffinity=0,
        )
        for pos, size, green in (
            ((0, 0, 0.16), (0.05, 0.05, 0.06), 0.50),
            ((0.03, 0.02, 0.19), (0.035, 0.035, 0.045), 0.58),
            ((-0.02, -0.03, 0.18), (0.035, 0.035, 0.05), 0.44),
        ):
            plant.add_geom(
                type=kinds.mjGEOM_ELLIPSOID,
                size=size,
                pos=pos,
                rgba=[0.13, green, 0.18, 1],
                contype=0,
                conaffinity=0,
            )
        can = spec.worldbody.add_body(name="can")
        can.add_freejoint(name="can")
        set_inertia(can, 0.16, (0.0, -0.012, -0.12), (0.035, 0.035, 0.06))
        common = {"friction": [1.2, 0.05, 0.002], "condim": 4, "solref": [0.01, 1.0]}

        def build_can(add: AddGeom, scale: float) -> None:
            half = np.array(GRIP_HALF_SIZE) * scale
            x, y, z = np.array(GRIP_CENTRE) * scale
            blue, grey = [0.20, 0.45, 0.80, 1], [0.82, 0.84, 0.86, 1]
            top, bottom = (GRIP_CENTRE[2] - GRIP_HALF_SIZE[2]) * scale, -PIVOT_HEIGHT * scale
            middle, height = (top + bottom) / 2, (top - bottom) / 2
            add(type=kinds.mjGEOM_BOX, size=half, pos=[x, y, z], rgba=grey)
            add(type=kinds.mjGEOM_CYLINDER, size=[0.040 * scale, height, 0], pos=[x, y, middle], rgba=blue)
            ends = (np.array(SPOUT) * scale).ravel()
            add(type=kinds.mjGEOM_CAPSULE, fromto=ends, size=[0.008 * scale, 0, 0], rgba=blue)

        add_sizes(can, "can", build_can, **common)
        trigger = can.add_body(name="trigger", pos=TRIGGER_PLACE)
        hinge = trigger.add_joint(name="trigger", type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0, 1, 0], range=[-0.05, 0.5])
        hinge.stiffness[0], hinge.springref, hinge.damping[0], hinge.armature = 0.16, -0.15, 0.01, 0.0005
        trigger.add_geom(
            name="trigger",
            type=kinds.mjGEOM_CAPSULE,
            fromto=[0, 0, -0.005, 0.006, 0, -0.062],
            size=[0.006, 0, 0],
            rgba=[0.88, 0.20, 0.16, 1],
            mass=0.006,
            contype=ENVIRONMENT_BIT,
            conaffinity=ENVIRONMENT_BIT,
            **common,
        )

    def place_objects(self, world: "World", rng: np.random.Generator, variant: str) -> None:
        """Draw where can and plant stand.

        Raises:
            SimulationError: the robot touches something wherever the things stand.
        """
        del variant
        config = self.config
        (x0, x1), (y0, y1) = config.plant_x, config.plant_y
        world.place_mocap("plant", [*rng.uniform((x0, y0), (x1, y1)), 0.0])
        (x0, x1), (y0, y1) = config.can_x, config.can_y
        place, turn = rng.uniform((x0, y0), (x1, y1)), rng.uniform(-config.can_turn, config.can_turn)
        self.show_size(world.model, "can")
        world.place_free("can", [*place, PIVOT_HEIGHT * self.scale], [np.cos(turn / 2), 0.0, 0.0, np.sin(turn / 2)])
        world.refresh()
        self._can = self.size_geoms(world, "can")
        for condition in self._conditions.values():
            condition.reset()
        self.refuse_robot_in_the_way(world)

    def update(self, world: "World") -> None:
        """Judge whether the can is held, aimed and used."""
        config, now = self.config, world.time_ns
        lifted, located, pressed = self.done
        pose = world.body_pose("can")
        up = float(pose[2, 3]) - PIVOT_HEIGHT * self.scale > config.lifted and float(pose[2, 2]) > 0.7
        held = up and world.touches(world.hand_geoms, self._can)
        aimed = held and self._aims_at(pose, world.body_pose("plant")[:3, 3])
        trigger = world.joint_position("trigger")
        lifted |= self._conditions["pick up watering can"].update(now, held)
        located |= self._conditions["locate plant"].update(now, aimed)
        pressed |= self._conditions["press spray handle"].update(now, aimed and trigger > config.pressed)
        self.done = (lifted, located, pressed)

    def _aims_at(self, can: Array, plant: Array) -> bool:
        """Whether the spout points at the plant from near enough and from above enough."""
        config = self.config
        start, end = (can[:3, :3] @ np.array(point) * self.scale + can[:3, 3] for point in SPOUT)
        heading, way = (end - start)[:2], (plant - end)[:2]
        distance = float(np.linalg.norm(way))
        if not config.reach[0] <= distance <= config.reach[1] or end[2] < PLANT_HEIGHT - config.clearance:
            return False
        cosine = float(heading @ way) / (float(np.linalg.norm(heading)) * distance)
        return bool(cosine > np.cos(np.radians(config.aim_deg)))
