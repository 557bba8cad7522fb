"""Results in a JSON file that is whole after each trial, so that an interrupted evaluation goes on where it was."""

import dataclasses
import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from vipa_inference.success_rates import wilson_interval
from vipa_training.evaluation.robosuite.episode import Episode
from vipa_training.evaluation.robosuite.errors import EvaluationError


class Results:
    """The trials of one policy.

    Args:
        path: of the file; what it holds already is kept, if it is of the same evaluation.
        settings: how the trials are done.
        policy_hash: of the policy.
        versions: of the packages that simulate.
        groups: names of tasks, by group; success is told of each group, too.

    Raises:
        EvaluationError: the file is of another evaluation, or none of results, or cannot be read.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        policy_hash: str,
        versions: Mapping[str, str],
        groups: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.episodes: list[Episode] = []
        self._path, self._groups = path, groups
        self._head: dict[str, Any] = {
            "policy_hash": policy_hash,
            "settings": dict(settings),
            "versions": dict(versions),
        }
        self._head = json.loads(json.dumps(self._head))  # as it is read again
        if path.exists():
            self._read()

    def __contains__(self, trial: tuple[int, int]) -> bool:
        """Whether there is a trial, by the number of its task and its own."""
        return any((episode.task, episode.trial) == trial for episode in self.episodes)

    @property
    def summary(self) -> dict[str, Any]:
        """Of the trials so far, see ``summarise``."""
        return summarise(self.episodes, self._groups or {})

    def add(self, episode: Episode) -> None:
        """Take a trial, and write the file anew.

        Raises:
            EvaluationError: it cannot be written; the old one is as it was.
        """
        self.episodes.append(episode)
        content = {
            **self._head,
            "summary": self.summary,
            "episodes": [dataclasses.asdict(one) for one in self.episodes],
        }
        partial = self._path.with_name(f".{self._path.name}.part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            os.replace(partial, self._path)
        except OSError as error:
            raise EvaluationError(
                f"{self._path}: cannot be written: {error.strerror}. Choose another --output"
            ) from None

    def _read(self) -> None:
        try:
            content = cast(dict[str, Any], json.loads(self._path.read_text(encoding="utf-8")))
            differing = [key for key, value in self._head.items() if content[key] != value]
            self.episodes = [Episode(**one) for one in content["episodes"]]
        except OSError as error:
            raise EvaluationError(f"{self._path}: cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise EvaluationError(f"{self._path}: holds no results of an evaluation. Choose another --output") from None
        if differing:
            raise EvaluationError(
                f"{self._path}: is of an evaluation with other {', '.join(differing)}. Choose another --output"
            )


def summarise(episodes: Sequence[Episode], groups: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Success of all, groups, tasks with Wilson's 95 % intervals; how fast it went, with the beginnings of trials."""
    tasks: dict[str, list[Episode]] = {}
    for episode in episodes:
        tasks.setdefault(episode.name, []).append(episode)
    steps, chunks = sum(one.steps for one in episodes), sum(one.chunks for one in episodes)
    return {
        "suite": _rate(episodes),
        "groups": {group: _rate([one for one in episodes if one.name in names]) for group, names in groups.items()},
        "tasks": {name: _rate(those) for name, those in tasks.items()},
        "steps_per_s": steps / max(sum(one.wall_s for one in episodes), 1e-9),
        "chunk_s": sum(one.chunk_s * one.chunks for one in episodes) / max(chunks, 1),
        "clipped_share": sum(one.clipped_steps for one in episodes) / max(steps, 1),
    }


def _rate(episodes: Sequence[Episode]) -> dict[str, float]:
    successes, trials = sum(one.success for one in episodes), len(episodes)
    low, high = wilson_interval(successes, trials)
    return {
        "successes": successes,
        "trials": trials,
        "rate": successes / trials if trials else 0.0,
        "low": low,
        "high": high,
    }
