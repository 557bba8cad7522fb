"""What an operator can ask of the running cell: the console and ``vipa cell`` ask through here."""

import asyncio
import time
from typing import Any

from rclpy.duration import Duration
from std_msgs.msg import String
from std_srvs.srv import Trigger
from vipa_msgs.msg import TrialEvent
from vipa_msgs.srv import RecorderCommand

from vipa.console.cell_view import CellView
from vipa.console.requests import Reply
from vipa.nodes.base import LATCHED, RELIABLE
from vipa.nodes.client import NO_RECORDER

ANSWER_S = 5.0
MATCH_S = 2.0  # for a new publisher to be found by those who listen
RECORDER_ANSWER_S = 60.0  # on a slow disk, stop waits for what has not been written yet
SUPERVISOR = "no supervisor answers. Use the emergency stop, and look at the log of the supervisor"


class CellServices:
    """Every method answers with one line; none raises. To be awaited in one event loop, while an executor spins.

    Args:
        node: an rclpy node that some executor serves.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._triggers = {
            name: node.create_client(Trigger, name)
            for name in ("/supervisor/stop", "/supervisor/resume", "/fr3/recover", "/hand/clear_errors")
        }
        self._recorder = node.create_client(RecorderCommand, "/recorder/command")
        self._answers = node.create_publisher(TrialEvent, "/trial/answer", RELIABLE)
        self._instructions: Any = None
        self._instruction = ""

    def finds_supervisor(self) -> bool:
        """Whether the supervisor can be asked."""
        return all(self._triggers[name].service_is_ready() for name in ("/supervisor/stop", "/supervisor/resume"))

    async def stop(self) -> Reply:
        """Stop the cell: the arm brakes along its path, the hand keeps its grasp."""
        return await self._trigger("/supervisor/stop", SUPERVISOR)

    async def reset(self, arm_needs_recovery: bool, hand_has_error: bool) -> Reply:
        """Recover arm and hand where they need it, then allow motion again."""
        steps = (("/fr3/recover", arm_needs_recovery), ("/hand/clear_errors", hand_has_error))
        for name, is_needed in steps:
            if is_needed:
                reply = await self._trigger(name, f"{name} is not offered: the driver does not run")
                if not reply.success:
                    return reply
        return await self._trigger("/supervisor/resume", SUPERVISOR)

    async def record(self, command: str, kind: str, text: str) -> Reply:
        """Lead the recorder; see RecorderCommand."""
        request = RecorderCommand.Request(command=command, kind=kind, text=text)
        answer = await self._call(self._recorder, request, RECORDER_ANSWER_S)
        if answer is None:
            return Reply(False, NO_RECORDER)
        message = f"{answer.episode}: {answer.message}" if answer.episode else str(answer.message)
        return Reply(bool(answer.success), message)

    async def instruct(self, text: str, view: CellView) -> Reply:
        """Tell the policy what to do; "hold" pauses it. Not while a trial runs, which says that itself."""
        if view.trial.runs:
            return Reply(False, "a trial runs, and it alone says what the policy does. Stop the cell to end it")
        if self._instructions is None:
            self._instructions = self._node.create_publisher(String, "/policy/instruction", LATCHED)
        self._instruction = text
        deadline = time.monotonic() + MATCH_S
        while self._instructions.get_subscription_count() < self._node.count_subscribers("/policy/instruction"):
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(0.02)
        self._instructions.publish(String(data=text))
        # A client that ends at once would take what has not arrived yet with it.
        await asyncio.to_thread(self._instructions.wait_for_all_acked, Duration(seconds=MATCH_S))
        return Reply(True, f"instruction: {text}")

    def see_instruction(self, text: str) -> None:
        """Take in the instruction in force: once it is another's, ours is not kept for nodes that come later."""
        if self._instructions is not None and text != self._instruction:
            self._node.destroy_publisher(self._instructions)
            self._instructions = None

    def answer(self, trial: str, sub_task: str, kind: str, text: str) -> Reply:
        """Answer what the referee of a trial asks: "ready", "yes", "no", or "abort" with the reason as text."""
        if not self._node.count_subscribers("/trial/answer"):
            return Reply(False, "no trial waits for an answer")
        self._answers.publish(TrialEvent(trial=trial, event=kind, sub_task=sub_task, detail=text))
        return Reply(True, f"answered: {' '.join(word for word in (sub_task, kind, text) if word)}")

    async def _trigger(self, name: str, missing: str) -> Reply:
        answer = await self._call(self._triggers[name], Trigger.Request(), ANSWER_S)
        return Reply(False, missing) if answer is None else Reply(bool(answer.success), str(answer.message))

    async def _call(self, client: Any, request: Any, seconds: float) -> Any | None:
        """The answer of a service; None where nobody answers."""
        if not client.service_is_ready():
            return None
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Any] = loop.create_future()
        future = client.call_async(request)
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(_settle, answered, done))
        try:
            return await asyncio.wait_for(answered, seconds)
        except asyncio.TimeoutError:
            client.remove_pending_request(future)
            return None


def _settle(answered: "asyncio.Future[Any]", done: Any) -> None:
    if not answered.done():
        answered.set_result(done.result())
