"""Options as KEY=VALUE: they change what they name, and what is wrong with them is said in one line."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipa_training.engine.config import EngineConfig, overridden
from vipa_training.engine.errors import TrainingError


@dataclass(frozen=True)
class Whole:
    engine: EngineConfig = field(default_factory=lambda: EngineConfig(batch=64, seed=5))
    parts: tuple[str, ...] = ("a",)
    share: float = 0.5
    name: str = ""


@given(batch=st.integers(1, 1000), share=st.floats(0, 1), name=st.text("abc/ =.", min_size=1))
def test_values_arrive_and_others_stay(batch: int, share: float, name: str) -> None:
    found = overridden(Whole(), [f"engine.batch={batch}", f"share={share!r}", f"name={name}", 'parts=["x"]'], "test")
    assert found == Whole(EngineConfig(batch=batch, seed=5), ("x",), share, name)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("share", "test: option 'share': expected KEY=VALUE"),
        ("=1", "test: option '=1': expected KEY=VALUE"),
        ("shar=1", "test: unknown option shar; known: engine, name, parts, share"),
        ("engine.bach=1", "test: engine: unknown option bach"),
        ("engine=1", "test: option engine: name one of engine.batch"),
        ("share.x=1", "test: option share.x: share has no options; those that have: engine"),
        ("engine.batch=many", "test: engine: batch: expected int, found 'many'"),
        ("engine.batch=0", "test: engine: batch: 0 is less than 1"),
        ("engine.ema=1", "test: engine: ema: 1.0 is outside 0-1"),
        ("engine.precision=fp8", "test: engine: precision: expected"),
        ("engine.accumulation=3", "test: engine: accumulation: 3 does not divide the batch, 64"),
        ("engine=null", "test: engine: expected EngineConfig, found None"),
        ("share=NaN", "test: share: expected float, found 'NaN'"),
    ],
)
def test_wrong_options_are_named(pair: str, message: str) -> None:
    with pytest.raises(TrainingError) as caught:
        overridden(Whole(), [pair], "test")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_an_option_twice() -> None:
    with pytest.raises(TrainingError, match="option share: given twice"):
        overridden(Whole(), ["share=1", "share=0"], "test")
