"""``vipa calibrate``: print a board, find where a camera stands and whether it has moved since; the hand's ranges."""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from vipa.bringup import say
from vipa.commands import Subparsers, add_command
from vipa.commands.calibrate_hand import add_action
from vipa.commands.client import add_domain, client_environment
from vipa.errors import ConfigurationError
from vipa.result import Bound, Result

if TYPE_CHECKING:
    from calibration.board import BoardConfig
    from calibration.hand_eye import HandEye
    from calibration.views import SeenViews, ViewFolder

COLLECTOR = "vipa.nodes.view_collector"
AUTOMATIC_VIEWS = 20
SOLVE_BOUNDS: dict[str, Bound] = {
    "views": (">=", 8.0),
    "camera_error_mm": ("<=", 1.0),
    "camera_error_deg": ("<=", 0.1),
    "left_out_mm": ("<=", 2.0),
    "board_scale_off_percent": ("<=", 0.5),
}
INTRINSICS_BOUNDS: dict[str, Bound] = {"device_px": ("<=", 0.5)}


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser("calibrate", help="Calibrate cameras and hand, and watch for drift")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    summary = "Write the ChArUco board to print at true size, as PDF or PNG"
    board = add_command(actions, "board", summary, "vipa calibrate board board.pdf --paper a4 --square 0.035")
    board.add_argument("output", type=Path, metavar="FILE", help="ends with .pdf or .png")
    board.add_argument("--paper", default="a4", help="a4, a3, letter or tabloid (default: a4)")
    _add_board(board)
    board.set_defaults(action=_write_board)

    summary = "Take views of the board from a running graph into a folder, one for each Enter, or --auto with the arm"
    example = "vipa calibrate collect views/front --lab lab.yaml --camera front --mount fixed"
    collect = add_command(actions, "collect", summary, example)
    collect.add_argument("folder", type=Path, help="of the views; one that was begun is gone on with")
    collect.add_argument("--lab", default="simulated", help="a shipped laboratory or a YAML file (default: simulated)")
    collect.add_argument("--camera", required=True, help="its name in the laboratory's YAML file")
    collect.add_argument("--mount", choices=("fixed", "wrist"), default="fixed", help="of the camera (default: fixed)")
    collect.add_argument("--count", type=int, default=0, help="take so many views at once, without asking")
    shown = "move the arm through the gate to the poses that tell most, and take --count views (20): clear its way"
    collect.add_argument("--auto", action="store_true", help=shown)
    _add_board(collect)
    add_domain(collect)
    collect.set_defaults(action=_collect)

    summary = "Compare the camera's own intrinsics with an estimate from a folder of views"
    intrinsics = add_command(actions, "intrinsics", summary, "vipa calibrate intrinsics views/front --out calibrated")
    _add_folder(intrinsics)
    intrinsics.add_argument("--out", type=Path, metavar="FOLDER", help="write the estimate there as camera_info YAML")
    intrinsics.set_defaults(action=_check_intrinsics)

    summary = "Find where the camera stands from a folder of views with poses of the arm"
    solve = add_command(actions, "solve", summary, "vipa calibrate solve views/front --out calibrated")
    _add_folder(solve)
    solve.add_argument("--out", type=Path, metavar="FOLDER", default=Path("calibrated"), help="default: calibrated/")
    solve.add_argument("--accept", action="store_true", help="write the result although a bound is broken")
    solve.set_defaults(action=_solve)

    summary = "Say from where the next views should be taken"
    suggest = add_command(actions, "suggest", summary, "vipa calibrate suggest views/front --count 3")
    _add_folder(suggest)
    suggest.add_argument("--count", type=int, default=3, help="poses that are suggested (default: 3)")
    suggest.set_defaults(action=_suggest)

    summary = "Say whether the camera has moved since its calibration, from new views of a board at a known place"
    example = "vipa calibrate drift today --camera calibrated/camera_front.yaml --board calibrated/board_front.yaml"
    drift = add_command(actions, "drift", summary, example)
    _add_folder(drift)
    source = drift.add_mutually_exclusive_group(required=True)
    source.add_argument("--camera", type=Path, metavar="FILE", help="pose of the camera, as solve wrote it")
    source.add_argument("--lab", help="take the pose of a fixed camera from a laboratory's YAML file")
    drift.add_argument("--board", type=Path, metavar="FILE", required=True, help="pose of the board")
    drift.add_argument(
        "--remember", action="store_true", help="write to --board where a board fixed in the cell is seen now"
    )
    drift.add_argument("--warn-mm", type=float, default=2.0, help="from where on it warns (default: 2)")
    drift.add_argument("--refuse-mm", type=float, default=4.0, help="from where on it refuses (default: 4)")
    drift.set_defaults(action=_check_drift)
    add_action(actions)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    result: Result = options.action(options)
    if result.figures:
        print(result.report(), file=sys.stderr if options.json == "-" else sys.stdout)
    if options.json:
        result.write(options.json)
    return 0 if result.passed else 1


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="of views: views.json, camera_info.yaml and images")


