"""A writer that is killed at any moment: earlier episodes are whole, and the next writer goes on."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fabricated_datasets import LAYOUT, finished, number_in

from vipa_training.data.check import check_dataset
from vipa_training.data.reader import Dataset
from vipa_training.data.writer import PARTIAL, DatasetWriter

PROGRAM = """
import sys
from pathlib import Path
from fabricated_datasets import LAYOUT, finished
from vipa_training.data.writer import DatasetWriter
with DatasetWriter(Path(sys.argv[1]), LAYOUT) as writer:
    print("begun", flush=True)
    for number in range(len(writer.entries), 1000):
        writer.add(finished(writer.begin(), 10, number % 40))
        print(number, flush=True)
"""


def kill_a_writer(root: Path, after: float) -> int:
    """Write until killed; how many episodes were reported."""
    command, environment = [sys.executable, "-c", PROGRAM, str(root)], os.environ | {"PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        time.sleep(after)
        child.send_signal(signal.SIGKILL)
        return len([line for line in child.stdout if line.endswith("\n")])


@pytest.mark.parametrize("seed", range(3))
def test_killed_and_continued(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    total = 0
    for _ in range(2):
        reported = kill_a_writer(tmp_path, rng.uniform(0.1, 0.6))
        with Dataset(tmp_path) as dataset:
            assert len(dataset.episodes) in (total + reported, total + reported + 1)
            total = len(dataset.episodes)
            for episode in dataset.episodes:
                frames = [number_in(f) for _, f in dataset.all_frames(episode, "observation.images.front")]
                assert frames == [100 * (episode.number % 40) + k for k in range(10)]
                assert len(dataset.rows(episode)["action"]) == 10
        problems = [line for line in check_dataset(tmp_path) if line.startswith("episode")]
        assert not problems
    with DatasetWriter(tmp_path, LAYOUT) as writer:
        assert len(writer.entries) == total
        writer.add(finished(writer.begin(), 10, total % 40))
    assert not (tmp_path / PARTIAL).exists()
    assert not list(check_dataset(tmp_path))
