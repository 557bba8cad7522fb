"""The expert of a task as a policy in the same process as its world."""

from vipa_inference.policy import ActionChunk, Observation
from vipa_sim.experts.base import Expert
from vipa_sim.experts.situation import Situation
from vipa_sim.world import World


class WorldExpert:
    """An expert that looks at its world on each inference.

    Args:
        expert: of the task in the world.
        world: what it looks at.
    """

    def __init__(self, expert: Expert, world: World) -> None:
        self._expert, self._world = expert, world
        self.name, self.policy_hash = expert.name, expert.policy_hash

    def reset(self) -> None:
        """Forget the episode so far."""
        self._expert.reset()

    def infer(self, observation: Observation) -> ActionChunk:
        """The next chunk, from the world as it is now."""
        return self._expert.infer(observation, Situation.of(self._world))
