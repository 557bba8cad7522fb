"""Outcomes, the choice of injections, and the result that is made of them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from vipa.config import read_yaml
from vipa.errors import ConfigurationError
from vipa.faults import loop_disk
from vipa.faults.lab_variants import write_variant
from vipa.faults.outcome import Outcome
from vipa.faults.policy_server import CLOSED_WAVE
from vipa.faults.suite import (
    INJECTIONS,
    VARIANTS,
    InjectionOptions,
    Place,
    make_result,
    read_outcomes,
    run_suite,
    select,
)
from vipa.graph import GraphArguments
from vipa.lab import lab_path, load_lab
from vipa.result import Result
from vipa_inference.registry import make_policy

GOOD = Outcome("stop", 3, {"rest_max_ms": 120.0}, {"rest_max_ms": ("<=", 300.0)}, {"rest_ms": [120.0]})


def test_an_outcome_holds_only_where_something_was_injected_and_every_bound_is_met() -> None:
    assert GOOD.holds
    assert not Outcome("stop", 0, {}).holds
    slow = Outcome("stop", 3, {"rest_max_ms": math.inf}, GOOD.bounds)
    assert not slow.holds
    assert "FAIL stop (3 times): rest_max_ms inf; rest_max_ms: inf, must be <= 300" in slow.line()
    assert not Outcome("stop", 3, {"rest_max_ms": math.nan}, GOOD.bounds).holds


def test_outcomes_survive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    path.write_text(json.dumps(GOOD.as_mapping()) + "\n" + '{"name": "half a li')
    assert read_outcomes(path) == [GOOD]


def test_the_result_names_each_figure_after_its_fault_and_fails_with_one_of_them() -> None:
    result = make_result([GOOD], ends_well=True)
    assert result.figures == {"stop_rest_max_ms": 120.0}
    assert result.passed
    assert not make_result([GOOD, Outcome("hand_unfinished", 0, {})], ends_well=True).passed
    assert not make_result([GOOD], ends_well=False).passed
    assert not make_result([], ends_well=True).passed


def test_injections_are_chosen_by_name_and_run_in_their_own_order() -> None:
    assert select("") == INJECTIONS
    assert [injection.name for injection in select("hand,camera")] == ["camera", "hand"]
    with pytest.raises(ConfigurationError, match="no injection 'hands'; known: "):
        select("hands")


@pytest.mark.parametrize("injection", INJECTIONS, ids=lambda injection: injection.name)
def test_every_injection_can_be_imported(injection: object) -> None:
    assert callable(injection.inject)  # type: ignore[attr-defined]


def test_random_moments_are_those_of_the_seed() -> None:
    first, again, other = InjectionOptions(seed=1), InjectionOptions(seed=1), InjectionOptions(seed=2)
    assert first.random("hand").random() == again.random("hand").random() != other.random("hand").random()


def test_a_real_laboratory_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="only in a simulated laboratory"):
        run_suite(select("stop"), InjectionOptions(), GraphArguments(lab="example_real"))


@pytest.mark.parametrize(
    ("ends_well", "added_ms", "holds"), [(True, 0.4, True), (False, 0.4, False), (True, 1.0, False)]
)
def test_the_loop_beside_a_disk_is_measured_in_graphs_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_well: bool, added_ms: float, holds: bool
) -> None:
    asked: list[object] = []

    def measure(arguments: GraphArguments, seconds: float, folder: Path, domain: int | None) -> Result:
        asked.extend((arguments.task, seconds > 10.0, folder.is_dir(), domain))
        figures = {"slow_ros_jitter_added_ms": added_ms}
        return Result("bench record-loop", ends_well, figures, {"slow_ros_jitter_added_ms": ("<", 1.0)})

    monkeypatch.setattr(loop_disk, "run_record_loop_benchmark", measure)
    result = run_suite(select("loop_disk"), InjectionOptions(folder=tmp_path), GraphArguments(task="reach"), 7)
    assert asked == ["reach", True, True, 7]
    assert result.figures["loop_disk_slow_ros_jitter_added_ms"] == added_ms
    assert result.passed == holds


def test_the_wave_of_the_suite_keeps_its_hand_closed() -> None:
    policy = make_policy("wave", **CLOSED_WAVE)
    assert {pose.hand for pose in policy.config.poses} == {0.2}  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", VARIANTS)
def test_a_laboratory_with_other_limits_differs_in_nothing_else(tmp_path: Path, place: Place) -> None:
    changes = VARIANTS[place]
    usual, other = load_lab("simulated"), load_lab(str(write_variant("simulated", changes, tmp_path)))
    assert other != usual
    limits = changes.get("control", {})
    gate = {name: getattr(usual.control.gate, name) for name in limits.get("gate", {})}
    control = {name: getattr(usual.control, name) for name in limits if name != "gate"}
    hand = {name: getattr(usual.hand, name) for name in changes.get("hand", {})}
    restored = replace(other.control, gate=replace(other.control.gate, **gate), **control)
    assert replace(other, control=restored, hand=replace(other.hand, **hand)) == usual


def test_a_serial_port_is_in_the_folder(tmp_path: Path) -> None:
    hand = load_lab(str(write_variant("simulated", VARIANTS["serial cell"], tmp_path))).hand
    assert (hand.link, hand.serial_port) == ("rtu", str(tmp_path / "hand"))


def test_files_beside_a_laboratory_are_found_by_the_other_one(tmp_path: Path) -> None:
    content = read_yaml(lab_path("simulated"))
    content["calibration"] = {"drift_check": "warn", "references": {"front": "front.yaml"}}
    content["hand"]["calibration"] = "ranges.yaml"
    lab = tmp_path / "mine.yaml"
    lab.write_text(yaml.safe_dump(content), encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    other = load_lab(str(write_variant(str(lab), {"control": {"observation_age_limit": 0.2}}, tmp_path / "elsewhere")))
    assert other.calibration.references == {"front": tmp_path / "front.yaml"}
    assert other.hand.calibration == tmp_path / "ranges.yaml"