def _add_board(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--columns", type=int, help="squares along the long side (default: 7)")
    parser.add_argument("--rows", type=int, help="squares along the short side (default: 5)")
    parser.add_argument("--square", type=float, metavar="M", help="length of a square in m (default: 0.035)")
    parser.add_argument("--marker", type=float, metavar="M", help="length of a marker in m (default: 0.026)")
    parser.add_argument("--dictionary", help="of the markers (default: 4X4_50)")


def _write_board(options: argparse.Namespace) -> Result:
    from calibration.board import write_board

    board = _board(options)
    write_board(board, options.output, options.paper)
    say(f"{options.output}: {board.caption()}")
    width, height = board.size
    return Result(
        "calibrate board", figures={"width_mm": 1e3 * width, "height_mm": 1e3 * height}, details=asdict(board)
    )


def _board(options: argparse.Namespace) -> "BoardConfig":
    from calibration.board import BoardConfig
    from vipa.config import from_mapping

    given = {
        "columns": options.columns,
        "rows": options.rows,
        "square_length": options.square,
        "marker_length": options.marker,
        "dictionary": options.dictionary,
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    if options.square is not None and options.marker is None:
        chosen["marker_length"] = round(0.75 * options.square, 4)
    try:
        return from_mapping(BoardConfig, chosen)
    except ConfigurationError as error:
        raise ConfigurationError(f"board: {error}") from None


def _collect(options: argparse.Namespace) -> Result:
    from vipa.lab import load_lab

    lab, name = load_lab(options.lab), options.camera
    if name not in lab.cameras:
        raise ConfigurationError(
            f"collect: laboratory {options.lab} has no camera {name}; it has {', '.join(lab.cameras)}"
        )
    if options.count < 0:
        raise ConfigurationError(f"--count: must not be negative, found {options.count}")
    settings = {
        "folder": str(options.folder.resolve()),
        "camera": {"name": name, "serial": lab.cameras[name].device.serial, "mount": options.mount},
        "board": asdict(_board(options)),
        "count": options.count or (AUTOMATIC_VIEWS if options.auto else 0),
    }
    if options.auto:
        return _collect_automatically(options, settings)
    status = _run_client([sys.executable, "-m", COLLECTOR, json.dumps(settings)], options.domain)
    return Result("calibrate collect", status == 0, details={"folder": str(options.folder), "exit_status": status})


def _collect_automatically(options: argparse.Namespace, settings: dict[str, Any]) -> Result:
    from vipa.graph import calibration_tour_beside

    with tempfile.TemporaryDirectory(prefix="vipa-calibrate-") as folder:
        output, parameters = Path(folder) / "result.json", Path(folder) / "parameters.yaml"
        node = calibration_tour_beside(options.lab, json.dumps(settings), str(output))
        content = {"/**": {"ros__parameters": dict(node.parameters)}}
        parameters.write_text(yaml.safe_dump(content), encoding="utf-8")
        command = [sys.executable, "-m", node.module, "--ros-args", "-r", f"__node:={node.name}",
                   "--params-file", str(parameters)]  # fmt: skip
        status = _run_client(command, options.domain)
        found = Result.read(output) if output.is_file() else Result("calibrate collect", ok=False)
    if found.details.get("problem"):
        say(f"calibrate collect: {found.details['problem']}")
    details = {**found.details, "folder": str(options.folder), "exit_status": status}
    return Result("calibrate collect", found.ok and status == 0, found.figures, details=details)


def _run_client(command: list[str], domain: int | None) -> int:
    """Run a node beside the graph; its exit status."""
    process = subprocess.Popen(command, env=client_environment(domain))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the node, too, which ends in order
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def _check_intrinsics(options: argparse.Namespace) -> Result:
    from calibration.artefact import camera_info_file
    from calibration.intrinsics import check_intrinsics
    from calibration.views import load_views
    from vipa.hashed_yaml import save

    folder = load_views(options.folder)
    _, detections, unseen = folder.detections(_bar("images"))
    _tell(unseen.values())
    check = check_intrinsics(detections, folder.intrinsics)
    _tell(check.warnings)
    figures = {"views": float(len(detections)), "device_px": check.device_px, "estimate_px": check.estimate_px}
    for name, deviation in zip(("fx", "fy", "cx", "cy"), check.deviations, strict=True):
        figures[f"{name}_difference_px"] = getattr(check.estimate, name) - getattr(check.device, name)
        figures[f"{name}_deviation_px"] = deviation
    details: dict[str, Any] = {"warnings": list(check.warnings), "unseen": unseen, "estimate": asdict(check.estimate)}
    if options.out is not None:
        camera, size = folder.camera, f"{folder.intrinsics.width}x{folder.intrinsics.height}"
        path = options.out / f"camera_info_{camera.serial}_{size}_estimate.yaml"
        residuals = {"reprojection_px": check.estimate_px, "views": float(len(detections))}
        save(path, camera_info_file(camera.name, camera.serial, check.estimate, residuals))
        details["written"] = [str(path)]
        say(f"written: {path}")
    return Result("calibrate intrinsics", True, figures, INTRINSICS_BOUNDS, details)


def _solve(options: argparse.Namespace) -> Result:
    folder, seen, found = _solved(options.folder)
    figures = found.figures()
    result = Result("calibrate solve", True, figures, SOLVE_BOUNDS, {"unseen": seen.unseen})
    off = found.solution.board_scale - 1.0
    if abs(off) > max(0.003, 3.0 * found.solution.board_scale_error):
        say(
            f"the board measures {100 * (1 + off):.2f} % of what views.json says: was it printed at 100 %? Measure it "
            "and correct square_length and marker_length"
        )
    distrusted = [seen.names[i] for i in found.solution.distrusted()]
    if distrusted:
        say(f"these views contradict the others and count less: {', '.join(distrusted)}")
    details: dict[str, Any] = {
        "camera": found.camera.tolist(),
        "board": found.board.tolist(),
        "closed_forms": {name: pose.tolist() for name, pose in found.closed_forms.items()},
        "residual_mm": dict(zip(seen.names, found.solution.residual_mm.tolist(), strict=True)),
        "residual_deg": dict(zip(seen.names, found.solution.residual_deg.tolist(), strict=True)),
        "distrusted": distrusted,
        "unseen": seen.unseen,
    }
    if not result.passed and not options.accept:
        say("not written: a bound is broken; add views (vipa calibrate suggest), or --accept the result as it is")
        return replace(result, details=details)
    return replace(result, details={**details, "written": _write(folder, found, options.out)})


def _write(folder: "ViewFolder", found: "HandEye", out: Path) -> list[str]:
    """The files of a solved calibration; their names."""
    from calibration.artefact import camera_info_file
    from vipa.hashed_yaml import save

    name, serial = folder.camera.name, folder.camera.serial
    camera, board = found.files(name, serial, folder.board)
    used = camera_info_file(name, serial, folder.intrinsics, {"reprojection_px": found.reprojection_px})
    size = f"{folder.intrinsics.width}x{folder.intrinsics.height}"
    written = {
        out / f"camera_{name}.yaml": camera,
        out / f"board_{name}.yaml": board,
        out / f"camera_info_{serial}_{size}.yaml": used,
    }
    for path, artefact in written.items():
        save(path, artefact)
    say("written: " + ", ".join(map(str, written)))
    say(f"for the laboratory's YAML:\n{camera.lab_lines()}")
    say(f"as a static transform:\n{camera.publisher_command()}")
    return [str(path) for path in written]


def _suggest(options: argparse.Namespace) -> Result:
    from calibration.suggestion import suggest

    if options.count < 1:
        raise ConfigurationError(f"--count: must be at least 1, found {options.count}")
    folder, seen, found = _solved(options.folder)
    poses = suggest(
        found, seen.flange_to_base(), seen.boards, folder.intrinsics, folder.board.corners, count=options.count
    )
    if not poses:
        raise ConfigurationError("suggest: the arm reaches no pose from which the board is seen; move board or camera")
    for number, pose in enumerate(poses, start=1):
        joints = ", ".join(f"{q:.3f}" for q in pose.joints)
        x, y, z = pose.flange_to_base[:3, 3]
        say(
            f"{number}. joints [{joints}] rad, flange at {x:.3f}, {y:.3f}, {z:.3f} m: camera then known to "
            f"{pose.error_mm:.2f} mm, {pose.error_deg:.3f} degrees. Look for obstacles before you go there"
        )
    shift, turn = found.solution.camera_error()
    figures = {
        "camera_error_mm": shift,
        "camera_error_deg": turn,
        "expected_error_mm": poses[-1].error_mm,
        "expected_error_deg": poses[-1].error_deg,
        "condition": found.solution.condition,
        "rotation_spread_deg": found.spread_deg,
    }
    joints_suggested = [pose.joints.tolist() for pose in poses]
    return Result("calibrate suggest", True, figures, details={"joints": joints_suggested})


def _check_drift(options: argparse.Namespace) -> Result:
    from calibration.artefact import load_frame
    from calibration.drift import DriftLimits, camera_of_lab, check_drift, remember_board
    from calibration.views import load_views
    from vipa.hashed_yaml import save
    from vipa.lab import load_lab

    try:
        limits = DriftLimits(options.warn_mm, options.refuse_mm)
    except ValueError as error:
        raise ConfigurationError(f"drift: {error}") from None
    folder = load_views(options.folder)
    camera = (
        load_frame(options.camera)
        if options.camera is not None
        else camera_of_lab(load_lab(options.lab), folder.camera.name)
    )
    if camera.serial != folder.camera.serial:
        raise ConfigurationError(
            f"drift: the views are of camera {folder.camera.serial}, the calibration is that of {camera.serial}"
        )
    seen = folder.see(_bar("images"))
    _tell(seen.unseen.values())
    if options.remember:
        board = remember_board(camera, folder.board, seen.boards, seen.poses)
        save(options.board, board)
        say(f"written: {options.board}")
        return Result("calibrate drift", True, board.residuals)
    board = load_frame(options.board)
    if board.board is not None and board.board != folder.board:
        raise ConfigurationError(f"drift: {options.board} is about another board than {options.folder}")
    drift = check_drift(camera, board, seen.boards, seen.poses, folder.intrinsics, limits)
    advice = {
        "ok": "the camera stands where it was calibrated",
        "warn": "the camera has moved a little: calibrate it soon",
        "refuse": "the camera has moved: calibrate it before the robot moves by it",
    }
    say(f"{drift.verdict}: {advice[drift.verdict]}")
    figures = {"views": float(len(drift.each_mm)), "shift_mm": drift.shift_mm, "shift_px": drift.shift_px}
    bounds: dict[str, Bound] = {"shift_mm": ("<", limits.refuse_mm)}
    each = dict(zip(seen.names, drift.each_mm, strict=True))
    return Result("calibrate drift", True, figures, bounds, {"verdict": drift.verdict, "shift_mm": each})


def _solved(path: Path) -> "tuple[ViewFolder, SeenViews, HandEye]":
    """A folder's views, and the camera's pose from them."""
    from calibration.hand_eye import solve
    from calibration.views import load_views

    folder = load_views(path)
    seen = folder.see(_bar("images"))
    _tell(seen.unseen.values())
    return folder, seen, solve(folder.camera.mount, seen.flange_to_base(), seen.boards)


def _bar(what: str) -> Callable[[Iterable[int]], Iterable[int]]:
    from tqdm import tqdm

    return lambda numbers: tqdm(numbers, what, leave=False, unit="image")


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)
