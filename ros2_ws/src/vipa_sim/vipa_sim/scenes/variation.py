"""The named variants that every task on the table shares, and things whose size differs between episodes."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vipa_sim.engine import Body, Geom, Model, Spec, mujoco
from vipa_sim.errors import SimulationError
from vipa_sim.robot_model import ENVIRONMENT_BIT
from vipa_sim.scenes.base import CAMERAS, Scene, displace_camera

if TYPE_CHECKING:
    from vipa_sim.world import World

Array = NDArray[np.float64]
AddGeom = Callable[..., Geom]

VARIANTS = ("seen", "unseen_cloth", "distractors", "lighting", "camera_shift", "object_scale")
SCALES = (0.90, 0.95, 1.0, 1.05, 1.10)

_DISTRACTORS = ("mug", "block", "ball")
_DISTRACTOR_HEIGHTS = (0.04, 0.025, 0.03)  # m, of the origins above the table
_INSIDE_THE_PEDESTAL = (-0.04, 0.0, -0.40)
"""Where things are that an episode does not show: in no picture, and not in the way of anything."""


@dataclass(frozen=True)
class VariationConfig:
    """How far the variants go."""

    camera_shift: float = 0.02  # m, at most, of a camera
    camera_turn_deg: float = 2.0  # degrees, at most, of a camera
    brightness: tuple[float, float] = (0.55, 1.15)  # factor on every colour
    tint: float = 0.12  # share by which red, green and blue differ from that, at most
    lamp_shift: tuple[float, float, float] = (0.3, 0.3, 0.2)  # m, at most, along each axis

    def __post_init__(self) -> None:
        for name in ("camera_shift", "camera_turn_deg", "tint"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: must not be negative, is {getattr(self, name)}")
        if not 0 < self.brightness[0] <= self.brightness[1]:
            raise ValueError(f"brightness: must be positive and in order, is {self.brightness}")


class VariedScene(Scene):
    """A scene with the variants ``VARIANTS``.

    What a variant changes is drawn from random numbers of its own: with the same seed, everything else is the same in
    every variant.
    """

    variants = VARIANTS
    variation = VariationConfig()
    bodies: tuple[str, ...] = ()
    """Of the things that the task is about: their poses are what an expert knows."""
    joints: tuple[str, ...] = ()
    """Of the things that the task is about."""
    distractor_zones: tuple[tuple[float, float, float, float], ...]
    """Where a distractor may stand: x and y from - to (m); as many zones as distractors."""

    def __init__(self) -> None:
        self.scale = 1.0
        self._colours: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def add_objects(self, spec: Spec) -> None:
        """Add the distractors and the scene's own things."""
        self._add_distractors(spec)
        self.add_things(spec)

    @abstractmethod
    def add_things(self, spec: Spec) -> None:
        """Add this scene's bodies, as ``add_objects`` says."""

    def reset(self, world: "World", rng: np.random.Generator, variant: str) -> None:
        """Draw a new episode.

        Raises:
            SimulationError: no such variant.
        """
        self.check_variant(variant)
        model = world.model
        if self._colours is None:
            self._colours = model.geom_rgba.copy(), model.mat_rgba.copy()
        model.geom_rgba[:], model.mat_rgba[:] = self._colours
        looks = np.random.default_rng(rng.integers(2**32))
        scale = float(looks.choice([scale for scale in SCALES if scale != 1.0]))
        self.scale = scale if variant == "object_scale" else 1.0
        super().reset(world, rng, variant)
        self._place_distractors(world, looks, variant == "distractors")
        if variant == "camera_shift":
            self._shift_cameras(world, looks)
        if variant == "lighting":
            self._light(world, looks)

    def facts(self, world: "World") -> dict[str, list[float]]:
        """What else an expert knows, by name."""
        del world
        return {}

    def refuse_robot_in_the_way(self, world: "World") -> None:
        """Call it once everything is placed.

        Raises:
            SimulationError: the robot touches something.
        """
        if world.touches(world.robot_geoms, ~world.robot_geoms):
            raise SimulationError(f"task {self.name}: the robot stands where things go; move it to its home pose first")

    def show_size(self, model: Model, name: str) -> None:
        """Of the sizes of a thing (see ``add_sizes``) let only this episode's be seen and felt."""
        for index in range(model.ngeom):
            geom = model.geom(index)
            owner, _, size = geom.name.partition("@")
            if owner != name:
                continue
            shown = size.startswith(f"{self.scale:.2f}")
            geom.contype[0] = geom.conaffinity[0] = ENVIRONMENT_BIT if shown else 0
            geom.rgba[3] = 1.0 if shown else 0.0

    def size_geoms(self, world: "World", name: str) -> NDArray[np.bool_]:
        """(ngeom,): the geoms of a thing with sizes, as this episode has it."""
        prefix = f"{name}@{self.scale:.2f}"
        return np.array([world.model.geom(i).name.startswith(prefix) for i in range(world.model.ngeom)])

    def _add_distractors(self, spec: Spec) -> None:
        kinds = mujoco.mjtGeom
        shapes = (
            {"type": kinds.mjGEOM_CYLINDER, "size": [0.03, 0.04, 0], "rgba": [0.20, 0.55, 0.55, 1]},
            {"type": kinds.mjGEOM_BOX, "size": [0.03, 0.02, 0.025], "rgba": [0.85, 0.55, 0.15, 1]},
            {"type": kinds.mjGEOM_SPHERE, "size": [0.03, 0, 0], "rgba": [0.35, 0.35, 0.38, 1]},
        )
        for name, shape in zip(_DISTRACTORS, shapes, strict=True):
            body = spec.worldbody.add_body(name=name, mocap=True, pos=_INSIDE_THE_PEDESTAL)
            body.add_geom(name=name, contype=ENVIRONMENT_BIT, conaffinity=0, **shape)

    def _place_distractors(self, world: "World", looks: np.random.Generator, shown: bool) -> None:
        zones = looks.permutation(np.array(self.distractor_zones))[: len(_DISTRACTORS)]
        for name, height, (x0, x1, y0, y1) in zip(_DISTRACTORS, _DISTRACTOR_HEIGHTS, zones, strict=True):
            place, turn = looks.uniform((x0, y0), (x1, y1)), looks.uniform(-np.pi, np.pi)
            colour = looks.uniform(0.1, 0.9, 3)
            if shown:
                world.place_mocap(name, [*place, height], [np.cos(turn / 2), 0.0, 0.0, np.sin(turn / 2)])
                world.model.geom(name).rgba[:3] = colour

    def _shift_cameras(self, world: "World", looks: np.random.Generator) -> None:
        """Move each camera and turn it about itself."""
        config = self.variation
        for camera in CAMERAS:
            shift = _in_ball(looks, config.camera_shift)
            displace_camera(world, camera, shift, _in_ball(looks, np.radians(config.camera_turn_deg)))

    def _light(self, world: "World", looks: np.random.Generator) -> None:
        """Move the lamp and change its colour, which for matt things is the same as to change all of theirs."""
        config, model = self.variation, world.model
        world.place_mocap("lamp_mount", looks.uniform(-1.0, 1.0, 3) * config.lamp_shift)
        factor = looks.uniform(*config.brightness) * (1.0 + looks.uniform(-config.tint, config.tint, 3))
        for colours in (model.geom_rgba, model.mat_rgba):
            colours[:, :3] = np.clip(colours[:, :3] * factor, 0.0, 1.0)


