"""The page in a real browser, with a cell that the test decides."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from browser import chromium, new_page
from serving_console import TOKEN, FakeCell, jpeg, running, wait_until

from vipa.console.cell_view import TrialState
from vipa.console.config import ConsoleConfig

QUICK_MS = 5000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def cell() -> Iterator[FakeCell]:
    with running() as instance:
        now = time.monotonic() + 1000.0
        instance.view.see("cell", {"state": "READY", "motion_allowed": True, "reason": "", "nodes": {}}, now)
        arm = {"mode": "STREAMING", "joints": [0.0], "position": [0.5], "speed": 1.0, "detail": ""}
        instance.view.see("arm", arm, now)
        recorder = {"recording": True, "folder": "x", "episode": "episode_000002", "instruction": "wave",
                    "duration": 1.5, "frames": 3, "dropped": 0, "free_gb": 100.0, "warnings": []}  # fmt: skip
        instance.view.see("recorder", recorder, now)
        yield instance


@pytest.fixture
def page(browser: Any, cell: FakeCell) -> Iterator[Any]:
    with new_page(browser) as opened:
        open_page(opened, cell)
        yield opened


def open_page(page: Any, cell: FakeCell, path: str = "/") -> None:
    page.goto(f"http://{cell.authority}{path}")
    page.locator("#lost").wait_for(state="hidden", timeout=QUICK_MS)


def asked(cell: FakeCell, action: str, **fields: str) -> None:
    wait_until(lambda: bool(cell.requests))
    request = cell.requests.pop(0)
    assert (request.action, dict(request.fields)) == (action, fields)


def pixel(page: Any, camera: str) -> int:
    """The grey in the middle of a camera's picture."""
    return int(page.evaluate(
        """camera => { const c = document.querySelector(`[data-camera=${camera}]`);
           return c.getContext("2d").getImageData(c.width / 2, c.height / 2, 1, 1).data[0]; }""", camera))  # fmt: skip


def test_the_cameras_are_live(page: Any, cell: FakeCell) -> None:
    for value in (30, 220):
        cell.picture = jpeg(value)
        for camera in ("front", "side"):
            wait_until(lambda c=camera, v=value: abs(pixel(page, c) - v) < 5)


@pytest.mark.parametrize("how", ["mouse", "Space", "Escape", "Enter", "in a text field", "in a question"])
def test_stop_is_one_touch_away(page: Any, cell: FakeCell, how: str) -> None:
    if how == "mouse":
        page.locator("#stop").click()
    elif how == "Enter":
        page.locator("#stop").focus()
        page.keyboard.press("Enter")
    elif how == "in a text field":
        page.locator("#instruction-text").fill("wave")
        page.keyboard.press("Space")
        assert page.locator("#instruction-text").input_value() == "wave "
        page.keyboard.press("Escape")
    elif how == "in a question":
        page.locator("#reset").click()
        page.keyboard.press("Escape")
        assert not page.locator("#ask").is_visible()
    else:
        page.locator("#hold").focus()  # a space must not press the button that has the focus
        page.keyboard.press(how)
    asked(cell, "stop")
    time.sleep(0.2)
    assert cell.requests == []
    assert page.locator("#message").inner_text() == "done"


def test_a_stop_that_nothing_confirms_is_told(page: Any, cell: FakeCell) -> None:
    page.locator("#stop").click()
    page.get_by_text("The stop is not confirmed: use the emergency stop").wait_for(timeout=QUICK_MS)


def test_a_reset_asks_first(page: Any, cell: FakeCell) -> None:
    page.locator("#reset").click()
    page.locator("#ask-no").click()
    page.locator("#reset").click()
    page.locator("#ask-yes").click()
    asked(cell, "reset")
    assert cell.requests == []


def test_the_recorder_is_led_and_sub_tasks_are_marked(page: Any, cell: FakeCell) -> None:
    page.get_by_role("button", name="Mark sub-task 1: touch red").click()
    asked(cell, "mark", kind="sub_task", text="touch red")
    page.keyboard.press("2")
    asked(cell, "mark", kind="sub_task", text="touch green")
    page.keyboard.press("3")  # there is none
    page.locator("#instruction-text").focus()
    page.keyboard.press("1")  # typed
    page.get_by_role("button", name="Stop: success").click()
    asked(cell, "record_stop", kind="success")
    page.get_by_role("button", name="Discard …").click()
    page.locator("#ask-input").fill("the hand slipped")
    page.locator("#ask-yes").click()
    asked(cell, "record_discard", text="the hand slipped")
    cell.view.see("recorder", {**cell.view.latest("recorder"), "recording": False}, time.monotonic() + 1000.0)
    page.locator("#instruction-text").fill("wipe the board")
    page.get_by_role("button", name="Start recording").click()
    asked(cell, "record_start", text="wipe the board")
    page.get_by_role("button", name="Set instruction").click()
    asked(cell, "instruct", text="wipe the board")
    page.get_by_role("button", name="Hold").click()
    asked(cell, "instruct", text="hold")


def test_the_names_of_sub_tasks_can_be_changed(page: Any, cell: FakeCell) -> None:
    page.get_by_text("Names of the sub-tasks").click()
    page.locator("#sub-task-names").fill("grasp\n\nlift")
    page.locator("#sub-task-names").blur()
    page.get_by_role("button", name="Mark sub-task 2: lift").click()
    asked(cell, "mark", kind="sub_task", text="lift")
    page.reload()
    page.get_by_role("button", name="Mark sub-task 1: grasp").wait_for(timeout=QUICK_MS)


