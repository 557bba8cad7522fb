"""What an expert knows of the world: a plain snapshot, taken from the world itself or sent through a control port."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa_sim.errors import SimulationError
from vipa_sim.scenes.variation import VariedScene
from vipa_sim.world import World

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Situation:
    """One instant of a task, as its scene names things."""

    time_ns: int
    poses: dict[str, Array]  # (4, 4) of bodies in the base frame, m
    joints: dict[str, float]  # m or rad
    facts: dict[str, Array]  # (N,) whatever else the scene tells
    scale: float  # of the things whose size differs between episodes
    done: tuple[bool, ...]  # which sub-tasks

    @staticmethod
    def of(world: World) -> "Situation":
        """The situation of a world whose scene is one of the tasks.

        Raises:
            SimulationError: the scene tells nothing to experts.
        """
        scene = world.scene
        if not isinstance(scene, VariedScene):
            raise SimulationError(f"task {scene.name}: tells nothing to experts")
        return Situation(
            time_ns=world.time_ns,
            poses={name: world.body_pose(name) for name in scene.bodies},
            joints={name: world.joint_position(name) for name in scene.joints},
            facts={name: np.array(values) for name, values in scene.facts(world).items()},
            scale=scene.scale,
            done=scene.done,
        )

    def as_mapping(self) -> dict[str, Any]:
        """Plain numbers, lists and strings, as JSON takes them."""
        return {
            "time_ns": self.time_ns,
            "poses": {name: pose.tolist() for name, pose in self.poses.items()},
            "joints": dict(self.joints),
            "facts": {name: values.tolist() for name, values in self.facts.items()},
            "scale": self.scale,
            "done": list(self.done),
        }

    @staticmethod
    def from_mapping(values: Mapping[str, Any]) -> "Situation":
        """The inverse of ``as_mapping``.

        Raises:
            SimulationError: a key is missing or holds something else.
        """
        try:
            return Situation(
                time_ns=int(values["time_ns"]),
                poses={name: np.array(pose, dtype=np.float64).reshape(4, 4) for name, pose in values["poses"].items()},
                joints={name: float(value) for name, value in values["joints"].items()},
                facts={name: np.array(fact, dtype=np.float64) for name, fact in values["facts"].items()},
                scale=float(values["scale"]),
                done=tuple(bool(flag) for flag in values["done"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SimulationError(f"situation: cannot be read ({type(error).__name__}: {error})") from None
