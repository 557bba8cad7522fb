"""A task of the paper through the whole graph and the genuine drivers, with its expert as the policy."""

import pytest
from end_to_end.cell import Cell, processes_of

from vipa.recording.store import list_episodes
from vipa.trials.result import TrialLog
from vipa_sim.environment import EnvironmentConfig, LaboratoryEnvironment
from vipa_sim.experts import WorldExpert, make_expert
from vipa_sim.rollout import rollout

pytestmark = pytest.mark.end_to_end

TASK, SEED = "water_plant", 1


def test_the_graph_ends_in_the_sub_tasks_of_the_environment_without_a_reflex_or_a_refusal(cell: Cell) -> None:
    environment = LaboratoryEnvironment(TASK, EnvironmentConfig(render=False))
    expected = rollout(environment, WorldExpert(make_expert(TASK), environment.world), SEED)
    recordings, log = cell.folder / "recordings", cell.folder / "trials.jsonl"
    options = ["--policy", "expert", "--seed", str(SEED), "--log", str(log), "--recordings", str(recordings)]
    status, output, result = cell.run("trial", "--task", TASK, "--record", *options)
    assert status == 0, output
    (task,) = result["details"]["report"]["tasks"]
    done = {name: bool(rate["successes"]) for name, rate in task["sub_tasks"].items()}
    assert done == dict(zip(expected.sub_tasks, expected.done, strict=True))
    assert all(done.values())
    loop = task["loop"]
    assert loop["executed_steps"][0] > 50
    assert loop["chunks_refused"] == loop["gate_violations_reaching_driver"] == loop["reflexes"] == [0, 0]
    assert "motion aborted" not in cell.log("laboratory")
    assert "REFLEX" not in cell.log("arm")
    assert processes_of(cell) == []

    (trial,), (entry,) = TrialLog(log).read(), list_episodes(recordings)
    assert trial.recording == str(entry.folder)
    assert entry.episode is not None, entry.problem
    assert (entry.episode.outcome, entry.episode.instruction) == ("success", trial.instruction)
    assert entry.episode.duration == pytest.approx(trial.duration, abs=1.0)
