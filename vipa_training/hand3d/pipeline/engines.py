"""Who makes the shards: processes of this machine, or Ray's workers on many. The shards are the same."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from vipa_training.hand3d.errors import Hand3DError
from vipa_training.hand3d.pipeline.annotate import Annotator
from vipa_training.hand3d.pipeline.config import BuildConfig, Places
from vipa_training.hand3d.pipeline.shards import ShardReport, build_shard

ENGINES = ("local", "ray")
GO_ON = "the same command goes on where it ended"


@dataclass(frozen=True)
class Task:
    """A shard that is to be made: its number, and its clips."""

    number: int
    identifiers: tuple[str, ...]


def reports(
    config: BuildConfig, places: Places, tasks: Sequence[Task], workers: int, engine: str
) -> Iterator[ShardReport]:
    """Make shards; a report of each, in the order in which they are done.

    Raises:
        Hand3DError: nothing can go on.
    """
    if engine == "ray":
        yield from _by_ray(config, places, tasks, workers)
    elif workers == 1 or len(tasks) == 1:
        yield from (_make(config, places, 1, task) for task in tasks)
    else:
        yield from _by_processes(config, places, tasks, min(workers, len(tasks)))


def _by_processes(config: BuildConfig, places: Places, tasks: Sequence[Task], workers: int) -> Iterator[ShardReport]:
    context = multiprocessing.get_context("spawn")  # a process that has drawn or computed cannot be forked
    with ProcessPoolExecutor(workers, context, initializer=_one_thread) as pool:
        pending: set[Future[ShardReport]] = {pool.submit(_make, config, places, workers, task) for task in tasks}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool:
            raise Hand3DError(f"a worker was ended, maybe for its memory; {GO_ON}") from None
        finally:
            for future in pending:
                future.cancel()


def _by_ray(config: BuildConfig, places: Places, tasks: Sequence[Task], workers: int) -> Iterator[ShardReport]:
    """On a cluster that RAY_ADDRESS names, whose machines share the folders; else on workers of this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray as untyped
    except ImportError:
        raise Hand3DError("engine ray: needs the package ray; pip install '.[ray]'") from None
    ray: Any = untyped
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False)
    else:
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        with_gpu = config.pointmaps == "cut3r" and ray.cluster_resources().get("GPU", 0) > 0
        make = ray.remote(num_cpus=1, num_gpus=1 if with_gpu else 0, max_retries=2)(_make)
        pending = [make.remote(config, places, workers, task) for task in tasks]
        while pending:
            done, pending = ray.wait(pending)
            yield from ray.get(done)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, Hand3DError):
            raise Hand3DError(str(cause)) from None
        raise
    except ray.exceptions.RayError as error:
        raise Hand3DError(f"engine ray: {' '.join(str(error).split())[:200]}; {GO_ON}") from None
    finally:
        ray.shutdown()


def _make(config: BuildConfig, places: Places, workers: int, task: Task) -> ShardReport:
    try:
        return build_shard(_annotator(config, places, workers), places.out, task.number, task.identifiers)
    except OSError as error:
        raise Hand3DError(f"shard {task.number}: cannot be written: {error}; {GO_ON}") from None


@lru_cache(maxsize=1)
def _annotator(config: BuildConfig, places: Places, workers: int) -> Annotator:
    """This process's, with its models."""
    return Annotator(config, places, workers)


def _one_thread() -> None:
    import cv2
    import torch

    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's, which draws where there is no GPU
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
