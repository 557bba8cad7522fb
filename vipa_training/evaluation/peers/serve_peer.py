"""Serve a trained peer: python -m vipa_training.evaluation.peers.serve_peer runs/act; ends with Ctrl-C."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from vipa_inference.policy import Policy, PolicyError
from vipa_training.evaluation.peers.note import PeerError, PeerNote, fingerprint


def load_policy(folder: Path, device: str) -> Policy:
    """The peer in a folder.

    Raises:
        PeerError: it cannot be read.
        ModuleNotFoundError: this is not LeRobot's environment.
    """
    note = PeerNote.read(folder)
    from vipa_training.evaluation.peers.models import saved_peer
    from vipa_training.evaluation.peers.policy import PeerPolicy

    peer = saved_peer(folder, note.kind, device)
    return PeerPolicy(note, fingerprint(folder), peer.predict, peer.policy.reset)


async def _serve(options: argparse.Namespace) -> None:
    from vipa_inference.serving.authentication import read_token
    from vipa_inference.serving.server import PolicyServer, ServerConfig

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    config, token = ServerConfig(host=options.host, port=options.port), read_token(options.token_file)
    policy = load_policy(options.folder, options.device)
    server = PolicyServer(policy, config, token)
    await server.start()
    access = "with the token" if token else "without a token"
    address = f"ws://{f'[{options.host}]' if ':' in options.host else options.host}:{server.port}"
    print(f"peer {policy.name} ({policy.policy_hash[:12]}) at {address}, {access}; Ctrl-C ends it", flush=True)
    await stopped.wait()
    await server.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; 1 where that is not possible, with one line on standard error."""
    parser = argparse.ArgumentParser(prog="serve_peer", description="Serve a peer to vipa trial --policy remote")
    parser.allow_abbrev = False  # so that --token is not taken for --token-file
    parser.add_argument("folder", type=Path, help="that train_peer wrote")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one (default: 8000)")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="what clients must show")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    try:
        asyncio.run(_serve(parser.parse_args(arguments)))
    except ModuleNotFoundError as error:
        print(
            f"serve_peer: the package {error.name} is missing; run it in the environment of the README", file=sys.stderr
        )
        return 1
    except (PeerError, PolicyError, ValueError) as error:
        print(f"serve_peer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
