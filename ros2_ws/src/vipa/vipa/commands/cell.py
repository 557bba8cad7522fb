"""``vipa cell``: what the console's page does, from the command line: stop, reset, instruct, answer, status."""

import argparse
import sys
from typing import Any

from vipa.commands import Subparsers, add_command
from vipa.commands.client import add_domain, ask
from vipa.result import Result

CLIENT = "vipa.nodes.cell_client"


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser("cell", help="Stop, reset and instruct a running cell, or say how it is")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add(actions, "stop", "Stop arm and hand smoothly, until reset; no emergency stop", "vipa cell stop")
    _add(actions, "reset", "Recover arm and hand where they need it, and allow motion again", "vipa cell reset")
    summary = "Tell the policy what to do; 'hold' pauses it"
    instruct = _add(actions, "instruct", summary, 'vipa cell instruct "wipe the board"')
    instruct.add_argument("text", metavar="INSTRUCTION", help="in words")
    summary = "Answer what a trial asks its operator"
    answer = _add(actions, "answer", summary, 'vipa cell answer abort "the cloth fell off the table"')
    answer.add_argument(
        "kind", choices=("ready", "yes", "no", "abort"), help="the cell is set up; done; failed; end it"
    )
    answer.add_argument("text", metavar="REASON", nargs="?", default="", help="of an abort")
    _add(actions, "status", "Say how the cell is", "vipa cell status --json -")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    arguments = [options.command, "--kind", options.kind, "--text", options.text]
    answer = ask(f"cell {options.command}", CLIENT, arguments, options.domain)
    lines = [answer["message"], *_details(answer["state"])] if "state" in answer else [answer["message"]]
    print("\n".join(lines), file=sys.stderr if options.json == "-" or not answer["success"] else sys.stdout)
    result = Result(f"cell {options.command}", bool(answer["success"]), details=answer)
    if options.json:
        result.write(options.json)
    return 0 if result.passed else 1


def _add(actions: Subparsers, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    parser = add_command(actions, name, summary, example)
    add_domain(parser)
    parser.set_defaults(command=name, kind="", text="")
    return parser


def _details(state: dict[str, Any]) -> list[str]:
    """The parts of the cell that have been heard of, one line each."""
    lines = [f"  {node}: {lifecycle}" for node, lifecycle in state["cell"].get("nodes", {}).items()]
    if "mode" in state["arm"]:
        lines.append(f"arm {state['arm']['mode']} {state['arm']['detail']}".rstrip())
    if "connected" in state["hand"]:
        hand = state["hand"]
        lines.append(f"hand {'connected' if hand['connected'] else 'not connected'} {hand['detail']}".rstrip())
    if "name" in state["policy"]:
        lines.append(f"policy {state['policy']['name']}: {state['policy']['instruction'] or 'no instruction'}")
    if "recording" in state["recorder"]:
        recorder = state["recorder"]
        lines.append(f"recorder: {'recording ' + recorder['episode'] if recorder['recording'] else 'not recording'}")
    trial = state["trial"]
    return [*lines, f"trial {trial['trial']} asks: {trial['text']}"] if trial["asks"] else lines
