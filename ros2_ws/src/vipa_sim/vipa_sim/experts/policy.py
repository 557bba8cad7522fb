"""The expert of a task as a policy of the graph: it asks the laboratory for the world's state on each inference."""

from vipa.laboratory_client import LaboratoryClient
from vipa_inference.policy import ActionChunk, Observation, PolicyError
from vipa_sim.errors import SimulationError
from vipa_sim.experts import ExpertConfig, make_expert
from vipa_sim.experts.situation import Situation


class ExpertPolicy:
    """A policy for one task of the simulated laboratory; a reset of the scene begins a new episode.

    Args:
        task: name of the scene that the laboratory was started with.
        laboratory: a client of its control port; this object closes it.
        config: how the expert moves.

    Raises:
        SimulationError: the task has no expert.
    """

    def __init__(self, task: str, laboratory: LaboratoryClient, config: ExpertConfig | None = None) -> None:
        self._expert = make_expert(task, config)
        self._laboratory = laboratory
        self._episode = -1
        self.name, self.policy_hash = self._expert.name, self._expert.policy_hash

    def reset(self) -> None:
        """Forget the episode so far."""
        self._expert.reset()

    def infer(self, observation: Observation) -> ActionChunk:
        """The next chunk, from the world as it is now.

        Raises:
            PolicyError: the laboratory's answer is no situation.
            LaboratoryError: it does not answer, or its task tells nothing to experts.
        """
        answer = self._laboratory.request("situation")
        if answer.get("episode") != self._episode:
            self._episode = int(answer.get("episode", -1))
            self._expert.reset()
        try:
            return self._expert.infer(observation, Situation.from_mapping(answer))
        except SimulationError as error:
            raise PolicyError(f"{self._laboratory.name}: {error}") from None

    def close(self) -> None:
        """Close the connection to the laboratory."""
        self._laboratory.close()
