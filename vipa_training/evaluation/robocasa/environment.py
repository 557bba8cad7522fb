"""One task of RoboCasa, as a policy sees and moves it."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vipa_inference.policy import Observation
from vipa_training.evaluation.robocasa.observations import end_effector_in_base, make_observation
from vipa_training.evaluation.robocasa.settings import RobocasaConfig
from vipa_training.evaluation.robosuite.actions import ACTION_DIMENSION, action_to_reach
from vipa_training.evaluation.robosuite.geometry import STEP_NS, Simulation

Array = NDArray[np.float64]

STAY = (0.0, 0.0, 0.0, 0.0, -1.0)
"""What follows the arm and the gripper in an action of PandaOmron: base (3), torso (1), and the mode "arm"."""


class Simulator(Protocol):
    """What is used of RoboCasa's ``Kitchen``."""

    rng: np.random.Generator  # draws kitchens, objects and places

    @property
    def sim(self) -> Simulation:
        """Where things are."""
        ...

    def reset(self) -> Mapping[str, Any]:
        """Draw a kitchen and objects anew; what is observed then."""
        ...

    def step(self, action: Array) -> tuple[Mapping[str, Any], float, bool, Mapping[str, Any]]:
        """Act for 50 ms; what is observed then."""
        ...

    def get_ep_meta(self) -> Mapping[str, Any]:
        """What was drawn; ``lang`` is the instruction."""
        ...

    def _check_success(self) -> Any: ...

    def close(self) -> None:
        """Let go of the simulation."""
        ...


class RobocasaTask:
    """A task and its simulator.

    Args:
        name: of the task.
        simulator: RoboCasa's environment of the task.
        config: how it is run.
    """

    def __init__(self, name: str, simulator: Simulator, config: RobocasaConfig) -> None:
        self.name, self.instruction, self.step_limit = name, "", config.step_limit(name)
        self.clipped_steps = 0  # of this trial, whose target was further away than one step leads
        self._simulator, self._config = simulator, config
        self._observed: Mapping[str, Any] = {}
        self._time_ns = 0

    def begin(self, trial: int) -> None:
        """Begin a trial: each is drawn from the seed and its number alone, so that any can be done again."""
        self.clipped_steps, self._time_ns = 0, 0
        drawn = np.random.default_rng((self._config.seed, trial))
        self._simulator.rng.bit_generator.state = drawn.bit_generator.state  # in place: its samplers hold it, too
        self._observed = self._simulator.reset()
        self.instruction = str(self._simulator.get_ep_meta()["lang"])

    @property
    def observation(self) -> Observation:
        """What the policy sees now."""
        return make_observation(self._observed, self._simulator.sim, self._config, self.instruction, self._time_ns)

    def step(self, target: Array, hand: Array) -> bool:
        """Go towards a target (4, 4), base frame, m, with the hand (6,) for 50 ms; whether the task is done then."""
        action = action_to_reach(target, hand, end_effector_in_base(self._observed))
        clipped = np.clip(action, -1.0, 1.0)
        self.clipped_steps += int(np.any(clipped != action))
        self._observed = self._simulator.step(np.concatenate([clipped, STAY]))[0]
        self._time_ns += STEP_NS
        return bool(self._simulator._check_success())  # pyright: ignore[reportPrivateUsage] - it has no other name

    def close(self) -> None:
        """Let go of the simulator."""
        self._simulator.close()


ACTIONS = ACTION_DIMENSION + len(STAY)
"""Numbers of an action."""
