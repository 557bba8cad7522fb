"""``vipa export``: a checkpoint's engines for fast inference, installed once they agree with the model."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vipa.bringup import say
from vipa.commands import add_command
from vipa.environment import repository_folder
from vipa.errors import VipaError
from vipa.result import Result

if TYPE_CHECKING:
    from vipa.commands import Subparsers


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Declare the subcommand."""
    summary = "Export a checkpoint to fast runtimes, compare them with the model, and install those that agree"
    parser = add_command(subparsers, "export", summary, "vipa export --preset nano --runtime onnxruntime,openvino")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="whose engines are made")
    source.add_argument("--preset", help="a size of the model: an untrained checkpoint of it is made, to measure with")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="of the untrained checkpoint (default: runs/untrained-PRESET)"
    )
    parser.add_argument(
        "--runtime", type=_names, default=("onnxruntime", "openvino"), help="one or more, separated by commas"
    )
    parser.add_argument("--precision", type=_names, default=("fp32",), help="one or more (default: fp32)")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    from vipa_inference.policy import PolicyError

    try:
        result = _export(options)
    except PolicyError as error:
        raise VipaError(f"export: {error}") from None
    print(result.report(), file=sys.stderr if options.json == "-" else sys.stdout)
    if options.json:
        result.write(options.json)
    return 0 if result.passed else 1


def _export(options: argparse.Namespace) -> Result:
    from tqdm import tqdm

    from vipa_inference.checkpoint import load_checkpoint
    from vipa_inference.policy import PolicyError
    from vipa_inference.runtime.engines import backend, engine_folder, export_graphs, install_engine
    from vipa_inference.runtime.graphs import GRAPHS
    from vipa_inference.runtime.parity import assumed_statistics, parity_line
    from vipa_inference.statistics import Statistics

    for runtime in options.runtime:
        backend(runtime)
    folder = options.checkpoint or _untrained(options.preset, options.output)
    checkpoint = load_checkpoint(folder)
    figures: dict[str, float] = {}
    details: dict[str, Any] = {"checkpoint": str(folder)}
    if checkpoint.statistics is None:
        statistics = assumed_statistics()
        details["statistics"] = "the checkpoint has none: errors are those of actions that vary by 50 mm and 0.2 rad"
        say(str(details["statistics"]))
    else:
        statistics = Statistics.from_mapping(checkpoint.statistics, f"{folder}: statistics")
    ok = True
    with tempfile.TemporaryDirectory(dir=folder, prefix="graphs-") as temporary:
        graphs = Path(temporary)
        export_graphs(checkpoint, graphs, lambda steps: tqdm(steps, "export", len(GRAPHS), leave=False, unit="graph"))
        targets = [(runtime, precision) for runtime in options.runtime for precision in options.precision]
        for runtime, precision in tqdm(targets, "compare", leave=False, unit="engine"):
            name = f"{runtime} {precision}"
            try:
                parity = install_engine(checkpoint, folder, runtime, precision, graphs, statistics)["parity"]
            except PolicyError as error:
                details[name] = str(error)
                tqdm.write(str(error), file=sys.stderr)
                ok = False
                continue
            details[name] = {"engine": str(engine_folder(folder, runtime, precision)), **parity}
            tqdm.write(f"{name}: installed; {parity_line(parity)}", file=sys.stderr)
            for figure, value in parity.items():
                if isinstance(value, float):
                    figures[f"{runtime}_{precision}_{figure}"] = value
    return Result("export", ok, figures, details=details)


def _untrained(preset: str, output: Path | None) -> Path:
    from vipa_inference.config import PRESETS
    from vipa_inference.policy import PolicyError
    from vipa_inference.untrained import save_untrained_checkpoint

    if preset not in PRESETS:
        raise PolicyError(f"preset {preset}: unknown; known: {', '.join(PRESETS)}")
    folder = output if output is not None else repository_folder() / "runs" / f"untrained-{preset}"
    say(f"untrained checkpoint of {preset}: {folder}")
    save_untrained_checkpoint(folder, PRESETS[preset])
    return folder


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("names none")
    return names
