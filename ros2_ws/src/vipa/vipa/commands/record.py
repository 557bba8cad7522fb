"""``vipa record``: lead the recorder of a running graph, list episodes, complete those that a crash cut off."""

import argparse
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from vipa.bringup import new_log_folder
from vipa.commands import Subparsers, add_command, finish
from vipa.commands.client import add_domain, ask, client_environment
from vipa.environment import repository_folder
from vipa.graph import recorder_beside
from vipa.result import Result

CLIENT = "vipa.nodes.recorder_client"


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser("record", help="Record episodes that survive crashes and full disks")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    summary = "Run the recorder beside a graph that runs already; Ctrl-C ends it"
    runner = add_command(actions, "run", summary, "vipa record run --lab simulated --recordings /data/wipe_board")
    runner.add_argument("--lab", default="simulated", help="a shipped laboratory or a YAML file (default: simulated)")
    runner.add_argument("--recordings", default="", metavar="FOLDER", help="of the episodes (default: recordings/)")
    add_domain(runner)
    runner.set_defaults(action=_run_recorder)

    start = _add_call(actions, "start", "Begin an episode", 'vipa record start "put three objects into the drawer"')
    start.add_argument("text", metavar="INSTRUCTION", help="what the robot is told to do")
    stop = _add_call(actions, "stop", "End the episode and keep it", "vipa record stop --outcome success")
    stop.add_argument("--outcome", dest="kind", choices=("success", "failure"), default="", help="of the episode")
    summary = "End the episode, or take the last one, and set it aside"
    discard = _add_call(actions, "discard", summary, 'vipa record discard "the hand slipped"')
    discard.add_argument("text", metavar="REASON", nargs="?", default="", help="noted in the episode")
    mark = _add_call(actions, "mark", "Note something in the running episode", "vipa record mark sub_task drawer_open")
    mark.add_argument("kind", choices=("success", "failure", "sub_task", "note"), help="what is noted")
    mark.add_argument("text", nargs="?", default="", help="name of the sub-task, or the note")
    _add_call(actions, "state", "Say what the recorder does", "vipa record state --json -")

    lister = add_command(actions, "list", "List the episodes of a folder", "vipa record list recordings --json -")
    _add_folder(lister)
    lister.set_defaults(action=_run_list)
    summary = "Complete the episodes that a crash cut off; finished ones stay byte for byte as they are"
    recover = add_command(actions, "recover", summary, "vipa record recover recordings")
    _add_folder(recover)
    recover.set_defaults(action=_run_recover)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    return int(options.action(options))


def _add_call(actions: Subparsers, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    parser = add_command(actions, name, summary, example)
    add_domain(parser)
    parser.set_defaults(action=_run_call, command=name, kind="", text="")
    return parser


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", help="of all episodes (default: recordings/ in the repository)")


def _run_recorder(options: argparse.Namespace) -> int:
    node = recorder_beside(options.lab, options.recordings)
    folder = new_log_folder(repository_folder() / "logs")
    parameters = folder / "recorder.yaml"
    parameters.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(node.parameters)}}), encoding="utf-8")
    command = [sys.executable, "-m", node.module, "--ros-args", "-r", f"__node:={node.name}",
               "--params-file", str(parameters)]  # fmt: skip
    status = subprocess.run(command, env=client_environment(options.domain), check=False).returncode
    return finish(Result("record run", status == 0, details={"exit_status": status}), options)


def _run_call(options: argparse.Namespace) -> int:
    arguments = [options.command, "--kind", options.kind, "--text", options.text]
    answer = ask(f"record {options.command}", CLIENT, arguments, options.domain)
    line = " ".join(word for word in (f"{answer['episode']}:" if answer["episode"] else "", answer["message"]) if word)
    print(line, file=sys.stderr if options.json == "-" or not answer["success"] else sys.stdout)
    return finish(Result(f"record {options.command}", bool(answer["success"]), details=answer), options)


def _run_list(options: argparse.Namespace) -> int:
    from vipa.recording.store import list_episodes

    listed = list_episodes(_folder(options))
    output = sys.stderr if options.json == "-" else sys.stdout
    for entry in listed:
        episode = entry.episode
        if episode is None:
            print(f"{entry.folder.name}  {entry.problem}", file=output)
            continue
        counts = f"{episode.duration:7.1f} s {sum(episode.frames.values()):7d} frames {episode.file_size / 1e6:8.1f} MB"
        notes = "; ".join((*(["recovered"] if episode.recovered else []), *episode.warnings))
        line = f"{episode.name}  {counts}  {episode.outcome or '-':7}  {episode.instruction}"
        print(f"{line}  [{notes}]" if notes else line, file=output)
    episodes = [entry.episode for entry in listed if entry.episode is not None]
    figures = {
        "episodes": float(len(episodes)),
        "not_ended": float(len(listed) - len(episodes)),
        "duration_s": sum(episode.duration for episode in episodes),
        "dropped": float(sum(sum(episode.dropped.values()) for episode in episodes)),
    }
    details = {"folder": str(_folder(options)), "episodes": [asdict(episode) for episode in episodes],
               "problems": {e.folder.name: e.problem for e in listed if e.episode is None}}  # fmt: skip
    return finish(Result("record list", True, figures, details=details), options)


def _run_recover(options: argparse.Namespace) -> int:
    from vipa.recording.store import RecordingStore, list_episodes

    folder = _folder(options)
    finished = sum(entry.episode is not None for entry in list_episodes(folder))
    store = RecordingStore(folder)
    try:
        recovery = store.recover()
    finally:
        store.close()
    output = sys.stderr if options.json == "-" else sys.stdout
    for problem in recovery.problems:
        print(problem, file=sys.stderr)
    for item in recovery.recovered:
        episode = item.episode
        line = f"{episode.name}: {episode.messages} messages in {episode.duration:.1f} s kept"
        print(f"{line}; {item.removed} bytes of a torn chunk removed", file=output)
    print(f"{len(recovery.recovered)} episodes completed, {finished} left as they were", file=output)
    figures = {
        "recovered": float(len(recovery.recovered)),
        "failed": float(len(recovery.problems)),
        "left_alone": float(finished),
    }
    details: dict[str, Any] = {
        item.episode.name: asdict(item.episode) | {"removed_bytes": item.removed, "kept_aside": item.kept_aside}
        for item in recovery.recovered
    }
    result = Result("record recover", not recovery.problems, figures, details=details | {"problems": recovery.problems})
    return finish(result, options)


def _folder(options: argparse.Namespace) -> Path:
    return options.folder if options.folder is not None else repository_folder() / "recordings"
