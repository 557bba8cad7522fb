"""Strict reading of YAML into dataclasses."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa.config import from_mapping, read_yaml
from vipa.errors import ConfigurationError


@dataclass(frozen=True)
class Inner:
    size: tuple[int, int]
    rate: float = 30.0


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    mode: Literal["a", "b"] = "a"
    count: int = 1
    is_on: bool = False
    limits: tuple[float, ...] = ()
    parts: dict[str, Inner] = field(default_factory=dict[str, Inner])
    maybe: int | None = None
    either: int | str = 0
    choice: Inner | None = None
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count: {self.count} is negative")


MINIMUM: dict[str, Any] = {"name": "x", "inner": {"size": [1, 2]}}


def test_defaults_and_nesting() -> None:
    assert from_mapping(Outer, MINIMUM) == Outer("x", Inner((1, 2)))


def test_everything_given() -> None:
    values = {
        **MINIMUM,
        "mode": "b",
        "count": 3,
        "is_on": True,
        "limits": [1, 2.5],
        "parts": {"left": {"size": [3, 4], "rate": 15}},
        "maybe": 4,
        "either": "word",
        "choice": {"size": [5, 6]},
        "path": "/tmp/x",
    }
    outer = from_mapping(Outer, values)
    assert outer.limits == (1.0, 2.5)
    assert outer.parts == {"left": Inner((3, 4), 15.0)}
    assert (outer.maybe, outer.either, outer.choice, outer.path) == (4, "word", Inner((5, 6)), Path("/tmp/x"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nam": "y"}, "unknown key nam; known keys here: .*name"),
        ({"inner": {"size": [1, 2], "rat": 3}}, r"unknown key inner\.rat; known keys here: rate, size"),
        ({"inner": {}}, r"missing key inner\.size"),
        ({"inner": None}, "inner: expected a mapping"),
        ({"inner": [1]}, "inner: expected a mapping"),
        ({"inner": {"size": [1]}}, r"inner\.size: expected 2 values, found 1"),
        ({"inner": {"size": 7}}, r"inner\.size: expected a list, found 7"),
        ({"inner": {"size": [1, "2"]}}, r"inner\.size\[1\]: expected int, found '2'"),
        ({"inner": {"size": [1, 2], "rate": "fast"}}, r"inner\.rate: expected float, found 'fast'"),
        ({"inner": {"size": [1, 2], "rate": True}}, r"inner\.rate: expected float, found True"),
        ({"mode": "c"}, "mode: 'c' is not one of 'a', 'b'"),
        ({"count": 1.5}, "count: expected int, found 1.5"),
        ({"count": True}, "count: expected int, found True"),
        ({"count": -1}, "count: -1 is negative"),
        ({"is_on": 1}, "is_on: expected bool, found 1"),
        ({"is_on": "yes"}, "is_on: expected bool, found 'yes'"),
        ({"limits": [1.0, None]}, r"limits\[1\]: expected float, found None"),
        ({"parts": [1]}, "parts: expected a mapping"),
        ({"parts": {"left": {"size": [1, 2], "x": 0}}}, r"unknown key parts\.left\.x"),
        ({"maybe": "none"}, "maybe: expected int, found 'none'"),
        ({"either": 1.5}, "either: expected str, found 1.5"),
        ({"choice": {"size": [1]}}, r"choice\.size: expected 2 values"),
        ({"path": 3}, "path: expected Path, found 3"),
        ({"name": None}, "name: expected str, found None"),
        ({"name": 5}, "name: expected str, found 5"),
    ],
)
def test_what_is_wrong_is_refused_with_the_name_of_its_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as error:
        from_mapping(Outer, {**MINIMUM, **change})
    assert "\n" not in str(error.value)


def test_a_missing_key_at_the_top() -> None:
    with pytest.raises(ConfigurationError, match="missing key name"):
        from_mapping(Outer, {"inner": {"size": [1, 2]}})


@pytest.mark.parametrize("values", [None, 3, "text", [1, 2]])
def test_what_is_no_mapping_is_refused(values: Any) -> None:
    with pytest.raises(ConfigurationError, match="lab: expected a mapping"):
        from_mapping(Outer, values, "lab")


words = st.text(st.characters(categories=("L", "N")), max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@given(key=st.sampled_from([*Outer.__dataclass_fields__, "unknown"]), value=json_values)
def test_any_value_is_taken_or_refused_with_one_line_that_names_the_key(key: str, value: Any) -> None:
    message = ""
    try:
        from_mapping(Outer, {**MINIMUM, key: value})
    except ConfigurationError as error:
        message = str(error)
    assert not message or key in message
    assert "\n" not in message


@settings(max_examples=50)
@given(size=st.tuples(st.integers(), st.integers()), rate=st.floats(allow_nan=False), count=st.integers(0))
def test_a_yaml_file_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], rate: float, count: int
) -> None:
    path = tmp_path_factory.mktemp("config") / "c.yaml"
    path.write_text(yaml.safe_dump({"name": "n", "inner": {"size": list(size), "rate": rate}, "count": count}))
    assert from_mapping(Outer, read_yaml(path)) == Outer("n", Inner(size, rate), count=count)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("- 1", "found list"),
        ("", "found NoneType"),
        ("3", "found int"),
        ("a: !!python/none", "not valid"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=message) as error:
        read_yaml(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigurationError, match="not valid YAML"):
        read_yaml(tmp_path / "bytes.yaml")


def test_a_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)


def test_an_unknown_key_with_a_line_break_makes_one_line() -> None:
    with pytest.raises(ConfigurationError) as refused:
        from_mapping(Outer, {"name": "a", "bad\nkey": 1})
    assert "\n" not in str(refused.value)
    assert "bad\\nkey" in str(refused.value)
