"""How long a state must last to count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipa_sim.scenes.judging import Lasting

MS = 1_000_000


def course(condition: Lasting, states: list[bool], step_ms: int = 10) -> list[bool]:
    return [condition.update(step_ms * MS * i, state) for i, state in enumerate(states)]


@pytest.mark.parametrize(
    ("states", "counts"),
    [
        pytest.param([True] * 10, False, id="one-step-too-short"),
        pytest.param([True] * 11, True, id="long-enough"),
        pytest.param([True] * 6 + [False] * 2 + [True] * 6, True, id="short-gap-bridged"),
        pytest.param([True] * 6 + [False] * 4 + [True] * 6, False, id="long-gap-starts-anew"),
        pytest.param([True] * 20 + [False], False, id="over"),
    ],
)
def test_state_counts_once_it_has_lasted(states: list[bool], counts: bool) -> None:
    assert course(Lasting(0.1, gap_s=0.02), states)[-1] is counts


@given(states=st.lists(st.booleans(), max_size=60))
def test_counts_only_while_met_and_after_enough_of_it(states: list[bool]) -> None:
    answers = course(Lasting(0.1, gap_s=0.02), states)
    for i, answer in enumerate(answers):
        if answer:
            assert states[i]
            assert sum(states[: i + 1]) >= 10


def test_reset_forgets() -> None:
    condition = Lasting(0.1)
    course(condition, [True] * 30)
    condition.reset()
    assert not any(course(condition, [True] * 10))


@pytest.mark.parametrize(("duration", "gap"), [(0.1, 0.1), (0.1, -0.01), (0.0, 0.0)])
def test_gap_must_be_shorter_than_the_duration(duration: float, gap: float) -> None:
    with pytest.raises(ValueError, match=r"gap_s: must be"):
        Lasting(duration, gap)
