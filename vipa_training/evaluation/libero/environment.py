"""One task of LIBERO, as a policy sees and moves it."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vipa_inference.policy import Observation
from vipa_training.evaluation.libero.observations import base_in_world, end_effector_in_world, make_observation
from vipa_training.evaluation.libero.settings import LiberoConfig
from vipa_training.evaluation.robosuite.actions import ACTION_DIMENSION, action_to_reach
from vipa_training.evaluation.robosuite.errors import EvaluationError
from vipa_training.evaluation.robosuite.geometry import STEP_NS, Simulation

Array = NDArray[np.float64]

WAIT = np.array([0.0] * (ACTION_DIMENSION - 1) + [-1.0])
"""The action that stays and opens the gripper."""


class Simulator(Protocol):
    """What is used of LIBERO's ``OffScreenRenderEnv``."""

    @property
    def sim(self) -> Simulation:
        """Where things are."""
        ...

    def seed(self, seed: int) -> None:
        """Decide what is random."""
        ...

    def reset(self) -> Any:
        """Begin anew."""
        ...

    def set_init_state(self, init_state: Array) -> Mapping[str, Any]:
        """Put everything in its place; what is observed then."""
        ...

    def step(self, action: Array) -> tuple[Mapping[str, Any], float, bool, Mapping[str, Any]]:
        """Act for 50 ms; what is observed then."""
        ...

    def check_success(self) -> Any:
        """Whether the task is done."""
        ...

    def close(self) -> None:
        """Let go of the simulation."""
        ...


class LiberoTask:
    """A task, its simulator and its official initial states.

    Args:
        name: of the task.
        instruction: what the policy is told.
        initial_states: (N, S), one for each trial.
        simulator: LIBERO's environment of the task.
        config: how it is run.

    Raises:
        EvaluationError: there are fewer initial states than trials.
    """

    def __init__(
        self, name: str, instruction: str, initial_states: Array, simulator: Simulator, config: LiberoConfig
    ) -> None:
        if config.trials > len(initial_states):
            raise EvaluationError(
                f"task {name}: has {len(initial_states)} initial states, so at most as many trials, not {config.trials}"
            )
        self.name, self.instruction, self.step_limit = name, instruction, config.step_limit
        self.clipped_steps = 0  # of this trial, whose target was further away than one step leads
        self._initial_states, self._simulator, self._config = initial_states, simulator, config
        self._observed: Mapping[str, Any] = {}
        self._time_ns = 0

    def begin(self, trial: int) -> None:
        """Begin a trial, and let the objects come to rest."""
        self.clipped_steps, self._time_ns = 0, 0
        self._simulator.seed(self._config.seed)
        self._simulator.reset()
        self._observed = self._simulator.set_init_state(self._initial_states[trial])
        for _ in range(self._config.settle_steps):
            self._act(WAIT)

    @property
    def observation(self) -> Observation:
        """What the policy sees now."""
        return make_observation(self._observed, self._simulator.sim, self._config, self.instruction, self._time_ns)

    def step(self, target: Array, hand: Array) -> bool:
        """Go towards a target (4, 4), base frame, m, with the hand (6,) for 50 ms; whether the task is done then."""
        target_in_world = base_in_world(self._simulator.sim) @ target
        action = action_to_reach(target_in_world, hand, end_effector_in_world(self._observed))
        clipped = np.clip(action, -1.0, 1.0)
        self.clipped_steps += int(np.any(clipped != action))
        self._act(clipped)
        return bool(self._simulator.check_success())

    def close(self) -> None:
        """Let go of the simulator."""
        self._simulator.close()

    def _act(self, action: Array) -> None:
        self._observed = self._simulator.step(action)[0]
        self._time_ns += STEP_NS
