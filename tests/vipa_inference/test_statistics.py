"""Statistics: what they are, how they normalise, what identifies them, and what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vipa_inference.policy import PolicyError
from vipa_inference.statistics import Statistics, VectorStatistics, statistics_hash

KINDS = ("mean_std", "quantile")
NUMBERS = st.floats(-1e3, 1e3).map(lambda x: round(x, 6))


@pytest.fixture
def statistics() -> Statistics:
    generator = np.random.default_rng(0)
    return Statistics.fit(generator.normal(3.0, 2.0, (500, 22)), generator.normal(-1.0, 0.1, (60, 16, 12)))


def test_fit_gives_moments_and_quantiles_over_all_but_the_last_axis() -> None:
    ramp = np.stack([np.arange(101.0), 2.0 * np.arange(101.0) - 7.0], axis=-1)
    found = VectorStatistics.fit(ramp[None, :, None])
    assert found.mean == (50.0, 93.0)
    assert found.std == pytest.approx((np.sqrt(850.0), 2.0 * np.sqrt(850.0)))
    assert found.q01 == pytest.approx((1.0, -5.0))
    assert found.q99 == pytest.approx((99.0, 191.0))


@settings(max_examples=60, deadline=None)
@given(values=arrays(np.float64, (7, 3), elements=NUMBERS), kind=st.sampled_from(KINDS))
def test_what_is_normalised_comes_back(values: np.ndarray, kind: Any) -> None:
    normaliser = VectorStatistics.fit(values).normaliser(kind)
    normalised = normaliser.normalise(values)
    assert normalised.dtype == np.float32
    assert np.isfinite(normalised).all()
    back = normaliser.unnormalise(normalised)
    spread = np.abs(values).max(axis=0) + 1.0
    tolerance = np.where(normaliser.scale > 0.0, 1e-6 * spread, 1e-3)  # what varies less than 0.1 mm is constant
    assert (np.abs(back - values) <= tolerance).all()


def test_mean_and_deviation_become_0_and_1(statistics: Statistics) -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, (500, 22))
    normalised = statistics.proprioception.normaliser("mean_std").normalise(values)
    np.testing.assert_allclose(normalised.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(normalised.std(axis=0), 1.0, atol=1e-5)


def test_quantiles_become_minus_1_and_1(statistics: Statistics) -> None:
    normaliser = statistics.action.normaliser("quantile")
    np.testing.assert_allclose(normaliser.normalise(statistics.action.q01), -1.0, atol=1e-6)
    np.testing.assert_allclose(normaliser.normalise(statistics.action.q99), 1.0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_dimension_is_0_and_comes_back_as_its_constant(kind: Any) -> None:
    values = np.random.default_rng(0).normal(size=(100, 2))
    values[:, 1] = 0.7 + 1e-9 * values[:, 1]
    normaliser = VectorStatistics.fit(values).normaliser(kind)
    assert normaliser.normalise([0.3, 99.0])[1] == 0.0
    assert normaliser.unnormalise([1.0, 1e6])[1] == pytest.approx(0.7, abs=1e-8)


def test_a_dimension_that_rarely_moves_is_not_constant() -> None:
    values = np.zeros((1000, 1))
    values[:5] = 1.0
    normaliser = VectorStatistics.fit(values).normaliser("quantile")
    np.testing.assert_allclose(normaliser.unnormalise(normaliser.normalise([[0.0], [1.0]])), [[0.0], [1.0]], atol=1e-6)
    assert 0.0 < normaliser.normalise([1.0])[0] < 50.0


def test_json_brings_back_the_same_numbers_and_hash(statistics: Statistics) -> None:
    read = Statistics.from_mapping(json.loads(json.dumps(statistics.to_mapping())))
    assert read == statistics
    assert read.hash == statistics.hash == statistics_hash(statistics.to_mapping())


def test_the_hash_sees_every_number_but_not_the_order_of_keys(statistics: Statistics) -> None:
    mapping = statistics.to_mapping()
    assert statistics_hash(dict(reversed(mapping.items()))) == statistics.hash
    for part, items in mapping.items():
        for item in items:
            changed = json.loads(json.dumps(mapping))
            changed[part][item][-1] = np.nextafter(changed[part][item][-1], np.inf)
            assert Statistics.from_mapping(changed).hash != statistics.hash, (part, item)


def _drop(mapping: Any) -> None:
    del mapping["action"]


def _surplus(mapping: Any) -> None:
    mapping["reward"] = mapping["action"]


def _list(mapping: Any) -> None:
    mapping["action"] = [1.0]


def _no_std(mapping: Any) -> None:
    del mapping["action"]["std"]


def _text(mapping: Any) -> None:
    mapping["action"]["mean"][3] = "0.5"


def _truth(mapping: Any) -> None:
    mapping["action"]["mean"][3] = True


def _number(mapping: Any) -> None:
    mapping["action"]["mean"] = 0.5


def _shorter(mapping: Any) -> None:
    mapping["action"]["std"].pop()


def _infinite(mapping: Any) -> None:
    mapping["proprioception"]["q99"][0] = float("inf")


def _negative(mapping: Any) -> None:
    mapping["action"]["std"][0] = -0.1


def _swapped(mapping: Any) -> None:
    action = mapping["action"]
    action["q01"], action["q99"] = action["q99"], action["q01"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop, "^file: expected proprioception, action; found proprioception$"),
        (_surplus, "^file: expected proprioception, action; found proprioception, action, reward$"),
        (_list, "^file: action: expected mean, std, q01, q99; found list$"),
        (_no_std, "^file: action: expected mean, std, q01, q99; found mean, q01, q99$"),
        (_text, "^file: action: mean: expected a list of numbers, found"),
        (_truth, "^file: action: mean: expected a list of numbers, found"),
        (_number, "^file: action: mean: expected a list of numbers, found 0.5$"),
        (_shorter, "^file: action: lengths differ or are 0: .*'std': 11"),
        (_infinite, "^file: proprioception: q99: a number is not finite$"),
        (_negative, "^file: action: std: a standard deviation is negative$"),
        (_swapped, "^file: action: q01: a quantile at 1 % is above that at 99 %$"),
    ],
)
def test_what_is_wrong_with_a_mapping_is_named(
    statistics: Statistics, damage: Callable[[Any], None], message: str
) -> None:
    mapping = statistics.to_mapping()
    damage(mapping)
    with pytest.raises(PolicyError, match=message):
        Statistics.from_mapping(mapping, "file")


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((0, 12)), r"statistics of action: values of shape \(0, 12\), expected at least one row"),
        (np.zeros(12), r"statistics of action: values of shape \(12,\), expected at least one row"),
        (np.full((3, 12), np.nan), "statistics of action: a value is not finite"),
    ],
)
def test_recordings_that_have_no_statistics_are_refused(actions: np.ndarray, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Statistics.fit(np.zeros((2, 22)), actions)


@pytest.mark.parametrize("bad", [{"mean": [float("nan")]}, {"mean": {1.0}}])
def test_only_json_has_a_hash(bad: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match="statistics: cannot be written as JSON"):
        statistics_hash(bad)


def test_processing_needs_no_heavy_library() -> None:
    """A robot PC has neither torch nor transformers."""
    code = (
        "import sys, vipa_inference.processing, vipa_inference.statistics, vipa_inference.tokenizers, "
        "vipa_inference.config, vipa_inference.registry, vipa_inference.runtime.base\n"
        "print(sorted({'torch', 'transformers', 'tokenizers', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
