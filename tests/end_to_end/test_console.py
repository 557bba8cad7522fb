"""The operator's page, in a real browser, of the whole graph: cameras, recording, stop.

With VIPA_SCREENSHOT=FILE the page is also kept as a picture, as for the README.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from browser import chromium, new_page, put_first
from end_to_end.cell import Cell, stop

from vipa.environment import ros_environment

pytestmark = pytest.mark.end_to_end
AT_REST, MOVING = 0.01, 0.1  # rad/s
WITHIN_S = 0.3  # of simulated time, from the key to the arm at rest
WATCH = """
import time
import rclpy
from vipa_msgs.msg import ArmState
from vipa.nodes.base import FRAMES
from vipa.nodes.messages import to_ns
from vipa.scheduling import CHAIN_PRIORITY, request_real_time
request_real_time(CHAIN_PRIORITY)
rclpy.init()
node = rclpy.create_node("watch")
def see(state):
    print(time.time(), to_ns(state.header.stamp), max(map(abs, state.joint_velocities)), flush=True)
subscription = node.create_subscription(ArmState, "/fr3/state", see, FRAMES)
rclpy.spin(node)
"""


@pytest.fixture
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


def test_the_operators_page(cell: Cell, browser: Any, record_property: Callable[[str, object], None]) -> None:
    recordings = str(cell.folder / "recordings")
    process = cell.start("bringup", "--policy", "wave", "--console", "--record", "--recordings", recordings)
    cell.wait_for_log("supervisor", "cell READY")
    cell.wait_for_log("console", "console: http")
    cell.wait_for_log("recorder", "episodes go to")
    with new_page(browser, 1280, 1120) as page:
        page.goto(f"http://{cell.host}:8080/")
        page.locator("#lost").wait_for(state="hidden")
        page.locator("#cell-state", has_text="READY").wait_for()
        wait_for_live_cameras(page)

        page.locator("#instruction-text").fill("touch the markers")
        page.get_by_role("button", name="Start recording").click()
        page.get_by_text("episode_000001: started touch the markers").wait_for()
        page.locator("#instruction-text").blur()
        page.keyboard.press("1")
        page.get_by_text("episode_000001: sub_task touch red").wait_for()
        take_screenshot(page)
        page.get_by_role("button", name="Stop: success").click()
        episode = page.locator("[data-episode=episode_000001]")
        episode.get_by_text("success").wait_for()
        episode.locator("img").wait_for()

        put_first()
        stopping_s = time_to_rest(cell, page)
        print(f"from the key to the arm at rest: {stopping_s * 1e3:.0f} ms of simulated time")
        record_property("stop_to_rest_ms", round(stopping_s * 1e3))
        assert stopping_s <= WITHIN_S

        reset(page)
        status, output = stop(process)
        page.locator("#lost").wait_for(state="visible")
    assert status == 0, output


def wait_for_live_cameras(page: Any) -> None:
    """Until the pixels of both cameras have changed; the arm moves."""
    look = """() => [...document.querySelectorAll("canvas")].map(c => {
        const pixels = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        return [c.dataset.camera, pixels.reduce((sum, value) => (sum * 31 + value) | 0, 0)];
    })"""
    first = dict(page.evaluate(look))
    assert set(first) == {"front", "side"}
    deadline = time.monotonic() + 30
    for _ in range(2):  # from black to a picture, and to the next
        while any(value == first[name] for name, value in page.evaluate(look)):
            assert time.monotonic() < deadline, "the pictures do not change"
            time.sleep(0.2)
        first = dict(page.evaluate(look))


def time_to_rest(cell: Cell, page: Any) -> float:
    """Press Space while the arm moves; s of simulated time from the key's event until the arm is at rest for good.

    The arm of this policy pauses now and then; a key that met a pause says nothing, so it is pressed again.
    """
    log = cell.folder / "arm.txt"
    environment = {**os.environ, **ros_environment(), "ROS_DOMAIN_ID": str(cell.domain)}
    page.evaluate("addEventListener('keydown', e => { window.keyTime = performance.timeOrigin + e.timeStamp }, true)")
    with log.open("w") as output:
        watch = subprocess.Popen([sys.executable, "-c", WATCH], env=environment, stdout=output)
    try:
        for _ in range(8):
            press_in_motion(page, log)
            pressed = page.evaluate("window.keyTime") * 1e-3
            states = arm_states(log)
            at_key = max(state for state in states if state.seen <= pressed)
            if at_key.speed >= MOVING:
                at_rest_s = max(state.stamp for state in states if state.speed >= AT_REST)
                assert states[-1].stamp - at_rest_s > 1.0
                return at_rest_s - at_key.stamp
            reset(page)
    finally:
        watch.kill()
        watch.wait()
    pytest.fail("the arm never moved when the key was pressed")


def press_in_motion(page: Any, log: Path) -> None:
    """Press Space when the arm moves fast, and let it rest."""
    begin, deadline = time.time(), time.monotonic() + 60
    while not (states := arm_states(log)) or states[-1].seen < begin or states[-1].speed < 2 * MOVING:
        assert time.monotonic() < deadline, "the arm does not move"
        time.sleep(0.01)
    page.keyboard.press("Space")
    page.locator("#cell-state", has_text="STOPPED").wait_for()
    time.sleep(2.0)


def reset(page: Any) -> None:
    """Allow motion again."""
    page.locator("#reset").click()
    page.locator("#ask-yes").click()
    page.locator("#cell-state", has_text="READY").wait_for()


class ArmState(NamedTuple):
    """Greatest joint speed (rad/s) at a simulated time (s), and when it was seen (s of the wall)."""

    seen: float
    stamp: float
    speed: float


def arm_states(log: Path) -> list[ArmState]:
    """What the watch wrote so far."""
    lines = log.read_text().splitlines(keepends=True)
    rows = [line.split() for line in lines if line.endswith("\n")]
    return [ArmState(float(seen), int(stamp) * 1e-9, float(speed)) for seen, stamp, speed in rows]


def take_screenshot(page: Any) -> None:
    target = os.environ.get("VIPA_SCREENSHOT")
    if target:
        page.screenshot(path=target)
