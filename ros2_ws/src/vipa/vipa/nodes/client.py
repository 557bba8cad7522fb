"""What the clients of a running graph share: a command from the command line, one answer as JSON, then the end."""

import argparse
import json
from collections.abc import Callable, Sequence

import rclpy

NO_RECORDER = "no recorder answers: start the graph with --record, or: vipa record run"


def run_client(commands: Sequence[str], ask: Callable[[argparse.Namespace], dict[str, object]]) -> int:
    """Ask what the command line says and print the answer; exit status 0 only where its "success" is true.

    Args:
        commands: that are known.
        ask: the answer to ``command`` with ``kind`` and ``text``, within rclpy.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=commands)
    parser.add_argument("--kind", default="")
    parser.add_argument("--text", default="")
    options = parser.parse_args()
    rclpy.init()
    try:
        answer = ask(options)
    finally:
        rclpy.try_shutdown()
    print(json.dumps(answer))
    return 0 if answer["success"] else 1
