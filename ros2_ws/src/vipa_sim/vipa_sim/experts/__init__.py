"""Scripted experts that solve the tasks from the world's state, by task."""

from vipa_sim.errors import SimulationError
from vipa_sim.experts.base import Expert, ExpertConfig
from vipa_sim.experts.put_three_obj import PutThreeObjExpert
from vipa_sim.experts.situation import Situation
from vipa_sim.experts.water_plant import WaterPlantExpert
from vipa_sim.experts.wipe_board import WipeBoardExpert
from vipa_sim.experts.world_expert import WorldExpert

EXPERTS: dict[str, type[Expert]] = {
    expert.name: expert for expert in (PutThreeObjExpert, WipeBoardExpert, WaterPlantExpert)
}


def make_expert(task: str, config: ExpertConfig | None = None) -> Expert:
    """The expert of a task.

    Raises:
        SimulationError: there is none.
    """
    if task not in EXPERTS:
        raise SimulationError(f"expert: none for task {task!r}; known: {', '.join(sorted(EXPERTS))}")
    return EXPERTS[task](config)


__all__ = ["EXPERTS", "Expert", "ExpertConfig", "Situation", "WorldExpert", "make_expert"]
