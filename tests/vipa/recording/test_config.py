"""The recorder's configuration, and the recorder in the graph and in its launch file."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from vipa.config import from_mapping
from vipa.errors import ConfigurationError
from vipa.graph import GraphArguments, describe, recorder_beside
from vipa.recording.config import RecorderConfig

LAUNCH_FILE = Path(__file__).resolve().parents[3] / "launch" / "record.launch.py"


@pytest.mark.parametrize(("values", "complaint"), [
    ({"chunk_period": 0.3}, "chunk_period: 0.3 s is more than the 0.25 s that a crash may cost"),
    ({"chunk_period": 0.0}, "chunk_period: 0.0 is not positive"),
    ({"queue_size": -1}, "queue_size: -1 is not positive"),
    ({"jpeg_quality": 101}, "jpeg_quality: 101 is not between 0 and 100"),
    ({"compression_level": 0}, "compression_level: 0 is not between 1 and 22"),
    ({"minimum_free": 10, "minimum_free_to_start": 5}, "minimum_free: must be positive"),
    ({"folder": "x"}, "unknown key folder"),
])  # fmt: skip
def test_what_cannot_be_used_is_named(values, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        from_mapping(RecorderConfig, values)


def test_the_defaults_can_be_used():
    config = from_mapping(RecorderConfig, {"jpeg_quality": 80})
    assert (config.jpeg_quality, config.chunk_period <= 0.25) == (80, True)


def test_the_graph_has_the_recorder_where_it_is_wanted():
    nodes = {node.name: node for node in describe(GraphArguments(record=True, recordings="/data/wipe"))}
    recorder = nodes["recorder"]
    assert dict(recorder.parameters) == {"lab": "simulated", "use_sim_time": True, "recordings": "/data/wipe"}
    assert recorder.respawn
    assert not recorder.ends_graph
    assert "recorder" not in nodes["supervisor"].parameters["nodes"]  # it never keeps the robot from moving
    assert "recorder" not in {node.name for node in describe(GraphArguments())}


@pytest.mark.parametrize(("lab", "simulated"), [("simulated", True), ("example_real", False)])
def test_the_recorder_beside_a_running_graph(lab, simulated):
    node = recorder_beside(lab, "/data")
    assert (node.package, node.executable, node.module) == ("vipa", "recorder", "vipa.nodes.recorder")
    assert dict(node.parameters) == {"lab": lab, "use_sim_time": simulated, "recordings": "/data"}


@pytest.fixture
def launch_file(monkeypatch):
    """The launch file, on stand-ins for ROS 2 launch that note what they are given."""

    class Noted:
        def __init__(self, *values, **named):
            self.values, self.named = values, named

        def perform(self, context):
            return context[self.values[0]]

    names = {
        "launch": ("LaunchContext", "LaunchDescription"),
        "launch.actions": ("DeclareLaunchArgument", "OpaqueFunction", "SetEnvironmentVariable"),
        "launch.substitutions": ("LaunchConfiguration",),
        "launch_ros": (),
        "launch_ros.actions": ("Node",),
        "launch_ros.parameter_descriptions": ("ParameterValue",),
    }
    for module_name, classes in names.items():
        module = ModuleType(module_name)
        for name in classes:
            setattr(module, name, Noted)
        monkeypatch.setitem(sys.modules, module_name, module)
    spec = importlib.util.spec_from_file_location("record_launch", LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_launch_file_starts_the_recorder_of_the_graph(launch_file):
    (entities,) = launch_file.generate_launch_description().values
    declared = {e.values[0]: e.named["default_value"] for e in entities if "default_value" in e.named}
    assert declared == {"lab": "simulated", "recordings": ""}
    (node,) = launch_file.start_recorder({"lab": "simulated", "recordings": "/data"})
    assert (node.named["package"], node.named["executable"], node.named["name"]) == ("vipa", "recorder", "recorder")
    (parameters,) = node.named["parameters"]
    assert parameters["use_sim_time"] is True
    assert (parameters["recordings"].values, parameters["recordings"].named) == (("/data",), {"value_type": str})
    assert node.named["prefix"] == "nice -n -5"
