"""``vipa dataset``: demonstrations in the format LeRobotDataset v3.0: make, export, check, merge, look at, import."""

import argparse
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from vipa.commands import Subparsers, add_command, finish, say_beside
from vipa.environment import repository_folder
from vipa.errors import ConfigurationError, VipaError
from vipa.result import Result

VIEWED = 5  # episodes, unless others are named


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser("dataset", help="Demonstrations as LeRobotDataset v3.0: make, check, look at")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_generate(actions)
    _add_export(actions)

    check = add_command(
        actions, "check", "Say everything that is wrong with a dataset", "vipa dataset check data/wipe --json -"
    )
    stats = add_command(actions, "stats", "Write the statistics of a dataset anew", "vipa dataset stats data/wipe")
    for one, run_one in ((check, _run_check), (stats, _run_stats)):
        one.add_argument("dataset", type=Path, help="the dataset's folder")
        one.set_defaults(action=run_one)

    example = "vipa dataset merge data/monday data/tuesday --out data/both"
    merge = add_command(actions, "merge", "Put several datasets into a new one; nothing is encoded again", example)
    merge.add_argument("datasets", type=Path, nargs="+", help="in this order")
    merge.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the new dataset")
    merge.set_defaults(action=_run_merge)

    summary = "Write one HTML page with the videos and curves of some episodes"
    view = add_command(actions, "view", summary, "vipa dataset view data/wipe --episodes 0,7 --out wipe.html")
    view.add_argument("dataset", type=Path, help="the dataset's folder")
    view.add_argument("--episodes", metavar="A,B", help=f"numbers (default: the first {VIEWED})")
    view.add_argument("--out", type=Path, metavar="FILE", help="the page (default: beside the dataset)")
    view.set_defaults(action=_run_view)

    _add_import(actions)
    return parser


def _add_generate(actions: Subparsers) -> None:
    summary = "Let the experts demonstrate tasks in the Gymnasium environment, on all cores; failures are not kept"
    example = "vipa dataset generate data/wipe --task wipe_board --n 50 --seed 0"
    generate = add_command(actions, "generate", summary, example)
    generate.add_argument("dataset", type=Path, help="a new folder, or a dataset that is continued")
    generate.add_argument("--task", default="", metavar="A,B", help="default: all with an expert")
    generate.add_argument("--variants", default="seen", metavar="X,Y", help="set-ups of the scene (default: seen)")
    generate.add_argument("--n", type=int, default=50, metavar="N", help="rollouts in each (default: 50)")
    generate.add_argument("--seed", type=int, default=0, help="of the first rollout (default: 0)")
    shown = "px (default: 224x168, the shape of the laboratory's cameras; another shape sees more or less at the sides)"
    generate.add_argument("--image-size", default="224x168", metavar="WIDTHxHEIGHT", help=shown)
    shown = "push the arm off the expert's targets now and then, by up to so many m (default: never)"
    generate.add_argument("--noise", type=float, default=0.0, metavar="M", help=shown)
    generate.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N", help="default: the cores")
    generate.set_defaults(action=_run_generate)


def _add_export(actions: Subparsers) -> None:
    summary = "Turn recordings into a dataset: rows at an even rate, aligned on exposures; what is there is left out"
    export = add_command(actions, "export", summary, "vipa dataset export recordings --out data/wipe")
    export.add_argument("recordings", type=Path, help="a folder of recordings, or one recording")
    export.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the dataset, new or begun")
    export.add_argument("--rate", type=float, default=20.0, metavar="HZ", help="rows of a second (default: 20)")
    export.add_argument("--cameras", default="", metavar="A,B", help="default: all that were recorded")
    shown = "px of the pictures' longer side; 0: as recorded (default: 224)"
    export.add_argument("--image-size", type=int, default=224, metavar="PX", help=shown)
    shown = "s without a frame or state with which a recording is still used (default: 0.1)"
    export.add_argument("--longest-gap", type=float, default=0.1, metavar="S", help=shown)
    export.add_argument("--instruction", default="", help="instead of those that were recorded")
    export.add_argument("--failures", action="store_true", help="take episodes that failed, too")
    export.add_argument("--lab", help="instead of those that are attached to the recordings")
    export.add_argument("--trials", type=Path, metavar="LOG", help="of vipa trial: tells seeds, variants, outcomes")
    export.set_defaults(action=_run_export)


