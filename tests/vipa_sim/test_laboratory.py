"""The laboratory behind its real protocols, without ROS: one world for arm, hand, cameras and referee."""

import dataclasses
import random
import threading
from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest

from vipa.hardware import realsense
from vipa.hardware.inspire_hand import InspireHand
from vipa.hardware.l515 import L515
from vipa.lab import LabConfig, load_lab, split_address
from vipa.laboratory_client import LaboratoryClient, LaboratoryError
from vipa_sim.camera_feed import FeedDevice
from vipa_sim.errors import SimulationError
from vipa_sim.laboratory import Laboratory, LaboratoryConfig
from vipa_sim.renderer import Renderer
from vipa_sim.scenes import make_scene
from vipa_sim.world import World

pytestmark = pytest.mark.protocol


def own_lab() -> LabConfig:
    """The simulated laboratory at a loopback address of its own."""
    host = f"127.0.{random.randint(1, 250)}.{random.randint(10, 250)}"
    lab = load_lab("simulated")
    return dataclasses.replace(
        lab,
        referee=f"{host}:13370",
        arm=dataclasses.replace(lab.arm, address=host),
        hand=dataclasses.replace(lab.hand, address=f"{host}:6000"),
        cameras={
            n: dataclasses.replace(c, feed=str(c.feed).replace("127.0.0.1", host)) for n, c in lab.cameras.items()
        },
    )


class Running:
    """A laboratory in a thread."""

    def __init__(self) -> None:
        self.lab = own_lab()
        self.clock: list[int] = []
        self.fine_clock: deque[int] = deque(maxlen=1000)
        self.laboratory = Laboratory(self.lab, LaboratoryConfig(seed=3), self.clock.append, self.fine_clock.append)
        self.client = LaboratoryClient(split_address(self.lab.referee, "referee"), time_out=60.0)
        self.thread = threading.Thread(target=self.laboratory.run)
        self.thread.start()

    def stop(self) -> None:
        self.client.close()
        self.laboratory.stop()
        self.thread.join(timeout=10)
        assert not self.thread.is_alive()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    instance = Running()
    yield instance
    instance.stop()


def test_the_clock_runs_forward_in_steps_of_40_ms(running: Running) -> None:
    before = len(running.clock)
    while len(running.clock) < before + 10:
        running.client.request("status")
    steps = np.diff(np.array(running.clock[max(before, 1) :]))
    assert set(steps.tolist()) == {40_000_000}
    assert set(np.diff(np.array(running.fine_clock.copy())).tolist()) == {1_000_000}


def test_status_and_reset_and_judge(running: Running) -> None:
    answer = running.client.request("reset", task="reach", seed=5, variant="seen")
    assert sorted(answer["sub_tasks"]) == ["touch blue", "touch green", "touch red"]
    assert running.client.request("judge")["done"] == [False] * 3
    again = running.client.request("reset", task="reach", seed=5, variant="seen")
    assert again["instruction"] == answer["instruction"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "fly", "seed": 1}, "was started with task reach"),
        ({"task": "reach", "seed": 1, "variant": "moon"}, "no variant 'moon'"),
        ({"task": "reach"}, "seed"),
    ],
)
def test_a_bad_reset_is_refused_and_the_world_goes_on(
    running: Running, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(LaboratoryError, match=message):
        running.client.request("reset", **arguments)
    assert running.client.request("status")["task"] == "reach"


def test_the_hand_moves_in_the_world(running: Running) -> None:
    hand = InspireHand(running.lab.hand)
    hand.connect()
    hand.command(np.array([1.0, 1.0, 0.3, 1.0, 1.0, 1.0]))
    waited = threading.Event()
    for _ in range(50):
        middle = running.client.request("status")["hand_positions"][2]
        if middle < 0.4:
            break
        waited.wait(0.1)
    assert middle < 0.4
    assert abs(float(hand.read().positions[2]) - middle) < 0.1
    hand.command(np.ones(6))
    hand.close()


@pytest.mark.parametrize("name", ["front", "side"])
def test_a_camera_sees_the_markers_where_the_extrinsics_say(running: Running, name: str) -> None:
    config = running.lab.cameras[name]
    device = FeedDevice(split_address(str(config.feed), "feed"), config.device.serial)
    context = realsense.load().context()
    device.add_to(context)
    camera = L515(name, config.device, context)
    camera.start()
    frame = None
    while frame is None:
        frame = camera.read(2.0)
    info = camera.color_info()
    pose = running.laboratory.call(lambda: running.laboratory.world.body_pose("red_marker"))
    point = np.linalg.inv(config.extrinsics.matrix()) @ np.array([*pose[:3, 3], 1.0])
    u = round(info.fx * point[0] / point[2] + info.cx)
    v = round(info.fy * point[1] / point[2] + info.cy)
    red, green, blue = (int(c) for c in frame.color[v, u])
    assert red > 1.5 * max(green, blue), f"{(red, green, blue)} at {(u, v)} is not red"
    measured = float(frame.depth[v, u]) * frame.depth_scale
    assert 0.0 < point[2] - measured < 0.03, "the surface of the ball is up to its radius before its centre"
    camera.stop()
    device.stop()


def test_the_shipped_yaml_says_where_the_cameras_stand() -> None:
    with Renderer(World(make_scene("reach")).model) as renderer:
        for name, camera in load_lab("simulated").cameras.items():
            np.testing.assert_allclose(camera.extrinsics.matrix(), renderer.camera_to_base(name), atol=1e-6)


def test_a_second_laboratory_at_the_same_address_is_refused(running: Running) -> None:
    with pytest.raises(SimulationError, match=r"127\.0"):
        Laboratory(running.lab, LaboratoryConfig(), lambda now_ns: None, lambda now_ns: None)


def test_statistics(running: Running) -> None:
    running.client.request("reset_statistics")
    running.client.request("status")
    statistics = running.client.request("statistics")
    assert statistics["fci"]["lost"] == 0
    assert min(statistics["exposures"].values()) > 0


def test_an_unknown_task_is_an_error_before_anything_starts() -> None:
    with pytest.raises(SimulationError, match=r"no such task; known: .*reach"):
        Laboratory(own_lab(), LaboratoryConfig(task="fly"), lambda now_ns: None, lambda now_ns: None)
