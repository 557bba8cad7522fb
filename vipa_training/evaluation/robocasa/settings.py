"""What is evaluated, and how."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SOURCES = ("robot0_agentview_left", "robot0_agentview_right", "robot0_eye_in_hand")
"""RoboCasa's cameras: to the left and right of the robot, and at its wrist."""
CAMERAS = ("left", "right", "wrist")
"""What policies call them, unless said otherwise."""
GROUPS: dict[str, dict[str, int]] = {
    "pick and place": {
        "PnPCounterToCab": 500,
        "PnPCabToCounter": 500,
        "PnPCounterToSink": 700,
        "PnPSinkToCounter": 500,
        "PnPCounterToMicrowave": 600,
        "PnPMicrowaveToCounter": 500,
        "PnPCounterToStove": 500,
        "PnPStoveToCounter": 500,
    },
    "doors and drawers": {
        "OpenSingleDoor": 500,
        "CloseSingleDoor": 500,
        "OpenDoubleDoor": 1000,
        "CloseDoubleDoor": 700,
        "OpenDrawer": 500,
        "CloseDrawer": 500,
    },
    "others": {
        "TurnOnSinkFaucet": 500,
        "TurnOffSinkFaucet": 500,
        "TurnSinkSpout": 500,
        "TurnOnStove": 500,
        "TurnOffStove": 500,
        "CoffeeSetupMug": 600,
        "CoffeeServeMug": 600,
        "CoffeePressButton": 300,
        "TurnOnMicrowave": 500,
        "TurnOffMicrowave": 500,
    },
}
"""The groups of the paper's Table 4, with the steps of 50 ms that RoboCasa 0.2 gives a trial of each task."""
MAX_STEPS = {name: steps for group in GROUPS.values() for name, steps in group.items()}
SCENES = ((1, 1), (2, 2), (4, 4), (6, 9), (7, 10))
"""Layouts and styles of the kitchens in which RoboCasa 0.2 evaluates; its demonstrations are from others, too."""
OBJECTS = "B"
"""The half of the objects that RoboCasa keeps for evaluation."""


@dataclass(frozen=True)
class RobocasaConfig:
    """Tasks as the paper evaluates them: 24, 50 trials each, in kitchens and with objects that RoboCasa draws."""

    tasks: tuple[str, ...] = ()  # their names; (): all
    trials: int = 50  # of each task
    seed: int = 0  # trial k of a task is drawn from the seed and k; the seed of the policy is the server's
    max_steps: int = 0  # of a trial; 0: the task's
    execute_steps: int = 8  # of a chunk, at most, before the next one is asked for
    cameras: tuple[str, ...] = CAMERAS  # what the policy calls RoboCasa's; fewer: the others are not shown
    image_size: int = 256  # px, square

    def __post_init__(self) -> None:
        unknown = [task for task in self.tasks if task not in MAX_STEPS]
        if unknown or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks: {', '.join(unknown or self.tasks)}; expected, each once: {', '.join(MAX_STEPS)}")
        for name in ("trials", "execute_steps", "image_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")
        for name in ("seed", "max_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")
        if not 1 <= len(self.cameras) <= len(SOURCES) or len(set(self.cameras)) < len(self.cameras):
            raise ValueError(f"cameras: {', '.join(self.cameras) or 'none'}; expected one to three different names")

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the tasks, in the order of ``MAX_STEPS``; none: all."""
        names = list(MAX_STEPS)
        return tuple(names.index(task) for task in self.tasks)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the results hold of it."""
        return {**dataclasses.asdict(self), "scenes": SCENES, "objects": OBJECTS}

    def step_limit(self, task: str) -> int:
        """Steps that a trial of a task may take."""
        return self.max_steps or MAX_STEPS[task]
