"""LeRobot's ACT measured on our data, in LeRobot's own environment: a process, and its figures as JSON."""

import math
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vipa.errors import ConfigurationError, VipaError
from vipa.result import Result

MODULE = "vipa_training.evaluation.peers.train_peer"
HELP = "See vipa_training/evaluation/peers/README.md"
NEEDED = ("samples_per_s", "data_wait_share", "parameters")
OTHERS_ENVIRONMENT = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")  # of this process; not of the peer's


@dataclass(frozen=True)
class PeerRun:
    """What a peer is measured on.

    Attributes:
        python: of the environment that has LeRobot.
        steps: of the training, those that do not count included.
        warm_up: steps that do not count.
        batch: samples of a step.
        image_size: px, the longer side of what it sees.
        workers: processes that read data.
        seed: of weights and order.
        time_out: s.
    """

    python: Path
    steps: int
    warm_up: int
    batch: int
    image_size: int
    workers: int
    seed: int
    time_out: float = 1800.0


def measure_act(run: PeerRun, dataset: Path, out: Path) -> Result:
    """Train LeRobot's ACT for a few steps.

    Args:
        run: how.
        dataset: of demonstrations.
        out: a folder that is made.

    Raises:
        ConfigurationError: there is no such Python.
        VipaError: it has no LeRobot, takes too long, or leaves no figures; the message says what it said last.
    """
    target = out / "result.json"
    arguments = {
        "dataset": dataset,
        "out": out,
        "json": target,
        "steps": run.steps,
        "warm-up": run.warm_up,
        "batch": run.batch,
        "image-size": run.image_size,
        "workers": run.workers,
        "seed": run.seed,
    }
    options = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
    environment = {name: value for name, value in os.environ.items() if name not in OTHERS_ENVIRONMENT}
    where = f"bench train: peer {run.python}"
    try:
        done = subprocess.run(
            [str(run.python), "-m", MODULE, "act", *options],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=run.time_out,
            check=False,
        )
    except OSError as error:
        raise ConfigurationError(f"{where}: cannot be started: {error.strerror}. {HELP}") from None
    except subprocess.TimeoutExpired:
        raise VipaError(f"{where}: took longer than {run.time_out:g} s. Measure fewer steps") from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise VipaError(f"{where}: {said[-1] if said else f'ended with status {done.returncode}'}. {HELP}")
    return _checked(target, where)


def _checked(target: Path, where: str) -> Result:
    try:
        result = Result.read(target)
    except ConfigurationError as error:
        raise VipaError(f"{where}: {error}") from None
    for name in NEEDED:
        value = result.figures.get(name, math.nan)
        if not (math.isfinite(value) and value >= 0.0):
            raise VipaError(f"{where}: {target.name} has no figure {name}. Use the train_peer of this version")
    if result.figures["samples_per_s"] == 0.0:
        raise VipaError(f"{where}: trained no samples")
    return result
