"""Message definitions as MCAP keeps them."""

import pytest
from mcap_ros2._dynamic import generate_dynamic

from vipa.errors import ConfigurationError
from vipa.lab import load_lab
from vipa.recording.definitions import SEPARATOR, load_definitions
from vipa.recording.topics import EVENT_TYPE, recorded_topics


@pytest.fixture
def prefixes(tmp_path):
    definitions = {
        "a/msg/Outer": "# a comment with other/Name in it\nb/Inner[<=3] inner\nNear near\nuint8 KIND=1\nfloat64[6] x\n",
        "a/msg/Near": "b/Inner inner\nstring<=10 name",
        "b/msg/Inner": "bool flag\nstring[] names\n",
    }
    for name, text in definitions.items():
        package, _, message = name.partition("/msg/")
        folder = tmp_path / ("one" if package == "a" else "two") / "share" / package / "msg"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{message}.msg").write_text(text)
    return [tmp_path / "one", tmp_path / "two"]


def test_used_types_follow_once_each(prefixes):
    text = load_definitions(["a/msg/Outer"], prefixes)["a/msg/Outer"]
    first, *others = text.split(f"{SEPARATOR}\n")
    assert first.startswith("# a comment")
    assert sorted(part.splitlines()[0] for part in others) == ["MSG: a/Near", "MSG: b/Inner"]


def test_a_missing_type_is_named(prefixes):
    with pytest.raises(ConfigurationError, match=r"message type b/msg/None: its definition is not installed"):
        load_definitions(["b/msg/None"], prefixes)


@pytest.mark.ros
def test_every_recorded_type_is_installed_and_understood_by_another_reader():
    pytest.importorskip("vipa_msgs", reason="needs ROS 2 and the built vipa_msgs")
    types = {EVENT_TYPE, *(topic.type for topic in recorded_topics(load_lab("simulated")))}
    for name, text in load_definitions(types).items():
        assert name in generate_dynamic(name, text)


def test_a_laboratory_is_recorded_with_all_its_cameras():
    topics = {topic.name: topic for topic in recorded_topics(load_lab("simulated"))}
    assert {name for name, topic in topics.items() if topic.is_image} == {
        f"/camera/{camera}/{stream}"
        for camera in ("front", "side")
        for stream in ("color/image_raw", "depth/image_rect_raw")
    }
    assert {"/joint_states", "/fr3/state", "/hand/state", "/policy/action_chunk", "/controller/trace"} <= set(topics)
    assert [name for name, topic in topics.items() if topic.latched] == ["/policy/instruction"]
