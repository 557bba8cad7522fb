"""The recorder's configuration, and the recorder in the graph."""

import pytest

from vipa.config import from_mapping
from vipa.errors import ConfigurationError
from vipa.graph import GraphArguments, describe, recorder_beside
from vipa.recording.config import RecorderConfig


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
    common = {"lab": "simulated", "use_sim_time": True, "recordings": "/data/wipe"}
    assert dict(recorder.parameters) == common | {"options": "", "begin": ""}
    told = GraphArguments(record=True, recorder_options='{"jpeg_quality": 0}', begin_recording="wipe the board")
    parameters = {node.name: node.parameters for node in describe(told)}["recorder"]
    assert (parameters["options"], parameters["begin"]) == ('{"jpeg_quality": 0}', "wipe the board")
    assert recorder.respawn
    assert not recorder.ends_graph
    assert "recorder" not in nodes["supervisor"].parameters["nodes"]  # it never keeps the robot from moving
    assert "recorder" not in {node.name for node in describe(GraphArguments())}


@pytest.mark.parametrize(("lab", "simulated"), [("simulated", True), ("example_real", False)])
def test_the_recorder_beside_a_running_graph(lab, simulated):
    node = recorder_beside(lab, "/data")
    assert (node.package, node.executable, node.module) == ("vipa", "recorder", "vipa.nodes.recorder")
    assert dict(node.parameters) == {"lab": lab, "use_sim_time": simulated, "recordings": "/data"}
