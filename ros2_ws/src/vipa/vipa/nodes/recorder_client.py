"""Asks the recorder once, prints its answer as JSON, and ends: what ``vipa record start`` and its like run."""

import argparse
import sys
import time

import rclpy
from vipa_msgs.msg import RecorderState
from vipa_msgs.srv import RecorderCommand

from vipa.nodes.base import LATCHED
from vipa.nodes.client import NO_RECORDER, run_client

WAIT_S = 6.0
ANSWER_S = 60.0  # on a slow disk, stop waits for what has not been written yet


def ask(command: str, kind: str, text: str) -> dict[str, object]:
    """Call /recorder/command; what it answered."""
    node = rclpy.create_node("recorder_client")
    client = node.create_client(RecorderCommand, "/recorder/command")
    if not client.wait_for_service(WAIT_S):
        return {"success": False, "message": NO_RECORDER, "episode": ""}
    future = client.call_async(RecorderCommand.Request(command=command, kind=kind, text=text))
    rclpy.spin_until_future_complete(node, future, timeout_sec=ANSWER_S)
    found = future.result()
    if found is None:
        return {"success": False, "message": f"the recorder did not answer within {ANSWER_S:.0f} s", "episode": ""}
    return {"success": found.success, "message": found.message, "episode": found.episode}


def state() -> dict[str, object]:
    """The newest /recorder/state."""
    node = rclpy.create_node("recorder_client")
    received: list[RecorderState] = []
    node.create_subscription(RecorderState, "/recorder/state", received.append, LATCHED)
    deadline = time.monotonic() + WAIT_S
    while not received and time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=0.2)
    if not received:
        return {"success": False, "message": NO_RECORDER, "episode": ""}
    newest = received[-1]
    names = [name for name in newest.get_fields_and_field_types() if name not in ("header", "warnings")]
    values = {name: getattr(newest, name) for name in names}
    message = f"recording {newest.instruction}".strip() if newest.recording else "not recording"
    return {"success": True, "message": message, "episode": newest.episode, "state": values,
            "warnings": list(newest.warnings)}  # fmt: skip


def answer(options: argparse.Namespace) -> dict[str, object]:
    """The answer to a command of the command line."""
    return state() if options.command == "state" else ask(options.command, options.kind, options.text)


def main() -> int:
    """Run the client."""
    return run_client(("start", "stop", "discard", "mark", "state"), answer)


if __name__ == "__main__":
    sys.exit(main())
