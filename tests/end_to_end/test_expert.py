"""A task of the paper through the whole graph and the genuine drivers, with its expert as the policy."""

import pytest
from end_to_end.cell import Cell, processes_of

pytestmark = pytest.mark.end_to_end


def test_the_expert_waters_the_plant_without_a_reflex_or_a_refusal(cell: Cell) -> None:
    status, output, result = cell.run("trial", "--task", "water_plant", "--policy", "expert", "--seed", "1")
    assert status == 0, output
    (task,) = result["details"]["report"]["tasks"]
    assert {name: rate["successes"] for name, rate in task["sub_tasks"].items()} == {
        "pick up watering can": 1,
        "locate plant": 1,
        "press spray handle": 1,
    }
    assert task["loop"]["executed_steps"][0] > 50
    assert task["loop"]["chunks_refused"] == [0, 0]
    assert "motion aborted" not in cell.log("laboratory")
    assert "REFLEX" not in cell.log("arm")
    assert processes_of(cell) == []