def add_sizes(body: Body, name: str, build: Callable[[AddGeom, float], None], **common: object) -> None:
    """Add a thing to a body in each of the ``SCALES``; ``VariedScene.show_size`` chooses one.

    Args:
        body: its mass and inertia must be explicit, and are those of every size.
        name: of the thing; its geoms are called ``name@scale:number``.
        build: adds the thing's geoms with the function that it is given, for one scale.
        common: of every geom.
    """
    for scale in SCALES:
        count = 0

        def add(scale: float = scale, **shape: object) -> Geom:
            nonlocal count
            count += 1
            return body.add_geom(name=f"{name}@{scale:.2f}:{count}", mass=0.0, **{**common, **shape})

        build(add, scale)


def set_inertia(
    body: Body, mass: float, centre: tuple[float, float, float], half_size: tuple[float, float, float]
) -> None:
    """Give a body the mass (kg) and the inertia of a box of these half sizes (m) around ``centre``."""
    body.explicitinertial = True
    body.mass = mass
    body.ipos = list(centre)
    x, y, z = (h * h for h in half_size)
    body.inertia = [mass / 3 * (y + z), mass / 3 * (x + z), mass / 3 * (x + y)]


def _in_ball(rng: np.random.Generator, radius: float) -> Array:
    """(3,): uniform within a ball."""
    direction = rng.normal(size=3)
    return direction / np.linalg.norm(direction) * radius * float(rng.uniform()) ** (1.0 / 3.0)
