"""Options of a policy as text."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipa.errors import ConfigurationError
from vipa.policy_options import options_from_pairs, policy_options_text, read_policy_options

VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(min_size=1), VALUES, max_size=4))
def test_options_survive_as_text(options: dict[str, Any]) -> None:
    assert read_policy_options(policy_options_text(options)) == options


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], {}),
        (["checkpoint=runs/nano"], {"checkpoint": "runs/nano"}),
        (["time_out=0.3", "horizon=8"], {"time_out": 0.3, "horizon": 8}),
        (["url=ws://gpu:8000?a=b"], {"url": "ws://gpu:8000?a=b"}),
        (['path={"horizon": 8}', "cameras=[1, 2]"], {"path": {"horizon": 8}, "cameras": [1, 2]}),
        (["a=true", "b=yes", 'c="1"', "d=", "e=NaN"], {"a": True, "b": "yes", "c": "1", "d": "", "e": "NaN"}),
    ],
)
def test_pairs(pairs: list[str], expected: dict[str, Any]) -> None:
    assert options_from_pairs(pairs) == expected


@pytest.mark.parametrize(
    ("pairs", "complaint"),
    [
        (["checkpoint"], "'checkpoint': expected KEY=VALUE"),
        (["=1"], "'=1': expected KEY=VALUE"),
        (["a b=1"], "expected KEY=VALUE"),
        (["a=1", "a=2"], "policy option a: given twice"),
    ],
)
def test_bad_pairs(pairs: list[str], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        options_from_pairs(pairs)


@pytest.mark.parametrize(
    "content", ["url: ws://gpu:8000\ntime_out: 0.3\n", '{"url": "ws://gpu:8000", "time_out": 0.3}']
)
def test_a_file(content: str, tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(content)
    assert read_policy_options(str(file)) == {"url": "ws://gpu:8000", "time_out": 0.3}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"a": 1', "policy_options: no valid JSON: .*column"),
        ("/nowhere/options.yaml", "/nowhere/options.yaml: no such file"),
        ("[1]", "no such file"),
    ],
)
def test_what_cannot_be_read(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        read_policy_options(text)


def test_no_options_are_no_text() -> None:
    assert policy_options_text({}) == ""
    assert read_policy_options(" ") == {}
    assert json.loads(policy_options_text({"a": 1})) == {"a": 1}
