"""No finished trial is lost or run twice: resume, torn lines, kill -9 at any moment, two runners."""

import errno
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fabricated_trials import new_store, result_of, run_all
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa.errors import ConfigurationError, VipaError
from vipa.trials.store import TrialStore

ROOT = Path(__file__).parents[3]
RUNNER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from fabricated_trials import result_of
from vipa.trials.store import TrialStore
store = TrialStore(Path(sys.argv[1]))
with store.exclusive():
    print("ready", flush=True)
    for trial in store.progress().remaining:
        attempt = store.begin(trial.number)
        store.finish(trial.number, attempt, result_of(trial))
        print(trial.number, flush=True)
"""


def start_runner(folder):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'ros2_ws/src/vipa'}"}
    command = [sys.executable, "-c", RUNNER, str(folder), str(ROOT / "tests")]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_begin_and_finish(tmp_path):
    store = new_store(tmp_path / "new")
    first, *others = store.progress().remaining
    assert len(others) == 7
    assert store.begin(first.number) == 1
    assert store.progress().interrupted == ((first.number, 1),)
    store.finish(first.number, 1, result_of(first, 2, recording="recordings/1.mcap"))
    again = TrialStore(tmp_path / "new")
    progress = again.progress()
    assert progress.finished == {first.number: result_of(first, 2, recording="recordings/1.mcap")}
    assert progress.remaining == tuple(others)
    assert (progress.interrupted, progress.set_aside, progress.torn) == ((), (), "")


def test_a_finished_trial_is_not_run_again(tmp_path):
    store = new_store(tmp_path)
    first = store.plan.trials[0]
    store.finish(first.number, store.begin(first.number), result_of(first))
    with pytest.raises(VipaError, match="trial 1 is finished and must not be run again"):
        store.begin(first.number)


def test_a_result_of_another_trial_is_refused(tmp_path):
    store = new_store(tmp_path)
    first, second = store.plan.trials[:2]
    with pytest.raises(ValueError, match="is not the result of"):
        store.finish(first.number, store.begin(first.number), result_of(second))


def test_an_interrupted_attempt_is_known_and_repeated(tmp_path):
    store = new_store(tmp_path)
    first = store.plan.trials[0]
    assert [store.begin(first.number), store.begin(first.number)] == [1, 2]
    store.finish(first.number, 2, result_of(first))
    progress = store.progress()
    assert progress.interrupted == ((first.number, 1),)
    assert first.number in progress.finished


def test_aborts_count_as_failures_where_the_design_says_so(tmp_path):
    store = new_store(tmp_path, aborted="failure")
    first = store.plan.trials[0]
    store.finish(first.number, store.begin(first.number), result_of(first, 1, "aborted"))
    progress = store.progress()
    assert progress.finished[first.number].done == (True, False, False)
    assert progress.set_aside == ()


def test_aborts_are_repeated_where_the_design_says_so_but_not_for_ever(tmp_path):
    store = new_store(tmp_path, aborted="repeat", attempts=3)
    first = store.plan.trials[0]
    for attempt in (1, 2):
        assert store.begin(first.number) == attempt
        store.finish(first.number, attempt, result_of(first, 1, "aborted", detail=f"reflex {attempt}"))
        assert store.progress().remaining[0] == first
    store.finish(first.number, store.begin(first.number), result_of(first, 1, "aborted"))
    progress = store.progress()
    assert progress.finished[first.number].outcome == "aborted"
    assert [(number, result.detail) for number, result in progress.set_aside] == [(1, "reflex 1"), (1, "reflex 2")]


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A store whose four trials are finished, and its bytes."""
    store = new_store(tmp_path_factory.mktemp("full"), layouts=2)
    run_all(store, lambda trial: 3)
    return store, (store.folder / "trials.jsonl").read_bytes()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_file_cut_off_anywhere_keeps_every_whole_line(full, data):
    """The state after a crash: all but the cut-off line is there, and the plan goes on."""
    store, content = full
    kept = content[: data.draw(st.integers(0, len(content)))]
    (store.folder / "trials.jsonl").write_bytes(kept)
    *whole, tail = kept.decode().split("\n")
    records = [json.loads(line) for line in whole]
    before = store.progress()
    numbers = {record["trial"] for record in records if record["event"] == "finished"}
    assert numbers <= set(before.finished)
    assert before.torn == tail or (before.torn, json.loads(tail)["trial"]) == ("", 1 + len(numbers))
    if before.remaining:
        trial = before.remaining[0]
        store.finish(trial.number, store.begin(trial.number), result_of(trial))
        after = store.progress()
        assert set(after.finished) == {*before.finished, trial.number}
        assert after.torn == ""


def test_kill_9_at_any_moment_loses_and_repeats_nothing(tmp_path):
    store = new_store(tmp_path, layouts=10)
    rng, reported, kills = random.Random(4), [], 0
    while store.progress().remaining:
        runner = start_runner(tmp_path)
        lines = [runner.stdout.readline() for _ in range(rng.randint(1, 5))]
        time.sleep(rng.uniform(0.0, 0.03))
        kills += runner.poll() is None
        runner.kill()
        output, _ = runner.communicate(timeout=20)
        reported += [int(line) for line in "".join([*lines, output]).split() if line != "ready"]
        assert set(reported) <= set(store.progress().finished)
    assert len(reported) == len(set(reported))
    assert kills >= 3
    assert sorted(r.trial for r in store.records() if r.event == "finished") == [t.number for t in store.plan.trials]


def test_two_runners(tmp_path):
    store = new_store(tmp_path)
    with store.exclusive():
        runner = start_runner(tmp_path)
        _, errors = runner.communicate(timeout=20)
    assert runner.returncode == 1
    assert "its trials are being run already" in errors
    with store.exclusive():
        assert len(store.progress().remaining) == 8


def test_a_folder_that_has_trials_is_not_used_for_a_new_plan(tmp_path):
    new_store(tmp_path)
    with pytest.raises(ConfigurationError, match=r"has plan\.json already. Continue it with --resume"):
        new_store(tmp_path)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("nonsense", "Expecting value"),
        ('{"event": "finished", "trial": 1, "attempt": 1, "unix_time": 0.0}', "without a result"),
        ('{"event": "began", "trial": 1, "attempt": 1, "unix_time": 0.0}', "'began' is not one of"),
        ('{"event": "started", "trial": 99, "attempt": 1, "unix_time": 0.0}', "the plan has no such trial"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, complaint):
    store = new_store(tmp_path)
    store.begin(1)
    with (tmp_path / "trials.jsonl").open("a") as file:
        file.write(line + "\n")
    store_again = TrialStore(tmp_path)
    with pytest.raises(VipaError, match=rf"trials\.jsonl, line 2: .*{complaint}.* Correct or remove the line"):
        store_again.progress()


def test_a_trial_that_is_finished_twice_is_named(tmp_path):
    store = new_store(tmp_path)
    first = store.plan.trials[0]
    for _ in range(2):
        store.finish(first.number, 1, result_of(first))
    with pytest.raises(VipaError, match="line 2: trial 1 is finished twice"):
        store.progress()


def test_a_full_disk_is_reported_with_the_result_and_leaves_the_file_as_before(tmp_path, monkeypatch):
    store = new_store(tmp_path)
    first = store.plan.trials[0]
    attempt = store.begin(first.number)
    before = (tmp_path / "trials.jsonl").read_bytes()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(VipaError, match=r"No space left on device. The result was not kept: .*wipe_board"):
        store.finish(first.number, attempt, result_of(first))
    assert (tmp_path / "trials.jsonl").read_bytes() == before
