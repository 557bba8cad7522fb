"""Exactly one of policy and operator drives the arm."""

from hypothesis import given
from hypothesis import strategies as st

from vipa.control.arbitration import TELEOP, Arbiter
from vipa_inference.policy import HOLD_INSTRUCTION

MS = 1_000_000


def test_the_policy_drives_until_the_operator_takes_over_and_again_after_a_new_instruction() -> None:
    arbiter = Arbiter()
    assert arbiter.refusal("vipa", 0) is None
    assert arbiter.refusal(TELEOP, 10 * MS) is None
    for now in (11, 100, 1000, 100_000):
        refusal = arbiter.refusal("vipa", now * MS)
        assert refusal is not None
        assert refusal.rule == "teleop"
    arbiter.instructed(HOLD_INSTRUCTION, 100_000 * MS)
    assert arbiter.refusal("vipa", 100_000 * MS) is not None
    arbiter.instructed("wipe the board", 100_001 * MS)
    assert arbiter.refusal("vipa", 100_001 * MS) is None


def test_an_instruction_that_comes_while_the_operator_drives_does_not_count() -> None:
    arbiter = Arbiter()
    arbiter.refusal(TELEOP, 1000 * MS)
    arbiter.instructed("wipe the board", 1200 * MS)
    assert arbiter.refusal("vipa", 5000 * MS) is not None


def test_after_a_jump_of_the_clock_an_instruction_gives_the_arm_back() -> None:
    arbiter = Arbiter()
    arbiter.refusal(TELEOP, 100_000 * MS)
    arbiter.instructed("wipe the board", 10 * MS)
    assert arbiter.refusal("vipa", 20 * MS) is None


steps = st.lists(st.tuples(st.sampled_from(["teleop", "policy", "instruct", "hold"]), st.integers(1, 400)), max_size=40)


@given(steps)
def test_between_a_chunk_of_the_operator_and_one_of_the_policy_lie_his_release_and_an_instruction(
    script: list[tuple[str, int]],
) -> None:
    arbiter, now, instructed = Arbiter(), 0, True
    last_teleop = -(10**9)
    for event, pause in script:
        now += pause
        if event == "teleop":
            assert arbiter.refusal(TELEOP, now * MS) is None
            last_teleop, instructed = now, False
        elif event == "policy":
            assert (arbiter.refusal("scripted", now * MS) is None) == instructed
        else:
            arbiter.instructed("go" if event == "instruct" else HOLD_INSTRUCTION, now * MS)
            instructed = instructed or (event == "instruct" and now - last_teleop > 300)
