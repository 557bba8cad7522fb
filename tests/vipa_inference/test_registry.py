"""Policies by name and their options."""

import pytest

from vipa_inference.policy import PolicyError
from vipa_inference.registry import POLICIES, make_policy
from vipa_inference.scripted import ReachConfig, ReachPolicy, ScriptedPolicy, WavePolicy, WavePose


@pytest.mark.parametrize(("name", "kind"), [("wave", WavePolicy), ("reach", ReachPolicy), ("scripted", ScriptedPolicy)])
def test_every_name_gives_its_policy(name, kind):
    policy = make_policy(name)
    assert isinstance(policy, kind)
    assert policy.name == name
    assert len(policy.policy_hash) == 64
    assert name in POLICIES


def test_options_reach_the_configuration():
    policy = make_policy("reach", fingertip_reach_m=0.06, fingertip_offset_m=[0.01, 0], path={"horizon": 8})
    assert isinstance(policy, ReachPolicy)
    assert policy.config.fingertip_reach_m == 0.06
    assert policy.config.fingertip_offset_m == (0.01, 0.0)
    assert policy.config.path.horizon == 8


def test_nested_options_as_mapping_and_as_dataclass_are_the_same():
    mapping = make_policy("scripted", reach={"hover_m": 0.1})
    assert mapping.policy_hash == make_policy("scripted", reach=ReachConfig(hover_m=0.1)).policy_hash
    assert mapping.policy_hash != make_policy("scripted").policy_hash


def test_a_list_of_poses_becomes_poses():
    policy = make_policy("wave", poses=[{"position": [0.5, 0, 0.3], "hand": 0.5}])
    assert isinstance(policy, WavePolicy)
    assert policy.config.poses == (WavePose((0.5, 0.0, 0.3), hand=0.5),)


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("act", {}, "unknown policy 'act'; known: reach, .*scripted, vipa, wave"),
        ("reach", {"speed": 1.0}, "policy reach: unknown option speed; known: .*descent_speed"),
        ("scripted", {"reach": {"hover": 1.0}}, "policy scripted: reach: unknown option hover"),
        ("reach", {"press_m": 0.1}, "policy reach: press_m: 0.1 is outside"),
        ("reach", {"press_m": "deep"}, "policy reach: press_m: expected float, found 'deep'"),
        ("reach", {"press_m": True}, "press_m: expected float"),
        ("reach", {"hand_shape": "fist"}, "hand_shape: expected .*flat.*, found 'fist'"),
        ("reach", {"fingertip_offset_m": [0.1]}, "fingertip_offset_m: expected"),
        ("reach", {"path": {"horizon": 2.5}}, "path: horizon: expected int"),
        ("wave", {"poses": [{"hand": 1.0}]}, r"poses\[0\]: .*position"),
        ("wave", {"path": 3}, "path: expected PathConfig, found 3"),
    ],
)
def test_unknown_names_and_bad_options_are_named(name, options, complaint):
    with pytest.raises(PolicyError, match=complaint):
        make_policy(name, **options)
