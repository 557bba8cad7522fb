"""The genuine RoboCasa 0.2: tasks and simulators of the installed package."""

import contextlib
import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vipa_training.evaluation.robocasa.environment import ACTIONS, RobocasaTask
from vipa_training.evaluation.robocasa.settings import GROUPS, MAX_STEPS, OBJECTS, SCENES, SOURCES, RobocasaConfig
from vipa_training.evaluation.robosuite.actions import SCALE
from vipa_training.evaluation.robosuite.errors import EvaluationError

PACKAGES = ("robocasa", "robosuite", "mujoco", "numpy")
ASSETS = ("textures", "objects/objaverse")
"""Folders that come with no package, but are downloaded."""


class Kitchens:
    """RoboCasa's 24 atomic tasks.

    Args:
        config: how they are run.

    Raises:
        EvaluationError: RoboCasa or its assets are missing here, or it is another version.
    """

    groups = GROUPS
    names = tuple(MAX_STEPS)

    def __init__(self, config: RobocasaConfig) -> None:
        os.environ.setdefault("MUJOCO_GL", "egl")  # before MuJoCo is imported: no window is needed
        try:
            with contextlib.redirect_stdout(sys.stderr):  # RoboCasa prints
                import robocasa
                from robocasa.environments import ALL_KITCHEN_ENVIRONMENTS
        except ModuleNotFoundError as error:
            raise EvaluationError(
                f"the package {error.name} is not installed here. Install RoboCasa 0.2 in an environment of its own: "
                "see vipa_training/evaluation/robocasa/README.md"
            ) from None
        except AssertionError as error:  # it checks the versions of its packages so
            raise EvaluationError(f"RoboCasa cannot be used here: {error}") from None
        missing = [name for name in self.names if name not in ALL_KITCHEN_ENVIRONMENTS]
        if missing:
            raise EvaluationError(f"this RoboCasa has no task {missing[0]}: it is not version 0.2. Install that tag")
        assets = Path(robocasa.__path__[0], "models", "assets")
        absent = [name for name in ASSETS if not any((assets / name).glob("*"))]
        if absent:
            raise EvaluationError(
                f"{assets / absent[0]}: RoboCasa's assets are missing. Download them (5 GB): "
                f"{sys.executable} -m robocasa.scripts.download_kitchen_assets"
            )
        self._config = config
        self.versions = {name: importlib.metadata.version(name) for name in PACKAGES}

    def make_task(self, number: int) -> RobocasaTask:
        """Start the simulator of a task.

        Raises:
            EvaluationError: its controller is none that we know.
        """
        from robocasa.utils.env_utils import create_env

        config, name = self._config, self.names[number]
        with contextlib.redirect_stdout(sys.stderr):
            simulator: Any = create_env(
                env_name=name,
                camera_names=list(SOURCES[: len(config.cameras)]),
                camera_widths=config.image_size,
                camera_heights=config.image_size,
                seed=config.seed,
                obj_instance_split=OBJECTS,
                layout_and_style_ids=SCENES,
            )
        try:
            check_controller(name, simulator)
        except EvaluationError:
            simulator.close()
            raise
        return RobocasaTask(name, simulator, config)


def check_controller(name: str, simulator: Any) -> None:
    """Refuse a robot that understands actions otherwise.

    Raises:
        EvaluationError: actions have another length, step or frame.
    """
    arm = simulator.robots[0].composite_controller.part_controllers["right"]
    size = len(simulator.action_spec[0])
    if size != ACTIONS or arm.input_ref_frame != "base" or not np.allclose(arm.output_max, SCALE):
        raise EvaluationError(
            f"task {name}: an action has {size} numbers, a step of {arm.output_max} m, rad in the frame "
            f"{arm.input_ref_frame}; expected {ACTIONS}, {SCALE}, base. Use PandaOmron of RoboCasa 0.2"
        )
