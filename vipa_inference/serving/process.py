"""A process that serves a policy until it is told to end."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from typing import TextIO

from vipa_inference.policy import Policy
from vipa_inference.serving.server import PolicyServer, ServerConfig


async def serve_until_stopped(
    make: Callable[[], Policy], config: ServerConfig, token: str | None, output: TextIO
) -> PolicyServer:
    """Serve a policy until SIGINT or SIGTERM; the server, which has stopped.

    Args:
        make: makes the policy.
        config: where the server listens, and what it grants.
        token: what clients must show; None: nothing.
        output: is told in one line what is served where, as soon as clients may come.

    Raises:
        PolicyError: there is no such policy, the address cannot be listened on, or it needs a token.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    policy = make()
    server = PolicyServer(policy, config, token)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("vipa_inference.serving").setLevel(logging.INFO)
    await server.start()
    access = "with the token" if token else "without a token"
    address = f"ws://{f'[{config.host}]' if ':' in config.host else config.host}:{server.port}"
    print(f"policy {policy.name} ({policy.policy_hash[:12]}) at {address}, {access}; Ctrl-C ends it", file=output)
    output.flush()
    await stopped.wait()
    await server.stop()
    return server
