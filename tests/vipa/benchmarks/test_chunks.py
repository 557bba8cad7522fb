"""The benchmark of seams, at a size that a test can afford."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch")

from vipa.benchmarks.chunks import ChunksConfig, Run, run_benchmark, run_figures
from vipa.benchmarks.orbit_policy import FitConfig, OrbitConfig, orbits
from vipa.control.kinematics import Kinematics
from vipa.result import Result

SMALL = ChunksConfig(seconds=6.0, fit=FitConfig(steps=150, batch=32, width=32, horizon=9))


@pytest.fixture(scope="module")
def result() -> Result:
    return run_benchmark(SMALL)


def test_figures_are_complete_and_finite(result: Result) -> None:
    for mode in ("none", "training", "inference"):
        for what in ("target", "commanded"):
            for percentile in ("p50", "p99", "max"):
                for unit in ("m_s", "rad_s"):
                    for name in (f"velocity_jump_{percentile}_{unit}", f"acceleration_jump_{percentile}_{unit}2"):
                        assert 0.0 < result.figures[f"{mode}_{what}_{name}"] < 1e3
        assert result.figures[f"{mode}_deviation_p50_mm"] > 0.0
        assert result.details[mode]["chunks"] > 30
    assert set(result.bounds) <= set(result.figures)


def test_the_chunks_of_this_policy_disagree_and_real_time_chunking_joins_them(result: Result) -> None:
    """Even a hastily trained head keeps to its prefix; the bounds are for the full size."""
    assert result.figures["none_target_velocity_jump_p50_m_s"] > 0.15
    for mode in ("training", "inference"):
        assert result.figures[f"{mode}_target_velocity_jump_p50_ratio"] < 0.7
        assert result.figures[f"{mode}_deviation_p50_mm"] < 0.7 * result.figures["none_deviation_p50_mm"]


def straight_run(jump: float) -> tuple[Run, Kinematics]:
    """Targets that move at 0.1 m/s and, at one seam, jump by ``jump`` m; the arm keeps to the old course."""
    kinematics = Kinematics()
    home = np.array(kinematics.config.rest_posture)
    targets = np.tile(kinematics.forward(home), (80, 1, 1))
    targets[:, 1, 3] += 0.005 * np.arange(80) / 4
    q, errors = kinematics.solve_path(targets, home)
    assert errors.max() < 1e-3
    targets[60:, 0, 3] += jump
    return Run(targets, q, np.array([50, 60]), Counter(), Counter({"joint_rate": 2})), kinematics


def test_figures_of_a_known_jump() -> None:
    """A step of 1 cm is two velocity jumps of 0.2 m/s, up and down, which differ by an acceleration of 8 m/s^2."""
    figures = run_figures(*straight_run(0.01), SMALL)
    assert figures["target_velocity_jump_max_m_s"] == pytest.approx(0.01 / 0.05, rel=1e-6)
    assert figures["target_acceleration_jump_max_m_s2"] == pytest.approx(2 * 0.01 / 0.05**2, rel=1e-6)
    assert figures["target_velocity_jump_p50_m_s"] == pytest.approx(0.5 * 0.01 / 0.05, rel=1e-3), "of two seams"
    assert figures["commanded_velocity_jump_max_m_s"] < 5e-3
    assert figures["target_velocity_jump_max_rad_s"] > 0.1 > figures["commanded_velocity_jump_max_rad_s"]
    assert figures["deviation_max_mm"] == pytest.approx(10.0, rel=0.02)
    assert (figures["chunks_refused"], figures["chunks_changed"]) == (0.0, 2.0)


def test_without_a_jump_there_is_none() -> None:
    figures = run_figures(*straight_run(0.0), SMALL)
    assert figures["target_velocity_jump_max_m_s"] < 1e-9
    assert figures["deviation_max_mm"] < 0.2


def test_orbits_are_smooth_and_go_either_way() -> None:
    times = np.arange(0.0, 1.0, 0.01)
    positions = orbits(400, times, OrbitConfig(), np.random.default_rng(0))
    velocity = np.diff(positions, axis=1) / 0.01
    assert np.linalg.norm(velocity, axis=-1).max() < 0.25
    assert np.linalg.norm(np.diff(velocity, axis=1), axis=-1).max() / 0.01 < 1.5
    turning = positions[:, -1, 0] * velocity[:, -1, 1] - positions[:, -1, 1] * velocity[:, -1, 0]
    assert 0.4 < (turning > 0).mean() < 0.6


@pytest.mark.parametrize(
    "values", [{"seconds": 1.0}, {"seconds": float("nan")}, {"seed": -1}, {"delay_steps": 0}, {"execute_steps": 0}]
)
def test_configurations_that_measure_nothing_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        replace(SMALL, **values)
