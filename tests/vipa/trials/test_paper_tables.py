"""Tables 5 and 6 of the paper, against independent counts of them."""

import pytest

from vipa.trials.paper_tables import PAPER_RATES, PAPER_TRIALS, paper_rates


def test_there_are_all_cells():
    assert sum(rate.table == 5 for rate in PAPER_RATES) == 4 * 3
    assert sum(rate.table == 6 for rate in PAPER_RATES) == 4 * 2
    assert len({(r.table, r.task, r.model) for r in PAPER_RATES}) == 20


@pytest.mark.parametrize(
    ("variant", "task", "model", "sub_task", "whole_task"),
    [
        ("seen", "put_three_obj", "VIPA-VLA", 52, 10),
        ("seen", "wipe_board", "VIPA-VLA", 83, 60),
        ("seen", "water_plant", "VIPA-VLA", 57, 50),
        ("seen", "put_three_obj", "GR00T N1.5", 48, 40),
        ("seen", "wipe_board", "InternVL3.5", 43, 10),
        ("seen", "water_plant", "Being-H0", 37, 20),
        ("unseen_cloth", "put_three_obj", "VIPA-VLA", 44, 20),
        ("unseen_marker", "wipe_board", "VIPA-VLA", 83, 50),
        ("unseen_cloth", "put_three_obj", "Being-H0", 16, 0),
    ],
)
def test_cells(variant, task, model, sub_task, whole_task):
    (rate,) = [rate for rate in paper_rates(task, variant) if rate.model == model]
    assert (rate.sub_task, rate.whole_task) == (sub_task / 100, whole_task / 100)


def test_sub_task_rates_are_shares_of_ten_trials():
    """10 trials of 5 or 3 sub-tasks: every rate is a whole number of sub-tasks, to the rounding of the table."""
    for rate in PAPER_RATES:
        total = PAPER_TRIALS * (5 if rate.task == "put_three_obj" else 3)
        assert abs(round(rate.sub_task * total) / total - rate.sub_task) <= 0.005
        assert (rate.whole_task * PAPER_TRIALS) % 1 == pytest.approx(0.0, abs=1e-9)


def test_what_the_paper_has_not():
    assert paper_rates("water_plant", "unseen_cloth") == ()
    assert paper_rates("put_three_obj", "lighting") == ()
    assert paper_rates("reach", "seen") == ()
