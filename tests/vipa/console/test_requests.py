"""What a page may ask for: everything else is refused, whatever it is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipa.console.requests import ACTIONS, Request, RequestError, read_request


def test_every_action_is_read_with_its_fields() -> None:
    for action, names in ACTIONS.items():
        fields = dict.fromkeys(names, "wipe the board")
        request = read_request(json.dumps({"id": 3, "do": action, "seen": 1.5, **fields}))
        assert request == Request(3, action, fields, 1.5)


@pytest.mark.parametrize(("change", "complaint"), [
    ({"id": None}, "id"),
    ({"id": True}, "id"),
    ({"id": -1}, "id"),
    ({"do": "fly"}, "'fly' is none of stop, reset"),
    ({"do": ["stop"]}, "is none of"),
    ({"seen": "now"}, "seen"),
    ({"text": 3}, "one line"),
    ({"text": "a\nb"}, "one line"),
    ({"text": "x" * 501}, "at most 500"),
    ({"more": "x"}, "expected the fields text"),
])  # fmt: skip
def test_what_is_wrong_is_named(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        read_request(json.dumps({"id": 1, "do": "instruct", "seen": 1.0, "text": "wave", **change}))


@pytest.mark.parametrize("message", [b"{}", "", "[]", "{", "null", "[" * 5000, '{"id": NaN}'])
def test_what_is_no_object_is_refused(message: str | bytes) -> None:
    with pytest.raises(RequestError):
        read_request(message)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(("id", "do", "seen", "text", "kind", "camera")), json_values))
def test_nothing_but_a_request_error_comes_of_strange_objects(content: dict[str, Any]) -> None:
    try:
        request = read_request(json.dumps(content))
    except RequestError:
        return
    assert request.action in ACTIONS


@pytest.mark.parametrize(("action", "is_refused"), [("reset", True), ("instruct", True), ("answer", True),
                                                    ("record_start", True), ("stop", False)])  # fmt: skip
def test_what_comes_late_is_refused_but_for_a_stop(action: str, is_refused: bool) -> None:
    request = Request(1, action, {}, seen=100.0)
    request.check_age(101.9)
    for now in (102.1, 99.0, float("nan")):  # late; from a console that ran before; nonsense
        if is_refused:
            with pytest.raises(RequestError, match="late"):
                request.check_age(now)
        else:
            request.check_age(now)
