"""Runs a client node once, in the environment of ROS 2, for a command that has none."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from vipa.commands.bringup import domain
from vipa.environment import ros_environment
from vipa.errors import ConfigurationError
from vipa.scheduling import OPERATOR_PRIORITY, put_first

TIME_OUT_S = 90.0


def add_domain(parser: argparse.ArgumentParser) -> None:
    """The option of every command that asks a running graph."""
    parser.add_argument("--domain", type=domain, metavar="ID", help="ROS domain (default: ROS_DOMAIN_ID, else 0)")


def client_environment(chosen: int | None) -> dict[str, str]:
    """The environment of ROS 2, in the chosen domain."""
    environment = ros_environment()
    if chosen is not None:
        environment["ROS_DOMAIN_ID"] = str(chosen)
    return environment


def ask(what: str, module: str, arguments: Sequence[str], chosen: int | None) -> dict[str, Any]:
    """The JSON that a client node printed: "success", "message" and more.

    On a busy machine the client comes before what can wait: so must an operator's stop.

    Args:
        what: the command, for messages.
        module: of the client node.
        arguments: for it.
        chosen: ROS domain; None: that of the environment.

    Raises:
        ConfigurationError: it did not end, or printed no JSON.
    """
    command = [sys.executable, "-m", module, *arguments]
    environment = client_environment(chosen)
    try:
        with put_first(OPERATOR_PRIORITY):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=TIME_OUT_S, check=False
            )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"{what}: no answer within {TIME_OUT_S:.0f} s") from None
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise ConfigurationError(f"{what}: the client failed: {done.stderr.strip()}") from None
