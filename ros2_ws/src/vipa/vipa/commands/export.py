"""``vipa export``: a checkpoint's engines for fast inference, installed once they agree with the model."""

import argparse
import sys
import tempfile
from collections.abc import Mapping
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
    parser = add_command(
        subparsers, "export", summary, "vipa export --preset nano --runtime onnxruntime,openvino,tensorrt_rtx"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="whose engines are made")
    source.add_argument("--preset", help="a size of the model: an untrained checkpoint of it is made, to measure with")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="of the untrained checkpoint (default: runs/untrained-PRESET)"
    )
    parser.add_argument(
        "--runtime", type=_names, default=("onnxruntime", "openvino"), help="one or more, separated by commas"
    )
    parser.add_argument(
        "--precision", type=_names, help="one or more (default: fp32, for tensorrt and tensorrt_rtx bf16)"
    )
    parser.add_argument(
        "--compute-capability",
        type=_names,
        default=(),
        metavar="NUMBERS",
        help="GPUs for which tensorrt_rtx builds, such as 8.9,12.0 (default: all that have the precision)",
    )
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
    from vipa_inference.runtime.engines import check_runtime, engine_folder, export_graphs, install_engine
    from vipa_inference.runtime.graphs import GRAPHS
    from vipa_inference.runtime.parity import assumed_statistics
    from vipa_inference.runtime.tensorrt_builder import BuildConfig
    from vipa_inference.statistics import Statistics

    for runtime in options.runtime:
        check_runtime(runtime)
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
    ok, build = True, BuildConfig(options.compute_capability)
    with tempfile.TemporaryDirectory(dir=folder, prefix="graphs-") as temporary:
        graphs = Path(temporary)
        export_graphs(checkpoint, graphs, lambda steps: tqdm(steps, "export", len(GRAPHS), leave=False, unit="graph"))
        for runtime, precision in tqdm(_targets(options), "engines", leave=False, unit="engine"):
            name = f"{runtime} {precision}"
            try:
                with _BuildBar(name) as bar:
                    manifest = install_engine(
                        checkpoint, folder, runtime, precision, graphs, statistics, build, bar.show
                    )
            except PolicyError as error:
                details[name] = str(error)
                tqdm.write(str(error), file=sys.stderr)
                ok = False
                continue
            built = manifest.get("engines", {})
            details[name] = {"engine": str(engine_folder(folder, runtime, precision)), **manifest["parity"]}
            if built:
                details[name] |= {"target": manifest["target"], "graphs": built}
                figures[f"{runtime}_{precision}_build_s"] = sum(
                    one["build_s"] for one in built.values() if not one["taken_over"]
                )
            tqdm.write(f"{name}: {_installed(manifest)}", file=sys.stderr)
            for figure, value in manifest["parity"].items():
                if isinstance(value, float):
                    figures[f"{runtime}_{precision}_{figure}"] = value
    return Result("export", ok, figures, details=details)


def _targets(options: argparse.Namespace) -> list[tuple[str, str]]:
    from vipa_inference.runtime.engines import BACKENDS

    targets: list[tuple[str, str]] = []
    for runtime in options.runtime:
        targets += [(runtime, kind) for kind in options.precision or ("fp32" if runtime in BACKENDS else "bf16",)]
    return targets


def _installed(manifest: Mapping[str, Any]) -> str:
    """What became of an engine, in words."""
    from vipa_inference.runtime.parity import parity_line

    parity, built = manifest["parity"], manifest.get("engines", {})
    taken = sum(one["taken_over"] for one in built.values())
    made = f"{len(built) - taken} graphs built, {taken} taken over; " if built else ""
    if "not_run" in parity:
        reason = parity["not_run"]
        return f"installed, not proven; {made}parity not run: {reason}. Run the same export on the machine with the GPU"
    return f"installed; {made}{parity_line(parity)}"


class _BuildBar:
    """Shows how far the builds of an engine are, one bar for each graph."""

    def __init__(self, name: str) -> None:
        self._name, self._graph = name, ""
        self._bar: Any = None

    def __enter__(self) -> "_BuildBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, graph: str, part: float) -> None:
        """A graph's build is done to a part, from 0 to 1."""
        from tqdm import tqdm

        if graph != self._graph:
            if self._bar is not None:
                self._bar.close()
            self._graph = graph
            self._bar = tqdm(desc=f"{self._name} {graph}", total=100, leave=False, unit="%")
        self._bar.update(round(100 * part) - self._bar.n)


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
