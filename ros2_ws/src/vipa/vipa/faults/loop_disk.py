"""The running loop beside a recorder whose disk is good, slow or full; it brings up graphs of its own."""

from collections.abc import Iterator

from vipa.benchmarks.record_loop import run_record_loop_benchmark
from vipa.faults.outcome import Outcome
from vipa.faults.suite import InjectionOptions
from vipa.graph import GraphArguments

_MEASURED_S = 25.0


def inject(options: InjectionOptions, arguments: GraphArguments, domain: int | None) -> Iterator[Outcome]:
    """What ``vipa bench record-loop`` measures, once."""
    folder = options.folder / "loop_disk"
    folder.mkdir()
    measured = run_record_loop_benchmark(arguments, _MEASURED_S, folder, domain)
    figures = {**measured.figures, "graphs_ended_well": float(measured.ok)}
    yield Outcome("loop_disk", 1, figures, {**measured.bounds, "graphs_ended_well": ("==", 1.0)}, measured.details)
