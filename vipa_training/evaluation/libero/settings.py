"""What is evaluated, and how."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SOURCES = ("agentview", "robot0_eye_in_hand")
"""LIBERO's cameras: in front of the robot, and at its wrist."""
MAX_STEPS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
"""Steps of 50 ms that a trial of a suite may take; ``libero_10`` is the paper's "Long". The figures are those of
OpenVLA's evaluation, which later work uses, too."""


@dataclass(frozen=True)
class LiberoConfig:
    """One suite, as the paper evaluates it: ten tasks, 50 trials each, each from an official initial state."""

    suite: str = "libero_spatial"
    tasks: tuple[int, ...] = ()  # their numbers, from 0; (): all of the suite
    trials: int = 50  # of each task; trial k begins in the initial state k
    seed: int = 0  # of the simulator; that of the policy is the server's
    max_steps: int = 0  # of a trial; 0: the suite's
    settle_steps: int = 10  # before a trial, with the gripper opening, until objects lie still
    execute_steps: int = 8  # of a chunk, at most, before the next one is asked for
    cameras: tuple[str, ...] = ("agentview", "wrist")  # what the policy calls LIBERO's two; one: a single view
    image_size: int = 256  # px, square
    rotate_pictures: bool = False  # by 180 degrees, as OpenVLA and openpi do, which mirrors them

    def __post_init__(self) -> None:
        if self.suite not in MAX_STEPS:
            raise ValueError(f"suite: {self.suite!r} is unknown; known: {', '.join(MAX_STEPS)}")
        for name in ("trials", "execute_steps", "image_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")
        for name in ("seed", "max_steps", "settle_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")
        if not 1 <= len(self.cameras) <= len(SOURCES) or len(set(self.cameras)) < len(self.cameras):
            raise ValueError(f"cameras: {', '.join(self.cameras) or 'none'}; expected one or two different names")
        if any(task < 0 for task in self.tasks) or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks: {self.tasks}; expected numbers from 0, each once")

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the tasks; none: all."""
        return self.tasks

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the results hold of it."""
        return {**dataclasses.asdict(self), "max_steps": self.step_limit}

    @property
    def step_limit(self) -> int:
        """Steps that a trial may take."""
        return self.max_steps or MAX_STEPS[self.suite]
