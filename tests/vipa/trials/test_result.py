"""A finished trial is never lost: round trips, cut-off lines, two writers, a full disk."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa.errors import VipaError
from vipa.trials.result import OUTCOMES, TrialLog, TrialResult

RESULT = TrialResult(
    task="reach",
    instruction="touch the red, then the green marker",
    seed=3,
    variant="seen",
    policy="scripted",
    policy_hash="ab" * 32,
    sub_tasks=("touch red", "touch green"),
    done=(True, False),
    times=(4.5, None),
    start_ns=1_700_000_000_123_456_789,
    duration=60.0,
    outcome="time_limit",
    detail="not done within 60 s",
    recording=None,
)


@settings(max_examples=60)
@given(
    texts=st.tuples(*[st.text(max_size=20)] * 4),
    times=st.lists(st.none() | st.floats(0, 1e6), min_size=1, max_size=5),
    seed=st.integers(0, 2**64 - 1),
    outcome=st.sampled_from([outcome for outcome in OUTCOMES if outcome != "succeeded"]),
)
def test_results_survive_json(texts, times, seed, outcome):
    done = tuple(moment is not None for moment in times)
    result = TrialResult(
        task=texts[0],
        instruction=texts[1],
        seed=seed,
        variant="unseen",
        policy="vipa",
        policy_hash="",
        sub_tasks=tuple(f"{texts[2]} {k}" for k in range(len(times))),
        done=done,
        times=tuple(times),
        start_ns=seed,
        duration=1.5,
        outcome="succeeded" if all(done) else outcome,
        detail=texts[3],
        recording=texts[3] or None,
    )
    line = result.to_json()
    assert "\n" not in line
    assert TrialResult.from_json(line) == result


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"outcome": "won"}, "outcome: 'won' is not one of"),
        ({"outcome": "succeeded"}, "outcome: succeeded contradicts done"),
        ({"done": [True]}, "sub_tasks, done, times: 2, 1, 2 values"),
        ({"seed": "3"}, "seed: expected int"),
        ({"colour": "red"}, "unknown key colour"),
    ],
)
def test_what_is_no_result_is_refused(change, complaint):
    line = json.dumps(json.loads(RESULT.to_json()) | change)
    with pytest.raises(VipaError, match=complaint):
        TrialResult.from_json(line)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_figures_are_finite(value):
    with pytest.raises(ValueError, match="figures"):
        dataclasses.replace(RESULT, figures={"inference_p50_ms": value})


def test_a_line_of_an_older_version_has_no_figures():
    content = json.loads(RESULT.to_json())
    del content["figures"]
    assert TrialResult.from_json(json.dumps(content)) == RESULT


def numbered(count):
    return [dataclasses.replace(RESULT, seed=seed) for seed in range(count)]


def test_results_come_back_in_order(tmp_path):
    log = TrialLog(tmp_path / "runs" / "trials.jsonl")
    assert log.read() == []
    for result in numbered(3):
        log.append(result)
    assert TrialLog(tmp_path / "runs" / "trials.jsonl").read() == numbered(3)


@pytest.mark.parametrize("kept", [1, 20, -2])
def test_a_line_cut_off_by_a_crash_is_skipped_and_mended(tmp_path, kept):
    path = tmp_path / "trials.jsonl"
    log = TrialLog(path)
    first, second, third = numbered(3)
    log.append(first)
    with path.open("a") as file:
        file.write(second.to_json()[:kept])
    assert log.read() == [first]
    log.append(third)
    assert log.read() == [first, third]


def test_a_last_line_that_lacks_only_its_end_is_kept(tmp_path):
    path = tmp_path / "trials.jsonl"
    first, second = numbered(2)
    path.write_text(first.to_json())
    assert TrialLog(path).read() == [first]
    TrialLog(path).append(second)
    assert TrialLog(path).read() == [first, second]


def test_a_character_cut_in_half_is_skipped_and_mended(tmp_path):
    path = tmp_path / "trials.jsonl"
    result = dataclasses.replace(RESULT, detail="größer")
    TrialLog(path).append(RESULT)
    line = result.to_json().encode()
    with path.open("ab") as file:
        file.write(line[: line.index("ö".encode()) + 1])
    assert TrialLog(path).read() == [RESULT]
    TrialLog(path).append(result)
    assert TrialLog(path).read() == [RESULT, result]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "trials.jsonl"
    path.write_text(f"{RESULT.to_json()}\nnonsense\n{RESULT.to_json()}\n")
    with pytest.raises(VipaError, match=r"trials.jsonl, line 2: no JSON: .* Correct or remove the line"):
        TrialLog(path).read()


def test_a_full_disk_is_reported_with_the_result():
    """/dev/full takes the place of the disk: every write fails with ENOSPC."""
    with pytest.raises(VipaError, match=r"No space left on device. The result was not kept: .*\"reach\""):
        TrialLog(Path("/dev/full")).append(RESULT)


def test_a_write_that_fits_only_in_part_leaves_the_log_as_before(tmp_path):
    path = tmp_path / "trials.jsonl"
    TrialLog(path).append(RESULT)
    before = path.read_bytes()
    script = (
        "import resource, signal, sys; from pathlib import Path; from vipa.trials.result import TrialLog, TrialResult\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 100}, {len(before) + 100}))\n"
        "log = TrialLog(Path(sys.argv[1])); log.append(log.read()[0])\n"
    )
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'ros2_ws/src/vipa'}"}
    ended = subprocess.run(
        [sys.executable, "-c", script, str(path)], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "no space left for the line. The result was not kept" in ended.stderr
    assert path.read_bytes() == before


def test_an_unreadable_log_is_named(tmp_path):
    with pytest.raises(VipaError, match=r"trial log .*: Is a directory"):
        TrialLog(tmp_path).read()
    with pytest.raises(VipaError, match=r"trial log .*The result was not kept"):
        TrialLog(tmp_path).append(RESULT)


def test_two_trial_runners_can_share_a_log(tmp_path):
    path = tmp_path / "trials.jsonl"
    script = (
        "import dataclasses, sys; from pathlib import Path; from vipa.trials.result import TrialLog, TrialResult\n"
        "result = TrialResult.from_json(sys.argv[2])\n"
        "for _ in range(20): TrialLog(Path(sys.argv[1])).append(result)\n"
    )
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'ros2_ws/src/vipa'}"}
    command = [sys.executable, "-c", script, str(path), RESULT.to_json()]
    runners = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [runner.wait(60) for runner in runners] == [0, 0]
    assert TrialLog(path).read() == [RESULT] * 40
