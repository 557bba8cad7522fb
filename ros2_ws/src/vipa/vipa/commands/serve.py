"""``vipa serve``: a policy for other machines and programs, by the protocol of openpi's clients."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vipa.commands import add_command
from vipa.commands.bringup import add_policy_options
from vipa.errors import ConfigurationError
from vipa.policy_options import options_from_pairs
from vipa.result import Result
from vipa_inference.policy import PolicyError
from vipa_inference.registry import make_policy

if TYPE_CHECKING:
    from vipa.commands import Subparsers
    from vipa_inference.serving.server import PolicyServer


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Declare the subcommand."""
    summary = "Serve a policy by websocket, until Ctrl-C; --policy remote and the clients of openpi ask it for chunks"
    example = "vipa serve --policy vipa --policy-option checkpoint=runs/nano --host 0.0.0.0 --token-file token.txt"
    parser = add_command(subparsers, "serve", summary, example)
    parser.allow_abbrev = False  # so that --token is not taken for --token-file
    add_policy_options(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one (default: 8000)")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="what clients must show (default: the environment variable VIPA_POLICY_TOKEN; without: nothing)",
    )
    parser.add_argument("--max-clients", type=int, default=8, metavar="N", help="at the same time (default: 8)")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the subcommand; Ctrl-C and SIGTERM end it with exit status 0."""
    try:
        server = asyncio.run(_serve(options))
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"serve: the package {error.name} is missing; pip install '.[serve]'") from None
    except (PolicyError, ValueError) as error:
        raise ConfigurationError(f"serve: {error}") from None
    if options.json:
        figures = {"requests": float(server.requests), "errors": float(server.errors)}
        Result("serve", figures=figures, details={"policy": options.policy}).write(options.json)
    return 0


async def _serve(options: argparse.Namespace) -> "PolicyServer":
    from vipa_inference.serving.authentication import read_token
    from vipa_inference.serving.server import PolicyServer, ServerConfig

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    config = ServerConfig(host=options.host, port=options.port, max_clients=options.max_clients)
    token = read_token(options.token_file)
    policy = make_policy(options.policy, **options_from_pairs(options.policy_option))
    server = PolicyServer(policy, config, token)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("vipa_inference.serving").setLevel(logging.INFO)
    await server.start()
    access = "with the token" if token else "without a token"
    address = f"ws://{f'[{options.host}]' if ':' in options.host else options.host}:{server.port}"
    output = sys.stderr if options.json == "-" else sys.stdout
    print(f"policy {policy.name} ({policy.policy_hash[:12]}) at {address}, {access}; Ctrl-C ends it", file=output)
    output.flush()
    await stopped.wait()
    await server.stop()
    return server
