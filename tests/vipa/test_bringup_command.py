"""What ``vipa bringup`` asks the graph for."""

import argparse

import pytest

from vipa.cli import make_parser
from vipa.commands.bringup import graph_arguments
from vipa.trials.referee import OPERATOR_TASKS


def options(*words: str) -> argparse.Namespace:
    return make_parser().parse_args(["bringup", *words])


@pytest.mark.parametrize("task", sorted(OPERATOR_TASKS))
@pytest.mark.parametrize("policy", ["vipa", "remote"])
def test_a_model_in_the_simulated_laboratory_is_told_the_task(policy: str, task: str) -> None:
    assert graph_arguments(options("--policy", policy, "--task", task)).instruction == OPERATOR_TASKS[task].instruction


def test_what_is_said_counts() -> None:
    assert graph_arguments(options("--policy", "vipa", "--instruction", "wave")).instruction == "wave"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--policy", "scripted"),
        ("--policy", "vipa", "--task", "juggle"),
        ("--policy", "vipa", "--lab", "example_real"),
    ],
)
def test_else_nothing_is_said(words: tuple[str, ...]) -> None:
    assert graph_arguments(options(*words)).instruction == ""
