"""The scenes of the simulated laboratory, by name."""

from vipa_sim.errors import SimulationError
from vipa_sim.scenes.base import Scene, Task
from vipa_sim.scenes.calibration import Calibration
from vipa_sim.scenes.put_three_obj import PutThreeObj
from vipa_sim.scenes.reach import Reach
from vipa_sim.scenes.water_plant import WaterPlant
from vipa_sim.scenes.wipe_board import WipeBoard

SCENES: dict[str, type[Scene]] = {
    scene.name: scene for scene in (Reach, PutThreeObj, WipeBoard, WaterPlant, Calibration)
}


def make_scene(name: str) -> Scene:
    """A scene with its default configuration.

    Raises:
        SimulationError: no scene has that name.
    """
    if name not in SCENES:
        raise SimulationError(f"task {name!r}: no such task; known: {', '.join(sorted(SCENES))}")
    return SCENES[name]()


__all__ = ["SCENES", "Scene", "Task", "make_scene"]
