"""What every scene of the simulated laboratory shares: robot, table, lights, two cameras, and the shape of a task."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_sim.engine import Model, Spec, mujoco
from vipa_sim.errors import SimulationError
from vipa_sim.hand_model import add_hand
from vipa_sim.robot_model import ENVIRONMENT_BIT, arm_spec
from vipa_sim.scenes.boards import add_reference_boards

if TYPE_CHECKING:
    from vipa_sim.world import World

CAMERAS = ("front", "side")
CAMERA_HEIGHT_PX = 480
CAMERA_FOCAL_PX = 600.0
"""Focal length at 640 x 480: the colour camera of an L515 (69 x 42 degrees at 16:9), cut to 4:3."""

TABLE_SIZE = (0.90, 1.40)
TABLE_CENTRE = (0.55, 0.0)
TABLE_THICKNESS = 0.04
FLOOR_HEIGHT = -0.75
WOOD = (0.80, 0.62, 0.44)
_SEAM = (0.58, 0.44, 0.31)
_SEAMS = 3

CAMERA_POSES = {"front": ((1.42, 0.0, 0.72), (0.42, 0.0, 0.24)), "side": ((0.60, -1.15, 0.60), (0.40, 0.0, 0.24))}
_CLOTH_COLOURS = ((0.16, 0.36, 0.66), (0.60, 0.16, 0.22), (0.18, 0.46, 0.28), (0.42, 0.26, 0.56), (0.86, 0.86, 0.88))


class Task(Protocol):
    """One episode's task in a world, as a trial runner sees it."""

    @property
    def name(self) -> str:
        """The task's name on the command line."""
        ...

    @property
    def instruction(self) -> str:
        """What the robot is asked to do in this episode."""
        ...

    @property
    def sub_tasks(self) -> tuple[str, ...]:
        """The steps that are judged one by one, in the order of this episode's instruction."""
        ...

    @property
    def time_limit_s(self) -> float:
        """Simulated time after which the episode is over."""
        ...

    @property
    def variants(self) -> tuple[str, ...]:
        """The names that ``reset`` takes; the first is the one of the training data."""
        ...

    @property
    def done(self) -> tuple[bool, ...]:
        """Which sub-tasks have been achieved."""
        ...

    def reset(self, world: "World", rng: np.random.Generator, variant: str) -> None:
        """Draw a new episode: poses, colours, instruction."""
        ...

    def update(self, world: "World") -> None:
        """Look at the world; called every 10 ms of simulated time."""
        ...

    def judge(self, world: "World") -> list[bool]:
        """Which sub-tasks have been achieved in ``world``."""
        ...


class Scene(ABC):
    """A task together with the things on the table that it needs.

    A scene is built once (``build``) and then drawn anew for each episode (``reset``). Everything that differs between
    episodes must be set by ``reset``, whatever the episode before left behind.
    """

    name: str
    time_limit_s: float
    variants: tuple[str, ...] = ("seen", "unseen_cloth")
    is_task: bool = True
    """Whether something is to be done, and judged."""
    has_reference_boards: bool = False
    """Whether boards stand on the table by which a drift of the cameras is seen; to be set before ``build``."""

    instruction: str = ""
    sub_tasks: tuple[str, ...] = ()
    done: tuple[bool, ...] = ()

    def build(self) -> Spec:
        """The whole laboratory with this scene's objects, the robot's joints first."""
        spec = laboratory_spec()
        if self.has_reference_boards:
            add_reference_boards(spec)
        self.add_objects(spec)
        return spec

    @abstractmethod
    def add_objects(self, spec: Spec) -> None:
        """Add this scene's bodies to the laboratory.

        Standing things: ``contype=1, conaffinity=0``; things that move: both 1.
        """

    def reset(self, world: "World", rng: np.random.Generator, variant: str) -> None:
        """Draw a new episode.

        Raises:
            SimulationError: no such variant.
        """
        self.check_variant(variant)
        self.done = ()
        cloth = _CLOTH_COLOURS[
            rng.integers(len(_CLOTH_COLOURS))
        ]  # drawn always: the poses must not depend on the variant
        lay_table(world.model, cloth if variant == "unseen_cloth" else None)
        self.place_objects(world, rng, variant)
        self.done = (False,) * len(self.sub_tasks)

    def check_is_task(self) -> None:
        """Raise SimulationError where nothing is judged in the scene."""
        if not self.is_task:
            raise SimulationError(f"task {self.name}: nothing is judged in it, so there are no trials of it")

    def check_variant(self, variant: str) -> None:
        """Raise SimulationError unless the scene has the variant."""
        if variant not in self.variants:
            raise SimulationError(f"task {self.name}: no variant {variant!r}; known: {', '.join(self.variants)}")

    @abstractmethod
    def place_objects(self, world: "World", rng: np.random.Generator, variant: str) -> None:
        """Draw poses and the instruction, and set ``instruction`` and ``sub_tasks``."""

    @abstractmethod
    def update(self, world: "World") -> None:
        """Look at the world and set ``done``; called every 10 ms of simulated time."""

    def judge(self, world: "World") -> list[bool]:
        """Which sub-tasks have been achieved: the flags as the last ``update`` of ``world`` left them."""
        del world
        return list(self.done)


