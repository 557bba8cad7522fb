"""Demonstrations on all cores: ``python -m vipa_sim.demonstrations`` writes what the experts do into a dataset.

``vipa dataset generate`` starts it. Only rollouts that do the whole task are kept. Those that are in the dataset, or
failed before, are not run again. Recorded are the experts' own targets, also where noise pushes the arm off them: so
the data show how to come back.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vipa.errors import VipaError
from vipa.trials.journal import Journal
from vipa_inference.policy import PolicyError
from vipa_inference.processing import proprioception_vector
from vipa_sim.environment import EnvironmentConfig, LaboratoryEnvironment
from vipa_sim.errors import SimulationError
from vipa_sim.evaluation import Episode, planned
from vipa_sim.experts import EXPERTS, WorldExpert, make_expert
from vipa_sim.noise import NoiseConfig, TargetNoise
from vipa_sim.scenes.base import CAMERAS
from vipa_training.data.chunks import pose_matrix, pose_vector
from vipa_training.data.episode import EpisodeBuilder, EpisodeNote, FinishedEpisode, Row
from vipa_training.data.errors import DatasetError
from vipa_training.data.format import Layout
from vipa_training.data.writer import DatasetWriter

Array = NDArray[np.float64]
FAILED = "meta/failed.jsonl"


@dataclass(frozen=True)
class DemonstrationConfig:
    """How demonstrations are made.

    Attributes:
        image_size: of the pictures, width and height, px.
        rows: steps that are carried out of each of the expert's chunks.
        noise: how far the arm is pushed off the expert's targets.
    """

    image_size: tuple[int, int] = (224, 168)
    rows: int = 2
    noise: NoiseConfig = field(default_factory=lambda: NoiseConfig(push=0.0))

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"rows: must be positive, is {self.rows}")

    def environment(self) -> EnvironmentConfig:
        """Of the environment."""
        return EnvironmentConfig(image_size=self.image_size)

    def layout(self) -> Layout:
        """Of the dataset's rows.

        Raises:
            DatasetError: a size is odd.
        """
        width, height = self.image_size
        return Layout.of_cameras(1.0 / self.environment().step_period, dict.fromkeys(CAMERAS, (height, width)))


@dataclass(frozen=True)
class Failure:
    """A rollout that did not do the whole task, and why."""

    episode: Episode
    why: str


def demonstrate(
    environment: LaboratoryEnvironment, episode: Episode, config: DemonstrationConfig, builder: EpisodeBuilder
) -> EpisodeNote | None:
    """Let the expert do its task once; None where it was not done in time.

    Each row holds what is seen before a step and the target of that step.

    Args:
        environment: of the episode's task.
        episode: which.
        config: how.
        builder: takes the rows.

    Raises:
        DatasetError: the disk is full.
    """
    environment.reset(seed=episode.seed, options={"variant": episode.variant})
    scene, world = environment.scene, environment.world
    policy = WorldExpert(make_expert(episode.task), world)
    noise = TargetNoise(config.noise, environment.config.step_period, episode.seed)
    times: dict[str, float] = {}
    is_done = is_late = False
    while not is_done and not is_late:
        chunk = policy.infer(environment.observation)
        for target, hand in zip(chunk.target_poses()[: config.rows], chunk.actions[: config.rows, 6:], strict=True):
            pose = pose_matrix(pose_vector(target))  # what the row will hold, to the last bit
            builder.add(_row(environment, pose, hand))
            *_, is_done, is_late, info = environment.step(environment.action_to(noise.apply(pose), hand))
            for name, flag in info["done"].items():
                if flag:
                    times.setdefault(name, world.time_ns * 1e-9)
            if is_done or is_late:
                break
    if not is_done:
        return None
    marks = tuple(sorted(times.items(), key=lambda mark: mark[1]))
    return EpisodeNote(
        scene.instruction, "success", episode.seed, episode.variant, episode.task, f"expert {policy.name}",
        sub_tasks=marks,
    )  # fmt: skip


class Demonstrator:
    """Makes demonstrations; environments are made when they are first needed, and kept."""

    def __init__(self, folder: Path, config: DemonstrationConfig) -> None:
        self._folder, self._config = folder, config
        self._environments: dict[str, LaboratoryEnvironment] = {}

    def run(self, episode: Episode) -> FinishedEpisode | Failure:
        """One demonstration, in a folder of its own."""
        if episode.task not in self._environments:
            self._environments[episode.task] = LaboratoryEnvironment(episode.task, self._config.environment())
        name = f"{episode.task}-{episode.variant}-{episode.seed}"
        builder = EpisodeBuilder(self._folder / name, self._config.layout(), threads=1)
        try:
            note = demonstrate(self._environments[episode.task], episode, self._config, builder)
        except (SimulationError, PolicyError) as error:
            builder.discard()
            return Failure(episode, str(error))
        if note is None:
            builder.discard()
            return Failure(episode, "not done within the time limit")
        return builder.finish(note)


def demonstrations(
    folder: Path, config: DemonstrationConfig, episodes: Sequence[Episode], workers: int = 1
) -> Iterator[FinishedEpisode | Failure]:
    """Demonstrations in the order of the episodes, which are spread over processes."""
    if workers <= 1 or len(episodes) <= 1:
        yield from map(Demonstrator(folder, config).run, episodes)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(workers, len(episodes)), _start_worker, (folder, config)) as pool:
        yield from pool.imap(_run_in_worker, episodes)


def _row(environment: LaboratoryEnvironment, pose: Array, hand: Array) -> Row:
    seen = environment.observation
    return Row(
        time_ns=seen.observation_ns,
        exposures_ns={name: view.exposure_ns for name, view in seen.views.items()},
        images={name: view.image for name, view in seen.views.items()},
        state=proprioception_vector(seen.end_effector_pose, seen.joint_positions, seen.hand_positions),
        target_pose=pose,
        target_hand=hand,
    )


_demonstrator: Demonstrator | None = None  # of a worker process


def _start_worker(folder: Path, config: DemonstrationConfig) -> None:
    global _demonstrator
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process per core: threads in each would only wait for each other
    _demonstrator = Demonstrator(folder, config)


def _run_in_worker(episode: Episode) -> FinishedEpisode | Failure:
    assert _demonstrator is not None
    return _demonstrator.run(episode)


def generate(root: Path, config: DemonstrationConfig, episodes: Sequence[Episode], workers: int) -> tuple[int, int]:
    """Make the demonstrations that a dataset does not have yet; how many it has now, and how many failed.

    Raises:
        DatasetError: the dataset cannot be written, or is another one.
    """
    with DatasetWriter(root, config.layout()) as writer:
        failures = Journal(root / FAILED, "failed demonstrations")
        failed = {_episode(json.loads(line)) for _, line in failures.read().whole}
        kept = {Episode(e.note.scene, e.note.variant, e.note.seed or 0) for e in writer.entries}
        missing = [episode for episode in episodes if episode not in kept | failed]
        folder = writer.new_folder()
        for made in tqdm(demonstrations(folder, config, missing, workers), total=len(missing), unit="demonstration"):
            if isinstance(made, Failure):
                failures.append(json.dumps(vars(made.episode) | {"why": made.why}))
                failed.add(made.episode)
                tqdm.write(f"{made.episode.task}, {made.episode.variant}, seed {made.episode.seed}: {made.why}")
            else:
                writer.add(made)
        return len(writer.entries), len(failed & set(episodes))


def _episode(line: dict[str, str | int]) -> Episode:
    return Episode(str(line["task"]), str(line["variant"]), int(line["seed"]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the demonstrations that are missing in the dataset."""
    parser = argparse.ArgumentParser(prog="python -m vipa_sim.demonstrations", description=__doc__)
    parser.add_argument("dataset", type=Path, metavar="FOLDER")
    parser.add_argument("--tasks", default="", metavar="A,B", help="default: those with an expert")
    parser.add_argument("--variants", default="seen", metavar="X,Y", help="set-ups of the scene (default: seen)")
    parser.add_argument("--n", type=int, default=50, metavar="N", help="rollouts in each, with consecutive seeds")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--image-size", default="224x168", metavar="WIDTHxHEIGHT", help="px (default: 224x168)")
    parser.add_argument("--noise", type=float, default=0.0, metavar="M", help="pushes of the arm, m (default: none)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: the cores)")
    options = parser.parse_args(arguments)
    try:
        width, height = map(int, options.image_size.split("x"))
        config = DemonstrationConfig((width, height), noise=NoiseConfig(options.noise))
        tasks = options.tasks.split(",") if options.tasks else list(EXPERTS)
        for task in tasks:
            make_expert(task)
        episodes = planned(tasks, options.variants.split(","), range(options.seed, options.seed + options.n))
        kept, failed = generate(options.dataset, config, episodes, options.workers)
    except (DatasetError, SimulationError, VipaError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    told = f"{kept} episodes in {options.dataset}; {failed} of {len(episodes)} rollouts failed and were not kept"
    print(told, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
