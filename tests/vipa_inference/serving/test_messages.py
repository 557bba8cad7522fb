"""Requests and answers: without loss, strict, and each error names what is wrong."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.vipa_inference.serving.running import observation
from vipa_inference.color_markers import find_markers
from vipa_inference.policy import CameraView, CommittedPlan, Observation
from vipa_inference.scripted import ReachPolicy, ScriptedPolicy, WavePolicy
from vipa_inference.serving.answer import make_answer, make_metadata, read_answer, read_metadata
from vipa_inference.serving.codec import MessageError, pack, unpack
from vipa_inference.serving.request import make_request, read_request

FLOATS = st.floats(-1e3, 1e3)
NANOSECONDS = st.integers(0, 2**63 - 1)


def floats(*shape: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float64, shape, elements=FLOATS)


VIEWS = st.builds(
    CameraView,
    image=hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 4), st.just(3))),
    exposure_ns=NANOSECONDS,
    intrinsics=floats(3, 3),
    camera_to_base=floats(4, 4),
)
PLANS = st.integers(1, 3).flatmap(
    lambda n: st.builds(CommittedPlan, times_ns=hnp.arrays(np.int64, n), poses=floats(n, 4, 4), hand=floats(n, 6))
)
OBSERVATIONS = st.builds(
    Observation,
    views=st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), VIEWS, min_size=1, max_size=3),
    end_effector_pose=floats(4, 4),
    joint_positions=floats(7),
    hand_positions=floats(6),
    instruction=st.text(max_size=20),
    committed=st.none() | PLANS,
)


@given(OBSERVATIONS, st.booleans())
@settings(max_examples=30, deadline=None)
def test_an_observation_arrives_as_it_was_sent(sent: Observation, reset: bool) -> None:
    request = read_request(unpack(pack(make_request(sent, reset))), received_ns=7)
    assert request.reset == reset
    assert request.observation is not None
    np.testing.assert_equal(dataclasses.asdict(request.observation), dataclasses.asdict(sent))


def changed(**changes: Any) -> dict[str, Any]:
    """A good request with other values; None leaves the key out, "__" in a name stands for "/"."""
    message = {**make_request(observation()), **{key.replace("__", "/"): value for key, value in changes.items()}}
    return {key: value for key, value in message.items() if value is not None}


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ([], "expected a map of keys, found list"),
        ({}, "at least one camera"),
        ({"reset": False}, "at least one camera"),
        ({"reset": 1}, "reset: expected true or false, found 1"),
        (changed(observation__images__front=None, observation__images__side=None), "at least one camera"),
        (changed(observation__images__front=None), "unknown keys: observation/camera_to_base/front"),
        (changed(observation__images__=np.zeros((2, 2, 3), np.uint8)), "at least one camera"),
        (changed(observation__image=1), "unknown keys: observation/image"),
        (changed(prompt=None), "prompt is missing, expected text"),
        (changed(prompt=b"wave"), "prompt: expected text, found bytes"),
        (changed(observation__joint_positions=None), "observation/joint_positions is missing"),
        (changed(observation__joint_positions=np.zeros(6)), "expected an array of float64 (7), found .* (6,)"),
        (changed(observation__joint_positions=[0.0] * 7), "expected an array of float64 (7), found list"),
        (changed(observation__joint_positions=np.zeros(7, bool)), "found an array of bool"),
        (changed(observation__images__front=np.zeros((2, 2, 4), np.uint8)), "uint8 (any, any, 3), found .* (2, 2, 4)"),
        (changed(observation__images__front=np.zeros((3, 2, 2), np.uint8)), "uint8 (any, any, 3), found .* (3, 2, 2)"),
        (changed(observation__images__front=np.zeros((2, 2, 3))), "expected an array of uint8"),
        (changed(observation__images__front=np.zeros((2, 2, 3), int)), "expected an array of uint8"),
        (changed(observation__exposure_ns__front=None), "observation/exposure_ns/front is missing"),
        (changed(observation__exposure_ns__front=1.0), "expected a whole number"),
        (changed(observation__exposure_ns__front=True), "expected a whole number"),
        (changed(observation__exposure_ns__front=-1), "expected a whole number"),
        (changed(observation__exposure_ns__front=2**63), "expected a whole number"),
        (changed(committed__times_ns=np.zeros(2, np.int64)), "committed/poses is missing"),
        (changed(committed__times_ns=np.zeros(2)), "committed/times_ns: expected an array of int64 (any)"),
        (changed(committed__other=1), "committed/times_ns is missing"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(message: Any, complaint: str) -> None:
    with pytest.raises(MessageError) as caught:
        read_request(message, received_ns=0)
    assert str(caught.value).startswith("request: ")
    for part in complaint.split(".*"):
        assert part in str(caught.value)


def test_a_reset_may_come_alone() -> None:
    assert read_request({"reset": True}, 0).observation is None


def test_floats_of_any_precision_and_whole_numbers_are_taken_for_floats() -> None:
    message = changed(
        observation__joint_positions=np.arange(7), observation__hand_positions=np.full(6, 0.5, np.float32)
    )
    request = read_request(message, 0)
    assert request.observation is not None
    assert request.observation.joint_positions.dtype == np.float64
    assert list(request.observation.joint_positions) == list(range(7))
    assert list(request.observation.hand_positions) == [0.5] * 6


def without_geometry(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key.split("/")[1:2] not in (
        ["exposure_ns"], ["intrinsics"], ["camera_to_base"])}  # fmt: skip


def test_without_exposures_the_images_are_as_old_as_the_request() -> None:
    request = read_request(without_geometry(changed()), received_ns=123)
    assert request.observation is not None
    assert {view.exposure_ns for view in request.observation.views.values()} == {123}
    view = request.observation.views["front"]
    width = view.image.shape[1]
    assert np.degrees(2 * np.arctan(width / 2 / view.intrinsics[0, 0])) == pytest.approx(60.0)
    assert np.array_equal(view.camera_to_base, np.eye(4))


def test_without_camera_poses_nothing_is_located(cell: Any, sphere: Any) -> None:
    views = cell.views([sphere("red", np.array([0.45, 0.0, 0.15])), sphere("green", np.array([0.5, 0.1, 0.15]))])
    seen = dataclasses.replace(observation(), views=views)
    assert set(find_markers(views)) == {"red", "green"}
    request = read_request(without_geometry(make_request(seen)), 0)
    assert request.observation is not None
    assert find_markers(request.observation.views) == {}


def test_a_chunk_arrives_as_it_was_sent() -> None:
    asked = observation()
    chunk = WavePolicy().infer(asked)
    message = unpack(pack(make_answer(chunk, infer_ms=1.5)))
    assert message["actions"].dtype == np.float32
    assert message["server_timing"] == {"infer_ms": 1.5}
    found = read_answer({**message, "further": 1}, asked)
    np.testing.assert_allclose(found.actions, chunk.actions, atol=1e-6)
    assert (found.policy, found.policy_hash, found.instruction) == ("wave", chunk.policy_hash, "wave")
    assert (found.step_period, found.observation_ns) == (chunk.step_period, chunk.observation_ns)
    assert found.exposures_ns == chunk.exposures_ns
    assert np.array_equal(found.reference_pose, chunk.reference_pose)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"actions": np.zeros((16, 11))}, "actions: expected"),
        ({"actions": np.zeros((0, 12))}, "there are none"),
        ({"actions": np.full((16, 12), np.nan)}, "not finite"),
        ({"reference_pose": np.full((4, 4), np.inf)}, "not finite"),
        ({"step_period": 0.0}, "not positive"),
        ({"step_period": float("nan")}, "finite number"),
        ({"step_period": "fast"}, "expected a number, found str"),
        ({"observation_ns": 5}, "belongs to the observation at 5 ns"),
        ({"policy_hash": 3}, "policy_hash: expected text"),
    ],
)
def test_what_is_wrong_with_an_answer_is_named(change: dict[str, Any], complaint: str) -> None:
    answer = make_answer(WavePolicy().infer(observation()), 0.0)
    with pytest.raises(MessageError, match=f"answer: .*{complaint}"):
        read_answer({**answer, **change}, observation())


@pytest.mark.parametrize("actions", [np.full((16, 12), np.nan), np.zeros((16, 7)), np.zeros((0, 12)), np.zeros(12)])
def test_a_policy_without_usable_actions_is_not_answered_with(actions: np.ndarray) -> None:
    chunk = dataclasses.replace(WavePolicy().infer(observation()), actions=actions)
    with pytest.raises(MessageError, match="policy wave: its actions"):
        make_answer(chunk, 0.0)


@pytest.mark.parametrize("policy", [WavePolicy(), ReachPolicy(), ScriptedPolicy()])
def test_the_metadata_say_what_is_served(policy: Any) -> None:
    message = unpack(pack(make_metadata(policy)))
    assert (message["cameras"], message["horizon"], message["step_period"]) == (["front", "side"], 16, 0.05)
    assert message["image_sizes"] == {"front": None, "side": None}
    assert len(message["action_names"]) == 12
    served = read_metadata(message)
    assert (served.policy, served.policy_hash) == (policy.name, policy.policy_hash)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [({}, "protocol_version is missing"), ({"protocol_version": 2}, "version 2, expected 1"), ([], "expected a map")],
)
def test_other_servers_are_recognised(message: Any, complaint: str) -> None:
    with pytest.raises(MessageError, match=complaint):
        read_metadata(message)