def laboratory_spec() -> Spec:
    """Robot, hand, table, room, a lamp and the cameras; the table's top is z = 0 of the robot's base."""
    spec = arm_spec()
    add_hand(spec)
    option = spec.option
    option.timestep = 0.001
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10
    _set_visual(spec)
    _add_furniture(spec)
    for name, (position, target) in CAMERA_POSES.items():
        spec.worldbody.add_body(name=f"{name}_mount", mocap=True).add_camera(
            name=name,
            pos=position,
            quat=_look_at(np.array(position), np.array(target)),
            fovy=np.degrees(2 * np.arctan(CAMERA_HEIGHT_PX / 2 / CAMERA_FOCAL_PX)),
        )
    return spec


def lay_table(model: Model, cloth: tuple[float, float, float] | None) -> None:
    """Cover the table with a cloth of the colour ``cloth`` (RGB, 0-1), or show its wood (None)."""
    table = model.geom("table").id
    model.geom_matid[table] = model.material("wood" if cloth is None else "cloth").id
    model.mat_rgba[model.material("cloth").id, :3] = (1.0, 1.0, 1.0) if cloth is None else cloth
    for number in range(_SEAMS):
        model.geom_rgba[model.geom(f"seam_{number}").id, 3] = 1.0 if cloth is None else 0.0


def displace_camera(world: "World", camera: str, shift: ArrayLike, turn: ArrayLike) -> None:
    """Move a camera by ``shift`` (3,) m and turn it about itself by ``turn`` (3,), a rotation vector in rad.

    Both are in the base frame. The poses that the cameras are calibrated to stay those of the model.
    """
    centre, rotation, quaternion = np.array(CAMERA_POSES[camera][0]), matrix_from_rotation_vector(turn), np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    world.place_mocap(f"{camera}_mount", centre - rotation @ centre + np.asarray(shift), quaternion)


def _set_visual(spec: Spec) -> None:
    spec.stat.extent = 1.0
    spec.stat.center = [0.5, 0.0, 0.2]
    visual = spec.visual
    visual.map.znear, visual.map.zfar = 0.05, 12.0
    visual.quality.offsamples = 0
    visual.quality.shadowsize = 0
    visual.quality.numslices, visual.quality.numstacks, visual.quality.numquads = 12, 6, 1
    visual.global_.offwidth, visual.global_.offheight = 1280, 960
    visual.headlight.ambient = [0.34, 0.34, 0.35]
    visual.headlight.diffuse = [0.28, 0.28, 0.28]
    visual.headlight.specular = [0.0, 0.0, 0.0]
    spec.worldbody.add_body(name="lamp_mount", mocap=True).add_light(
        name="lamp", pos=[1.9, -1.4, 2.0], dir=[-0.75, 0.7, -1], castshadow=False, diffuse=[0.52, 0.51, 0.48]
    )


def _add_furniture(spec: Spec) -> None:
    # Plain colours: a texture on the table would take a fifth of the time of a picture.
    for name, colour in (("wood", WOOD), ("cloth", (1.0, 1.0, 1.0))):
        spec.add_material(name=name, rgba=[*colour, 1.0], specular=0.1, shininess=0.1)
    box = mujoco.mjtGeom.mjGEOM_BOX
    standing = {"contype": ENVIRONMENT_BIT, "conaffinity": 0}
    ground = spec.worldbody
    ground.add_geom(
        name="table",
        type=box,
        size=[TABLE_SIZE[0] / 2, TABLE_SIZE[1] / 2, TABLE_THICKNESS / 2],
        pos=[*TABLE_CENTRE, -TABLE_THICKNESS / 2],
        material="wood",
        friction=[1.0, 0.02, 0.001],
        **standing,
    )
    for number, y in enumerate(np.linspace(-0.5, 0.5, _SEAMS + 2)[1:-1] * TABLE_SIZE[1]):
        ground.add_geom(
            name=f"seam_{number}",
            type=box,
            size=[TABLE_SIZE[0] / 2, 0.0015, 0.0002],
            pos=[TABLE_CENTRE[0], y, 0.0],
            rgba=[*_SEAM, 1.0],
            contype=0,
            conaffinity=0,
        )
    leg = (-FLOOR_HEIGHT - TABLE_THICKNESS) / 2
    for x in (-1, 1):
        for y in (-1, 1):
            ground.add_geom(
                type=box,
                size=[0.03, 0.03, leg],
                pos=[TABLE_CENTRE[0] + 0.40 * x, 0.64 * y, FLOOR_HEIGHT + leg],
                rgba=[0.30, 0.24, 0.19, 1],
                **standing,
            )
    ground.add_geom(
        name="pedestal",
        type=box,
        size=[0.13, 0.13, -FLOOR_HEIGHT / 2],
        pos=[-0.04, 0, FLOOR_HEIGHT / 2],
        rgba=[0.26, 0.28, 0.31, 1],
        **standing,
    )
    # A box each, because drawing one of MuJoCo's planes takes longer than all the rest of the picture.
    ground.add_geom(
        name="floor",
        type=box,
        size=[3.0, 3.0, 0.01],
        pos=[0.5, 0, FLOOR_HEIGHT - 0.01],
        rgba=[0.47, 0.52, 0.55, 1],
        **standing,
    )
    for name, size, pos in (
        ("back_wall", [0.01, 3.0, 1.6], [-1.5, 0, FLOOR_HEIGHT + 1.6]),
        ("side_wall", [3.0, 0.01, 1.6], [0.5, 1.9, FLOOR_HEIGHT + 1.6]),
    ):
        ground.add_geom(name=name, type=box, size=size, pos=pos, rgba=[0.80, 0.82, 0.83, 1], **standing)


def _look_at(position: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4,) wxyz: a camera at ``position`` that looks at ``target`` with its image upright."""
    back = (position - target) / np.linalg.norm(position - target)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.stack([right, np.cross(back, right), back], axis=1).ravel())
    return quaternion