def _add_import(actions: Subparsers) -> None:
    summary = "Write an episode as a recording with the recorder's topics, or demonstrations of elsewhere as a dataset"
    example = (
        "vipa dataset import data/wipe 7 --recordings recordings\n"
        "  vipa dataset import --format libero downloads/libero_spatial --out data/libero_spatial"
    )
    importer = add_command(actions, "import", summary, example)
    importer.add_argument("source", type=Path, help="the dataset's folder, or the folder of HDF5 files, or one file")
    importer.add_argument("episode", type=int, nargs="?", help="its number, of a dataset")
    shown = "what the source is: a dataset, or LIBERO's or RoboCasa's published files (default: dataset)"
    importer.add_argument("--format", choices=("dataset", "libero", "robocasa"), default="dataset", help=shown)
    importer.add_argument("--recordings", type=Path, metavar="FOLDER", help="of recordings (default: recordings/)")
    importer.add_argument("--lab", default="simulated", help="whose kinematics and calibration (default: simulated)")
    shown = "of the dataset, new or begun; for libero and robocasa"
    importer.add_argument("--out", type=Path, metavar="FOLDER", help=shown)
    shown = (
        "names in the dataset (default: agentview,wrist of libero, left,right,wrist of robocasa); fewer: fewer views"
    )
    importer.add_argument("--cameras", default="", metavar="A,B", help=shown)
    shown = "keep rows whose action does nothing; OpenVLA and openpi leave them out, too"
    importer.add_argument("--keep-no-ops", action="store_true", help=shown)
    shown = "by 180 degrees as OpenVLA and openpi do, which mirrors them (default: turn them upright); for libero"
    importer.add_argument("--rotate-pictures", action="store_true", help=shown)
    importer.set_defaults(action=_run_import)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    from vipa_training.data.errors import DatasetError

    try:
        return int(options.action(options))
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"dataset: the package {error.name} is missing; pip install '.[data]'") from None
    except DatasetError as error:
        raise VipaError(str(error)) from None


def _run_generate(options: argparse.Namespace) -> int:
    from vipa_training.data.reader import Dataset

    command = [sys.executable, "-m", "vipa_sim.demonstrations", str(options.dataset), "--tasks", options.task]
    command += ["--variants", options.variants, "--n", str(options.n), "--seed", str(options.seed)]
    command += ["--image-size", options.image_size, "--noise", str(options.noise), "--workers", str(options.workers)]
    start = time.monotonic()
    status = subprocess.run(command, check=False).returncode
    if status:
        return finish(Result("dataset generate", False, details={"exit_status": status}), options)
    with Dataset(options.dataset) as dataset:
        figures = {"episodes": float(len(dataset.episodes)), "rows": float(dataset.length)}
    result = Result("dataset generate", True, figures, details={"wall_s": time.monotonic() - start})
    return finish(result, options)


def _run_export(options: argparse.Namespace) -> int:
    from vipa.lab import load_lab
    from vipa.recording.alignment import AlignConfig
    from vipa.recording.dataset_export import export_recordings
    from vipa.recording.export import ExportConfig, recordings
    from vipa.trials.result import TrialLog

    cameras = tuple(filter(None, options.cameras.split(",")))
    try:
        align = AlignConfig(options.rate, cameras, options.longest_gap)
        config = ExportConfig(align, options.image_size, options.failures, options.instruction)
    except ValueError as error:
        raise ConfigurationError(f"dataset export: {error}") from None
    lab = load_lab(options.lab) if options.lab else None
    results = TrialLog(options.trials).read() if options.trials else []
    listed = recordings(options.recordings)
    done = export_recordings(listed, options.out, config, lab, results, say_beside(options))
    figures = {
        "exported": float(len(done.episodes)),
        "refused": float(len(done.refused)),
        "known": float(done.known),
        "rows": sum(report["rows"] for report in done.episodes.values()),
    }
    say_beside(options)(
        f"{len(done.episodes)} exported, {done.known} were there already, {len(done.refused)} not exported"
    )
    details = {"dataset": str(options.out), "episodes": done.episodes, "refused": done.refused}
    return finish(Result("dataset export", bool(done.episodes or done.known), figures, details=details), options)


def _run_check(options: argparse.Namespace) -> int:
    from vipa_training.data.check import check_dataset

    problems: list[str] = []
    for problem in check_dataset(options.dataset):
        problems.append(problem)
        say_beside(options)(problem)
    if not problems:
        say_beside(options)("clean")
    figures = {"problems": float(len(problems))}
    return finish(Result("dataset check", not problems, figures, details={"problems": problems}), options)