def test_a_trial_asks_its_operator(page: Any, cell: FakeCell) -> None:
    assert not page.locator("#question").is_visible()
    cell.view.trial = TrialState("reach-1", "set_up", "", "Set up reach")
    page.get_by_role("button", name="Cell is ready").click()
    asked(cell, "answer", trial="reach-1", sub_task="", kind="ready", text="")
    cell.view.trial = TrialState("reach-1", "judge", "touch red", "touch red - done?")
    page.get_by_text("touch red - done?").wait_for(timeout=QUICK_MS)
    page.get_by_role("button", name="Failed").click()
    asked(cell, "answer", trial="reach-1", sub_task="touch red", kind="no", text="")
    page.get_by_role("button", name="Abort trial …").click()
    page.locator("#ask-yes").click()
    page.get_by_text("An abort needs a reason").wait_for(timeout=QUICK_MS)
    page.get_by_role("button", name="Abort trial …").click()
    page.locator("#ask-input").fill("the cloth fell")
    page.locator("#ask-yes").click()
    asked(cell, "answer", trial="reach-1", sub_task="touch red", kind="abort", text="the cloth fell")


def test_figures_and_refusals_are_shown(page: Any, cell: FakeCell) -> None:
    cell.view.gate.see("workspace", "0.9 m", is_refusal=True)
    page.get_by_text("Last: workspace: 0.9 m").wait_for(timeout=QUICK_MS)
    assert "60" in page.locator("#latency-note").inner_text()


def test_text_from_the_cell_is_never_markup(page: Any, cell: FakeCell) -> None:
    evil = "<img src=x onerror=document.title='evil'>"
    cell.view.see_instruction(evil)
    cell.view.see_event("recorder", evil, evil, evil, 1.0)
    episode = {"name": evil, "instruction": evil, "outcome": "", "duration": 1.0, "frames": 1, "warnings": [evil]}
    cell.thread.call(cell.server.publish, "episodes", {"list": [episode]})
    page.locator("#episodes li").wait_for(timeout=QUICK_MS)
    assert page.locator("#episodes strong").inner_text() == evil
    assert page.title() == "VIPA console"


def test_episodes_have_their_pictures(page: Any, cell: FakeCell) -> None:
    listed = [{"name": f"episode_00000{n}", "instruction": "wave", "outcome": "success", "duration": 2.0, "frames": 9,
               "warnings": []} for n in (2, 1)]  # fmt: skip
    cell.thread.call(cell.server.publish, "episodes", {"list": listed})
    page.locator("[data-episode=episode_000001] img").wait_for(timeout=QUICK_MS)
    assert page.locator("[data-episode=episode_000002] .blank").count() == 1
    assert "success" in page.locator("[data-episode=episode_000001]").inner_text()


def test_a_lost_connection_is_shown_at_once_and_moves_nothing(browser: Any) -> None:
    with new_page(browser) as page:
        with running() as cell:
            open_page(page, cell)
            port = cell.server.port
        page.locator("#lost").wait_for(state="visible", timeout=1000)
        assert "cannot stop the robot" in page.locator("#lost").inner_text()
        page.keyboard.press("Space")
        page.evaluate("document.querySelector('#hold').click()")
        page.evaluate("document.querySelector('#stop').click()")
        with running(ConsoleConfig(port=port)) as again:
            page.locator("#lost").wait_for(state="hidden", timeout=QUICK_MS)
            time.sleep(0.3)
            assert again.requests == []


def test_a_server_that_falls_silent_counts_as_lost(page: Any, cell: FakeCell) -> None:
    cell.is_silent = True
    began = time.monotonic()
    page.locator("#lost").wait_for(state="visible", timeout=3000)
    assert time.monotonic() - began < 2.0
    page.keyboard.press("Space")
    time.sleep(0.3)
    assert cell.requests == []
    cell.is_silent = False
    page.locator("#lost").wait_for(state="hidden", timeout=QUICK_MS)


def test_the_token_is_asked_for_and_never_stays_in_the_address(browser: Any) -> None:
    with running(token=TOKEN) as cell:
        with new_page(browser) as page:
            page.goto(f"http://{cell.authority}/")
            page.locator("#token").fill(TOKEN)
            page.get_by_role("button", name="Connect").click()
            page.locator("#lost").wait_for(state="hidden", timeout=QUICK_MS)
        with new_page(browser) as page:
            open_page(page, cell, f"/#token={TOKEN}")
            assert TOKEN not in page.url


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (820, 1180), (390, 844)])
def test_everything_fits_and_can_be_touched(browser: Any, cell: FakeCell, width: int, height: int) -> None:
    cell.view.trial = TrialState("reach-1", "judge", "touch red", "touch red - done?")
    with new_page(browser, width, height, has_touch=True) as page:
        open_page(page, cell)
        page.get_by_text("touch red - done?").wait_for(timeout=QUICK_MS)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        stop = page.locator("#stop").bounding_box()
        assert stop["y"] + stop["height"] <= height
        buttons = page.get_by_role("button").all()
        assert len(buttons) > 12
        for button in buttons:
            box = button.bounding_box()
            assert min(box["width"], box["height"]) >= 44, button.inner_text()
            assert button.evaluate("b => (b.getAttribute('aria-label') || b.innerText).trim()")
        page.locator("#stop").tap()
        asked(cell, "stop")
