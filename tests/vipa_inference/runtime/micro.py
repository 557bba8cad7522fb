"""The smallest model that has every part, and its graphs, which are exported once in a run of the tests."""

import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.conftest import SHARED_FOLDER
from tests.vipa_inference.model.tiny import TINY
from vipa_inference.checkpoint import Checkpoint
from vipa_inference.runtime.benchmark import shortened
from vipa_inference.runtime.engines import export_graphs
from vipa_inference.untrained import untrained_checkpoint

MICRO = replace(shortened(TINY, layers=1), name="micro", action=replace(TINY.action, layers=1, denoising_steps=2))


def micro_graphs() -> Path:
    """The folder of the graphs of ``MICRO``, untrained; nobody writes into it. Whoever comes first exports them."""
    folder = Path(os.environ[SHARED_FOLDER]) / "micro-graphs"
    partial = folder.with_suffix(".partial")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            export_graphs(untrained_checkpoint(MICRO), partial)
            partial.rename(folder)
    return folder


def copy_micro_graphs(checkpoint: Checkpoint, folder: Path, progress: Callable[..., Any] = iter) -> None:
    """Stands for ``export_graphs`` where the model is ``MICRO``, untrained."""
    assert checkpoint.config == replace(MICRO, name=checkpoint.config.name)
    folder.mkdir(parents=True, exist_ok=True)
    for file in progress(micro_graphs().iterdir()):
        shutil.copy2(file, folder)
