"""``vipa serve``: a policy for other machines and programs, by the protocol of openpi's clients."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vipa.commands import add_command
from vipa.commands.bringup import add_policy_options
from vipa.errors import ConfigurationError
from vipa.lab import load_lab
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
    example = "vipa serve --checkpoint runs/nano --lab lab.yaml"
    parser = add_command(subparsers, "serve", summary, example)
    parser.allow_abbrev = False  # so that --token is not taken for --token-file
    add_policy_options(parser)
    shown = "serve VIPA-VLA from here: short for --policy vipa --policy-option checkpoint=FOLDER"
    parser.add_argument("--checkpoint", metavar="FOLDER", help=shown)
    shown = "a laboratory whose YAML names this workstation: its address, port and token_file are the defaults"
    parser.add_argument("--lab", metavar="LAB", help=shown)
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=int, help="0: any free one (default: 8000)")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="what clients must show (default: the environment variable VIPA_POLICY_TOKEN; without: nothing)",
    )
    parser.add_argument("--max-clients", type=int, default=8, metavar="N", help="at the same time (default: 8)")
    return parser


def chosen_policy(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Name and options of the policy that is served."""
    given = options_from_pairs(options.policy_option)
    return (
        (options.policy, given) if options.checkpoint is None else ("vipa", {"checkpoint": options.checkpoint, **given})
    )


def listening(options: argparse.Namespace) -> tuple[str, int, Path | None]:
    """Host, port and file of the token: what the options say, else the laboratory's workstation, else this machine.

    Raises:
        ConfigurationError: the laboratory's YAML cannot be used, or names no workstation.
    """
    host, port, token_file = "127.0.0.1", 8000, None
    if options.lab is not None:
        workstation = load_lab(options.lab).workstation
        if workstation is None:
            raise ConfigurationError(f"serve: laboratory {options.lab} has no workstation; add it, or leave out --lab")
        host, port = workstation.address, workstation.port
        token_file = Path(workstation.token_file) if workstation.token_file else None
    port = port if options.port is None else options.port
    return options.host or host, port, options.token_file or token_file


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
        Result("serve", figures=figures, details={"policy": chosen_policy(options)[0]}).write(options.json)
    return 0


async def _serve(options: argparse.Namespace) -> "PolicyServer":
    from vipa_inference.serving.authentication import read_token
    from vipa_inference.serving.process import serve_until_stopped
    from vipa_inference.serving.server import ServerConfig

    host, port, token_file = listening(options)
    config = ServerConfig(host=host, port=port, max_clients=options.max_clients)
    name, policy_options = chosen_policy(options)
    return await serve_until_stopped(
        lambda: make_policy(name, **policy_options),
        config,
        read_token(token_file),
        sys.stderr if options.json == "-" else sys.stdout,
    )
