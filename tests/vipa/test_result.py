"""The result of a command."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vipa.errors import ConfigurationError
from vipa.result import Result


@pytest.mark.parametrize(
    ("sign", "value", "holds"),
    [
        ("<=", 1.0, True), ("<=", 1.1, False), ("<", 1.0, False), ("<", 0.9, True), ("==", 1.0, True),
        ("==", 0.9, False), (">=", 1.0, True), (">=", 0.9, False), (">", 1.0, False), (">", 1.1, True),
    ],
)  # fmt: skip
def test_bounds(sign: str, value: float, holds: bool) -> None:
    result = Result("x", figures={"figure": value}, bounds={"figure": (sign, 1.0)})
    assert result.passed is holds
    assert (result.check() == ()) is holds


@pytest.mark.parametrize("sign", ["<", "<=", "==", ">=", ">"])
def test_a_figure_that_is_no_number_or_missing_breaks_every_bound(sign: str) -> None:
    assert Result("x", figures={"f": math.nan}, bounds={"f": (sign, 0.0)}).check() == (f"f: nan, must be {sign} 0",)
    assert Result("x", bounds={"f": (sign, 0.0)}).check() == (f"f: not measured, must be {sign} 0",)


def test_a_command_that_failed_does_not_pass_although_its_figures_do() -> None:
    assert not Result("x", ok=False, figures={"f": 1.0}, bounds={"f": ("==", 1.0)}).passed


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(ValueError, match=r"bounds\.f: '=<'"):
        Result("x", bounds={"f": ("=<", 1.0)})


def test_the_written_shape(tmp_path: Path) -> None:
    Result("bench loop", figures={"a": 2.0}, bounds={"a": ("<", 1.0)}, details={"b": [1]}).write(
        tmp_path / "sub" / "r.json"
    )
    content = json.loads((tmp_path / "sub" / "r.json").read_text())
    assert list(content) == ["command", "ok", "figures", "bounds", "details", "machine"]
    assert content["command"] == "bench loop"
    assert content["ok"] is False
    assert content["bounds"] == {"a": ["<", 1.0]}
    assert content["machine"]["cores"] >= 1
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["r.json"]


def test_minus_writes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    Result("x").write("-")
    assert json.loads(capsys.readouterr().out)["command"] == "x"


def test_what_json_cannot_hold_is_converted(tmp_path: Path) -> None:
    details: dict[str, Any] = {
        "n": np.int64(3),
        "f": np.float64(0.5),
        "path": Path("/a"),
        "inf": math.inf,
        "t": (1, True),
    }
    Result("x", figures={"nan": math.nan}, details=details).write(tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["details"] == {"n": 3, "f": 0.5, "path": "/a", "inf": None, "t": [1, True]}
    assert content["figures"] == {"nan": None}


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=10)


@settings(max_examples=50)
@given(
    figures=st.dictionaries(names, st.floats(allow_nan=False, allow_infinity=False), max_size=4),
    bounds=st.dictionaries(
        names, st.tuples(st.sampled_from(["<", "<=", "==", ">=", ">"]), st.floats(-9, 9)), max_size=3
    ),
    ok=st.booleans(),
)
def test_what_is_written_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, figures: dict[str, float], bounds: dict[str, tuple[str, float]], ok: bool
) -> None:
    path = tmp_path_factory.mktemp("result") / "r.json"
    result = Result("x", ok, figures, bounds, {"k": "v"})
    result.write(path)
    again = Result.read(path)
    assert (again.figures, again.bounds, again.details, again.machine) == (figures, bounds, {"k": "v"}, result.machine)
    assert again.ok is result.passed


def test_figures_alone_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "monitor.json").write_text('{"figures": {"a": 1, "b": NaN}}')
    result = Result.read(tmp_path / "monitor.json")
    assert (result.command, result.ok, result.figures["a"]) == ("monitor", True, 1.0)
    assert math.isnan(result.figures["b"])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"figures": {"a": "x"}}', '{"figures": {}, "bounds": {"a": 1}}'])
def test_what_is_no_result_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"r\.json: not the result of a command") as error:
        Result.read(tmp_path / "r.json")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"r\.json: no such file"):
        Result.read(tmp_path / "r.json")


def test_the_report_shows_each_figure_and_its_bound() -> None:
    bounds = {"latency_ms": ("<=", 60.0), "lost": ("==", 0.0), "gone": (">", 0.0)}
    lines = Result("x", figures={"latency_ms": 61.25, "lost": 0.0, "free": 3.0}, bounds=bounds).report().splitlines()
    words = {line.split()[0]: line.split()[1:] for line in lines}
    assert words["latency_ms"][:2] == ["61.25", "FAIL"]
    assert words["lost"][:2] == ["0", "ok"]
    assert words["free"] == ["3"]
    assert words["gone"][:3] == ["not", "measured", "FAIL"]
