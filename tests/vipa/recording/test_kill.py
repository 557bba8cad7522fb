"""kill -9 while a whole cell is recorded: what the last chunk did not hold is lost, nothing else is."""

import random

import pytest

from vipa.benchmarks.record import BOUNDS, RecordConfig, kill_one, run_record_benchmark, sustain
from vipa.benchmarks.synthetic_robot import SyntheticRobotConfig
from vipa.errors import VipaError
from vipa.recording.store import list_episodes

SHORT = RecordConfig(seconds=1.0, robot=SyntheticRobotConfig(height=120, width=160))


def test_killed_recorders_lose_only_the_tail(tmp_path):
    sustain(tmp_path, SHORT)
    rng = random.Random(3)
    for number in range(2, 5):
        kill = kill_one(tmp_path, rng.uniform(0.2, 1.5))
        assert kill.is_recovered
        assert kill.are_others_same
        assert kill.bytes_lost > 0 or kill.tail_lost < 0.05
        assert kill.tail_lost < 5.0  # how long exactly depends on the machine: vipa bench record judges that
        assert len(list_episodes(tmp_path)) == number
    assert all(entry.episode is not None for entry in list_episodes(tmp_path))


def test_the_benchmark_measures_everything_that_it_judges(tmp_path):
    config = RecordConfig(seconds=0.5, kills=1, robot=SHORT.robot)
    said = []
    result = run_record_benchmark(config, tmp_path, said.append)
    assert set(BOUNDS) <= set(result.figures)
    assert result.figures["frames_missing"] == 0
    assert result.figures["dropped"] == 0
    assert result.figures["recovered_share"] == 1
    assert result.figures["megabytes_per_second"] > 0.1
    assert 0 < result.figures["core_share"] < 3
    assert len(said) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_recorder_that_fails_by_itself_is_not_taken_for_a_killed_one(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VipaError, match="ended by itself"):
        kill_one(tmp_path / "file", 0.1)


@pytest.mark.parametrize("changes", [{"seconds": 0.0}, {"kills": 0}])
def test_a_benchmark_of_nothing_is_refused(changes):
    with pytest.raises(ValueError, match="must be positive"):
        RecordConfig(**changes)
