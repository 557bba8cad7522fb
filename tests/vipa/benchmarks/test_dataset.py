"""The benchmark of datasets on a small one: it measures, and its bounds can fail."""

from pathlib import Path

import pytest

from vipa.benchmarks.dataset import DatasetBenchmarkConfig, run_dataset_benchmark


def test_figures(tmp_path: Path) -> None:
    said: list[str] = []
    config = DatasetBenchmarkConfig(rows=12, episodes=2, size=64, reads=5)
    result = run_dataset_benchmark(config, tmp_path, said.append)
    assert result.figures["problems"] == 0
    assert result.figures["pictures_per_s"] == pytest.approx(2 * result.figures["rows_per_s"])
    assert result.figures["ratio_to_lerobot_default"] == pytest.approx(result.figures["rows_per_s"] / 51)
    assert result.figures["random_read_ms"] > 0
    assert "not measured here" in str(result.details["lerobot"])
    assert result.bounds["ratio_to_lerobot_default"] == (">=", 5.0)
    assert said
    assert not list(tmp_path.iterdir()), "the dataset is removed"


def test_what_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="rows: 0"):
        DatasetBenchmarkConfig(rows=0)
