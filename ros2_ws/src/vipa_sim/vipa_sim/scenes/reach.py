"""The commissioning task ``reach``: touch three coloured markers in the order of the instruction.

A marker is a ball on a post that yields downwards like a soft push button, so that a normal touch stays far below the
force at which the arm's collision reflex fires.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vipa_sim.engine import Spec, mujoco
from vipa_sim.errors import SimulationError
from vipa_sim.robot_model import ENVIRONMENT_BIT
from vipa_sim.scenes.base import CAMERA_POSES, Scene

if TYPE_CHECKING:
    from vipa_sim.world import World

COLOURS = {"red": (0.86, 0.10, 0.09, 1.0), "green": (0.10, 0.62, 0.20, 1.0), "blue": (0.10, 0.28, 0.86, 1.0)}
_POST_LENGTH = 0.20
_MAX_DRAWS = 100
_MAX_PLACES = 10_000


@dataclass(frozen=True)
class ReachConfig:
    """Where the markers stand and when one counts as touched (m, s, N/m)."""

    x: tuple[float, float] = (0.38, 0.62)
    y: tuple[float, float] = (-0.25, 0.25)
    post_height: tuple[float, float] = (0.08, 0.15)
    spacing: float = 0.12
    radius: float = 0.025
    travel: float = 0.018
    stiffness: float = 150.0
    touch_s: float = 0.05
    gap_s: float = 0.02
    time_limit_s: float = 40.0

    def __post_init__(self) -> None:
        """Refuse ranges that cannot hold three markers.

        Raises:
            ValueError: names the key.
        """
        for name in ("x", "y", "post_height"):
            low, high = getattr(self, name)
            if not low <= high:
                raise ValueError(f"{name}: the lower end {low} lies above the upper end {high}")
        for name in ("spacing", "radius", "travel", "stiffness", "touch_s", "time_limit_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: must be positive, is {getattr(self, name)}")
        if np.hypot(self.x[1] - self.x[0], self.y[1] - self.y[0]) < 2.5 * self.spacing:
            raise ValueError(f"spacing: three markers {self.spacing} m apart do not fit into x {self.x}, y {self.y}")
        if not self.gap_s < self.touch_s:
            raise ValueError(f"gap_s: must be shorter than touch_s ({self.touch_s}), is {self.gap_s}")


def default_config() -> ReachConfig:
    """The configuration of the shipped task."""
    return ReachConfig()


class Reach(Scene):
    """Touch the red, the green and the blue marker in the order of the instruction."""

    name = "reach"

    def __init__(self, config: ReachConfig | None = None) -> None:
        self.config = config or default_config()
        self.time_limit_s = self.config.time_limit_s
        self.order: tuple[str, ...] = tuple(COLOURS)
        self._touched_ns = 0
        self._last_touch_ns: int | None = None
        self._updated_ns: int | None = None

    def add_objects(self, spec: Spec) -> None:
        """Three markers, each a movable stand (mocap) with a sprung ball."""
        config = self.config
        cylinder = mujoco.mjtGeom.mjGEOM_CYLINDER
        for colour, rgba in COLOURS.items():
            foot = spec.worldbody.add_body(name=f"{colour}_foot", mocap=True)
            foot.add_geom(
                type=cylinder,
                size=[0.030, 0.003, 0],
                pos=[0, 0, 0.003],
                rgba=[0.16, 0.17, 0.18, 1],
                contype=0,
                conaffinity=0,
            )
            stand = spec.worldbody.add_body(name=f"{colour}_stand", mocap=True)
            stand.add_geom(
                name=f"{colour}_post",
                type=mujoco.mjtGeom.mjGEOM_CAPSULE,
                fromto=[0, 0, 0, 0, 0, -_POST_LENGTH],
                size=[0.007, 0, 0],
                rgba=[0.62, 0.64, 0.66, 1],
                contype=ENVIRONMENT_BIT,
                conaffinity=0,
            )
            ball = stand.add_body(name=f"{colour}_marker", pos=[0, 0, config.radius], gravcomp=1.0)
            joint = ball.add_joint(
                name=f"{colour}_spring",
                type=mujoco.mjtJoint.mjJNT_SLIDE,
                axis=[0, 0, 1],
                range=[-config.travel, config.travel / 4],
            )
            joint.stiffness[0] = config.stiffness
            joint.damping[0] = 4.0
            ball.add_geom(
                name=f"{colour}_ball",
                type=mujoco.mjtGeom.mjGEOM_SPHERE,
                size=[config.radius, 0, 0],
                mass=0.03,
                rgba=rgba,
                contype=ENVIRONMENT_BIT,
                conaffinity=0,
                solref=[0.02, 1.0],
            )

    def place_objects(self, world: "World", rng: np.random.Generator, variant: str) -> None:
        """Draw the markers' places and the order in which they are to be touched.

        Raises:
            SimulationError: the robot touches something wherever the markers stand, or there is no room for them.
        """
        del variant
        self.order = tuple(str(c) for c in rng.permutation(list(COLOURS)))
        self.sub_tasks = tuple(f"touch {colour}" for colour in self.order)
        first, second, third = self.order
        self.instruction = f"touch the {first}, then the {second}, then the {third} marker"
        for _ in range(_MAX_DRAWS):
            for colour, (x, y, height) in zip(COLOURS, self._draw_posts(rng), strict=True):
                world.place_mocap(f"{colour}_foot", np.array([x, y, 0.0]))
                world.place_mocap(f"{colour}_stand", np.array([x, y, height]))
            world.refresh()
            if not world.touches(world.robot_geoms, ~world.robot_geoms):
                break
        else:
            raise SimulationError(
                f"task {self.name}: the robot stands where the markers go; move it to its home pose first"
            )
        self._forget_touch()
        self._updated_ns = None

    def update(self, world: "World") -> None:
        """Mark the next marker of the order as done once the hand has touched it for long enough."""
        now = world.time_ns
        elapsed = 0 if self._updated_ns is None else now - self._updated_ns
        self._updated_ns = now
        reached = sum(self.done)
        if reached == len(self.order):
            return
        if world.touches(world.hand_geoms, world.geoms(f"{self.order[reached]}_ball")):
            self._touched_ns += elapsed if self._last_touch_ns is not None else 0
            self._last_touch_ns = now
        elif self._last_touch_ns is not None and now - self._last_touch_ns > self.config.gap_s * 1e9:
            self._forget_touch()
        if self._touched_ns >= self.config.touch_s * 1e9:
            self.done = tuple(i <= reached for i in range(len(self.order)))
            self._forget_touch()

    def _draw_posts(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """(3, 3) m: tops of the posts, no two nearer than the spacing, no ball behind another for any camera."""
        config = self.config
        low, high = zip(config.x, config.y, config.post_height, strict=True)
        for _ in range(_MAX_PLACES):
            posts = rng.uniform(low, high, size=(3, 3))
            gaps = np.linalg.norm(posts[:, :2] - np.roll(posts[:, :2], 1, axis=0), axis=1)
            if gaps.min() >= config.spacing and all(self._apart(posts, eye) for eye, _ in CAMERA_POSES.values()):
                return posts
        raise SimulationError(f"task {self.name}: no room for three markers that all cameras see; widen x or y")

    def _apart(self, posts: NDArray[np.float64], eye: tuple[float, float, float]) -> bool:
        """Whether the lines of sight from a camera to the balls keep a ball's radius between their discs."""
        sight = posts + np.array((0.0, 0.0, self.config.radius)) - np.array(eye)
        distances = np.linalg.norm(sight, axis=1)
        directions = sight / distances[:, None]
        angles = np.arccos(np.clip(np.sum(directions * np.roll(directions, 1, axis=0), axis=1), -1.0, 1.0))
        return bool(angles.min() >= 3.0 * self.config.radius / distances.min())

    def _forget_touch(self) -> None:
        self._touched_ns = 0
        self._last_touch_ns = None
