"""The supervisor's decisions: order of activation, missing nodes, errors, stop and resume."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipa.supervision import ACTIVE, INACTIVE, MISSING, UNCONFIGURED, CellState, NodeReport, Supervision

NODES = ("front", "arm", "policy", "controller")
TIME_OUT = 0.5


def beat(supervision: Supervision, node: str, state: str, now: float, error: str = "") -> None:
    supervision.heartbeat(node, NodeReport(state, bool(error), error, now))


def everything(state: str, now: float) -> Supervision:
    supervision = Supervision(NODES, TIME_OUT)
    for node in NODES:
        beat(supervision, node, state, now)
    return supervision


def test_a_cell_comes_up_in_order() -> None:
    supervision = everything(UNCONFIGURED, 0.0)
    states = dict.fromkeys(NODES, UNCONFIGURED)
    transitions: list[tuple[str, str]] = []
    while (transition := supervision.next_transition(0.0)) is not None:
        transitions.append(transition)
        assert not supervision.verdict(0.0).motion_allowed
        node, name = transition
        states[node] = INACTIVE if name == "configure" else ACTIVE
        beat(supervision, node, states[node], 0.0)
    assert transitions == [(n, "configure") for n in NODES] + [(n, "activate") for n in NODES]
    assert supervision.verdict(0.0).state == CellState.READY


def test_nothing_is_known_before_the_first_heartbeat() -> None:
    supervision = Supervision(NODES, TIME_OUT)
    assert supervision.lifecycle_states(0.0) == (MISSING,) * len(NODES)
    assert supervision.verdict(0.0).state == CellState.STARTING
    assert supervision.next_transition(0.0) is None


def test_a_silent_node_is_a_fault_and_its_return_clears_it() -> None:
    supervision = everything(ACTIVE, 0.0)
    assert supervision.verdict(0.1).motion_allowed
    for node in NODES:
        if node != "arm":
            beat(supervision, node, ACTIVE, 1.0)
    verdict = supervision.verdict(1.0)
    assert (verdict.state, verdict.motion_allowed) == (CellState.FAULT, False)
    assert "arm" in verdict.reason
    beat(supervision, "arm", UNCONFIGURED, 1.1)
    assert supervision.next_transition(1.1) == ("arm", "configure")
    beat(supervision, "arm", INACTIVE, 1.2)
    assert supervision.next_transition(1.2) == ("arm", "activate")
    beat(supervision, "arm", ACTIVE, 1.3)
    assert supervision.verdict(1.3).state == CellState.READY


def test_a_node_whose_process_ended_is_missing_at_once() -> None:
    supervision = everything(ACTIVE, 0.0)
    assert supervision.verdict(0.1).motion_allowed
    supervision.ended("arm")
    verdict = supervision.verdict(0.1)
    assert (verdict.state, verdict.reason) == (CellState.FAULT, "arm: no heartbeat")
    beat(supervision, "arm", ACTIVE, 0.2)
    assert supervision.verdict(0.2).motion_allowed


def test_a_nodes_error_is_the_reason() -> None:
    supervision = everything(ACTIVE, 0.0)
    beat(supervision, "arm", ACTIVE, 0.0, error="arm: REFLEX: cartesian_reflex")
    verdict = supervision.verdict(0.0)
    assert verdict.state == CellState.FAULT
    assert verdict.reason == "arm: REFLEX: cartesian_reflex"
    assert not verdict.motion_allowed


def test_an_error_while_starting_is_a_fault_with_its_message() -> None:
    supervision = everything(UNCONFIGURED, 0.0)
    beat(supervision, "front", UNCONFIGURED, 0.0, error="camera front: no L515 with serial f0123")
    verdict = supervision.verdict(0.0)
    assert (verdict.state, verdict.reason) == (CellState.FAULT, "camera front: no L515 with serial f0123")


def test_a_stop_holds_until_resume() -> None:
    supervision = everything(ACTIVE, 0.0)
    supervision.stop("operator")
    assert supervision.verdict(0.0).state == CellState.STOPPED
    for node in NODES:
        beat(supervision, node, ACTIVE, 0.4)
    assert not supervision.verdict(0.4).motion_allowed
    assert supervision.resume(0.4) == ""
    assert supervision.verdict(0.4).motion_allowed


def test_resume_says_what_is_missing() -> None:
    supervision = everything(ACTIVE, 0.0)
    supervision.stop("operator")
    assert "no heartbeat" in supervision.resume(10.0)
    assert not supervision.verdict(10.0).motion_allowed


def test_a_policy_that_is_lost_stops_the_cell_until_resume_also_when_it_comes_back() -> None:
    supervision = Supervision(NODES, TIME_OUT, waits_for_operator=("policy",))
    for node in NODES:
        beat(supervision, node, UNCONFIGURED, 0.0)
    beat(supervision, "policy", UNCONFIGURED, 0.0, error="policy: server cannot be reached")
    assert supervision.verdict(0.0).state == CellState.FAULT
    for node in NODES:
        beat(supervision, node, ACTIVE, 0.1)
    assert supervision.verdict(0.1).motion_allowed, "it was never ready: to come up late is no loss"
    beat(supervision, "arm", ACTIVE, 0.2, error="arm: REFLEX")
    beat(supervision, "arm", ACTIVE, 0.2)
    assert supervision.verdict(0.2).motion_allowed, "the errors of other nodes clear by themselves"
    beat(supervision, "policy", ACTIVE, 0.3, error="policy: server does not answer")
    verdict = supervision.verdict(0.3)
    assert (verdict.state, verdict.motion_allowed) == (CellState.STOPPED, False)
    assert verdict.reason == "policy: server does not answer. Once that is mended: vipa cell reset"
    assert "does not answer" in supervision.resume(0.3)
    beat(supervision, "policy", ACTIVE, 0.35, error="policy: server does not answer")
    for node in NODES:
        beat(supervision, node, ACTIVE, 0.4)
    assert supervision.verdict(0.4).state == CellState.STOPPED, "the server is back, nobody has said that it may go on"
    assert supervision.resume(0.4) == ""
    assert supervision.verdict(0.4).motion_allowed


def test_the_reason_of_a_stop_is_kept_when_the_policy_is_lost_later() -> None:
    supervision = Supervision(NODES, TIME_OUT, waits_for_operator=("policy",))
    for node in NODES:
        beat(supervision, node, ACTIVE, 0.0)
    assert supervision.verdict(0.0).motion_allowed
    supervision.stop("operator")
    beat(supervision, "policy", ACTIVE, 0.1, error="policy: server does not answer")
    assert supervision.verdict(0.1).reason == "operator"


def test_unknown_nodes_are_ignored() -> None:
    supervision = Supervision(NODES, TIME_OUT)
    beat(supervision, "stranger", ACTIVE, 0.0)
    assert supervision.lifecycle_states(0.0) == (MISSING,) * len(NODES)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(NODES),
            st.sampled_from([UNCONFIGURED, INACTIVE, ACTIVE]),
            st.booleans(),
            st.floats(0.0, 0.4),
        ),
        max_size=30,
    ),
    st.booleans(),
)
def test_motion_needs_every_node_fresh_active_and_without_error(
    beats: list[tuple[str, str, bool, float]], stopped: bool
) -> None:
    supervision, now = Supervision(NODES, TIME_OUT), 0.0
    newest: dict[str, tuple[str, bool, float]] = {}
    for node, state, error, pause in beats:
        now += pause
        beat(supervision, node, state, now, error="broken" if error else "")
        newest[node] = (state, error, now)
    if stopped:
        supervision.stop("operator")
    good = all(
        node in newest and newest[node][0] == ACTIVE and not newest[node][1] and now - newest[node][2] <= TIME_OUT
        for node in NODES
    )
    assert supervision.verdict(now).motion_allowed == (good and not stopped)


@pytest.mark.parametrize("lost", NODES)
def test_no_transition_is_asked_of_a_node_behind_a_missing_one(lost: str) -> None:
    supervision = Supervision(NODES, TIME_OUT)
    for node in NODES:
        if node != lost:
            beat(supervision, node, UNCONFIGURED, 0.0)
    transition = supervision.next_transition(0.0)
    before = NODES[: NODES.index(lost)]
    assert transition == ((before[0], "configure") if before else None)