def _run_stats(options: argparse.Namespace) -> int:
    from vipa_training.data.files import write_json
    from vipa_training.data.format import STATISTICS
    from vipa_training.data.reader import Dataset
    from vipa_training.data.statistics import as_lists

    with Dataset(options.dataset) as dataset:
        statistics = as_lists(dataset.compute_statistics())
        figures = {"episodes": float(len(dataset.episodes)), "rows": float(dataset.length)}
    try:
        write_json(options.dataset / STATISTICS, statistics)
    except OSError as error:
        raise VipaError(f"{options.dataset / STATISTICS}: cannot be written: {error.strerror}") from None
    say_beside(options)(f"statistics of {figures['episodes']:.0f} episodes, {figures['rows']:.0f} rows")
    return finish(Result("dataset stats", True, figures, details={"statistics": statistics}), options)


def _run_merge(options: argparse.Namespace) -> int:
    from vipa_training.data.merge import merge_datasets

    count = sum(1 for _ in merge_datasets(options.datasets, options.out))
    say_beside(options)(f"{count} episodes of {len(options.datasets)} datasets in {options.out}")
    return finish(Result("dataset merge", True, {"episodes": float(count)}), options)


def _run_view(options: argparse.Namespace) -> int:
    from vipa.trials.journal import write_durably
    from vipa_training.data.page import dataset_page
    from vipa_training.data.reader import Dataset

    with Dataset(options.dataset) as dataset:
        try:
            numbers = [int(number) for number in options.episodes.split(",")] if options.episodes else None
        except ValueError:
            raise ConfigurationError(f"dataset view: --episodes {options.episodes}: expected numbers: 0,7") from None
        shown = list(range(min(VIEWED, len(dataset.episodes)))) if numbers is None else numbers
        page = dataset_page(dataset, shown)
    path = options.out or options.dataset.with_name(f"{options.dataset.resolve().name}.html")
    write_durably(path, page)
    say_beside(options)(f"page: {path}")
    figures = {"episodes": float(len(shown)), "megabytes": len(page) / 1e6}
    return finish(Result("dataset view", True, figures, details={"page": str(path)}), options)


def _run_import(options: argparse.Namespace) -> int:
    if options.format != "dataset":
        return _import_demonstrations(options)
    from vipa.recording.dataset_import import import_episode
    from vipa_training.data.reader import Dataset

    if options.episode is None:
        raise ConfigurationError("dataset import: name an episode: vipa dataset import data/wipe 7")
    folder = options.recordings or repository_folder() / "recordings"
    with Dataset(options.source) as dataset:
        episode = import_episode(dataset, options.episode, folder, options.lab)
    say_beside(options)(f"{folder / episode.name}: {episode.messages} messages, {sum(episode.frames.values())} frames")
    figures = {"messages": float(episode.messages), "duration_s": episode.duration}
    details = {"recording": str(folder / episode.name), "frames": episode.frames}
    return finish(Result("dataset import", episode.ended == "stopped", figures, details=details), options)


def _import_demonstrations(options: argparse.Namespace) -> int:
    from vipa_training.evaluation.libero import demonstrations as libero
    from vipa_training.evaluation.robocasa import demonstrations as robocasa
    from vipa_training.evaluation.robosuite.demonstrations import import_demonstrations

    if options.out is None:
        raise ConfigurationError(f"dataset import: --format {options.format}: say --out FOLDER, of the dataset")
    known = libero.CAMERAS if options.format == "libero" else robocasa.CAMERAS
    cameras = tuple(filter(None, options.cameras.split(","))) or known
    if len(cameras) > len(known) or len(set(cameras)) < len(cameras):
        raise ConfigurationError(f"dataset import: --cameras {options.cameras}: at most {len(known)}, each once")
    if options.format == "libero":
        read = partial(libero.read_demonstration, cameras=cameras, rotate_pictures=options.rotate_pictures)
    elif options.rotate_pictures:
        raise ConfigurationError("dataset import: --rotate-pictures: RoboCasa's are upright in its files")
    else:
        read = partial(robocasa.read_demonstration, cameras=cameras)
    say = say_beside(options)
    done = import_demonstrations(options.source, options.out, read, options.keep_no_ops, say)
    for name, reason in done.refused.items():
        say(f"{name}: left out: {reason}")
    say(f"{done.episodes} imported, {done.known} were there already, {len(done.refused)} left out")
    figures = {"imported": float(done.episodes), "known": float(done.known), "refused": float(len(done.refused))}
    figures |= {"rows": float(done.rows), "no_ops": float(done.no_ops)}
    details = {"dataset": str(options.out), "refused": done.refused}
    return finish(Result("dataset import", bool(done.episodes or done.known), figures, details=details), options)
