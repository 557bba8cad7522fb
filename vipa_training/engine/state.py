"""What a training needs to go on: written as a whole or not at all, the last two kept.

Written by torch's distributed checkpoint, so that a training may go on with another number of processes. Its files are
read with pickle: go on with trainings of your own only. The model's checkpoint, which others may get, needs none.
"""

import contextlib
import json
import os
import shutil
import warnings
from collections.abc import Generator, Mapping
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor

from vipa_training.engine.distributed import World
from vipa_training.engine.errors import TrainingError

KEPT = 2
FORMAT = 1
PARTIAL = ".partial"
PROGRESS = "progress.json"


class StateFolder:
    """The states of a training.

    Args:
        folder: where they are; made when the first is written.
        world: the processes that write and read them together.
    """

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self._world = folder, world

    def steps(self) -> list[int]:
        """The steps of which there is a state, in order."""
        names = [path.name for path in self.folder.glob("step-*") if path.suffix != PARTIAL]
        return sorted(int(name.removeprefix("step-")) for name in names)

    def write(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Write the state after some steps, and remove all but the last two.

        Raises:
            TrainingError: it cannot be written; the earlier ones are as they were.
        """
        place, partial = self._place(step), self._place(step).with_suffix(PARTIAL)
        try:
            if self._world.is_first:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            self._world.wait()
            with _quiet():
                dcp.save(dict(tensors), checkpoint_id=str(partial), no_dist=self._world.processes == 1)
            if self._world.is_first:
                progress = partial / PROGRESS
                progress.write_text(json.dumps({"format": FORMAT, "step": step}) + "\n", encoding="utf-8")
                for path in (progress, partial):
                    _sync(path)
                shutil.rmtree(place, ignore_errors=True)
                partial.rename(place)
                _sync(self.folder)
                for old in self.steps()[:-KEPT]:
                    shutil.rmtree(self._place(old), ignore_errors=True)
            self._world.wait()
        except (OSError, dcp.CheckpointException) as error:
            raise TrainingError(f"{place}: cannot be written: {_line(error)}") from None

    def read(self, tensors: Mapping[str, Tensor]) -> int:
        """Fill tensors with the last state, and say after how many steps it was written; 0 where there is none.

        Raises:
            TrainingError: it cannot be read, or belongs to another model.
        """
        if self._world.is_first:
            for path in self.folder.glob(f"*{PARTIAL}"):
                shutil.rmtree(path, ignore_errors=True)
        self._world.wait()
        steps = self.steps()
        if not steps:
            return 0
        place = self._place(steps[-1])
        earlier = f"goes on from step {steps[-2]}" if len(steps) > 1 else "begins anew"
        cure = f"Remove it, and the training {earlier}"
        try:
            progress = json.loads((place / PROGRESS).read_text(encoding="utf-8"))
            if progress.get("format") != FORMAT:
                raise TrainingError(f"{place}: format {progress.get('format')!r} is not {FORMAT}. Update this software")
            with torch.no_grad(), _quiet():
                dcp.load(dict(tensors), checkpoint_id=str(place), no_dist=self._world.processes == 1)
            return int(progress["step"])
        except (OSError, ValueError, KeyError, RuntimeError, dcp.CheckpointException) as error:
            raise TrainingError(f"{place}: cannot be read: {_line(error)}. {cure}") from None

    def _place(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"


@contextlib.contextmanager
def _quiet() -> Generator[None, None, None]:
    """Without the warning that there is one process only."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(error: BaseException) -> str:
    if isinstance(error, dcp.CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    return " ".join(str(error).split())[:200]
