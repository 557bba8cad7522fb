"""Pictures change, but things stay where they are."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipa_training.stages.augmentation import AugmentationConfig, augmented

ALWAYS = AugmentationConfig(share=1.0)
STILL = AugmentationConfig(share=1.0, brightness=0, contrast=0, saturation=0, hue=0)


def picture(x: float, y: float, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18.0)
    return np.rint(40 + 200 * blob[..., None] * np.array([1.0, 0.6, 0.3])).astype(np.uint8)


def centre(image: np.ndarray) -> np.ndarray:
    weight = np.clip(image[..., 0].astype(float) - 60.0, 0, None)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


@given(seed=st.integers(0, 10**6), x=st.floats(20, 140), y=st.floats(20, 100))
def test_things_move_less_than_allowed(seed: int, x: float, y: float) -> None:
    image = picture(x, y)
    changed = augmented([image], STILL, np.random.default_rng(seed))[0]
    limit = STILL.shift * 160 + STILL.zoom * np.array([80.0, 60.0]) + 0.1
    assert np.all(np.abs(centre(changed) - centre(image)) <= limit)
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8


@given(seed=st.integers(0, 10**6))
def test_grey_stays_grey_and_changes_within_limits(seed: int) -> None:
    image = np.full((8, 8, 3), 100, np.uint8)
    changed = augmented([image], ALWAYS, np.random.default_rng(seed))[0].astype(int)
    assert np.ptp(changed, axis=-1).max() <= 2
    assert 100 * (1 - ALWAYS.brightness) - 2 <= changed.min() <= changed.max() <= 100 * (1 + ALWAYS.brightness) + 2


def test_views_change_by_themselves_and_the_same_chance_gives_the_same() -> None:
    image = picture(50, 50)
    first, second = augmented([image, image], ALWAYS, np.random.default_rng(3))
    assert not np.array_equal(first, second)
    again = augmented([image, image], ALWAYS, np.random.default_rng(3))
    assert np.array_equal(first, again[0])
    assert np.array_equal(second, again[1])


def test_nothing_changes_without_a_share_and_some_do_with_one() -> None:
    image = picture(50, 50)
    assert np.array_equal(augmented([image], AugmentationConfig(), np.random.default_rng(0))[0], image)
    half = AugmentationConfig(share=0.5)
    same = [np.array_equal(augmented([image], half, np.random.default_rng(k))[0], image) for k in range(200)]
    assert 60 < sum(same) < 140


@pytest.mark.parametrize("values", [{"share": 1.1}, {"brightness": -0.1}, {"shift": 0.2}, {"zoom": 0.06}, {"hue": 4.0}])
def test_wrong_values_are_named(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        AugmentationConfig(**values)
