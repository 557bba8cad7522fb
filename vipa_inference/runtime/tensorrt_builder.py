"""ONNX graphs to TensorRT engines. What differs between TensorRT 10, 11 and TensorRT-RTX in building is here.

Networks are strongly typed: TensorRT 10 has to be told, 11 and RTX know nothing else. TensorRT 10 and 11 measure
kernels on the GPU at hand; RTX compiles for compute capabilities and leaves the choice of kernels to the first run.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vipa_inference.policy import PolicyError
from vipa_inference.runtime.base import RuntimeUnavailableError
from vipa_inference.runtime.gpu import NO_GPU, Gpu, find_gpu
from vipa_inference.runtime.tensorrt_bindings import Bindings

PRECISIONS = ("fp32", "fp16", "bf16")
FIRST_WITH_BF16 = 80  # compute capability 8.0, Ampere
REPORTED_PART = 0.01  # of a build; smaller progress is not told

Progress = Callable[[float], None]
"""Is told which part of a build is done, from 0 to 1."""


@dataclass(frozen=True)
class BuildConfig:
    """How engines are built."""

    compute_capabilities: tuple[str, ...] = ()  # RTX only, such as ("8.6", "8.9"); none: all that have the precision


@dataclass(frozen=True)
class BuildReport:
    """What became of a graph."""

    layers: int  # of the network, before optimisation
    engine_bytes: int
    parse_s: float
    build_s: float


def compute_capabilities(bindings: Bindings, precision: str, config: BuildConfig) -> tuple[str, ...]:
    """The compute capabilities that an engine of TensorRT-RTX is built for.

    Raises:
        RuntimeUnavailableError: RTX does not know one that was asked for, or it cannot compute in the precision.
    """
    known = _known_targets(bindings)
    able = tuple(name for name, value in known.items() if precision != "bf16" or value >= FIRST_WITH_BF16)
    for name in config.compute_capabilities:
        if name not in able:
            raise RuntimeUnavailableError(
                f"runtime {bindings.name}: no {precision} engine for compute capability {name}; "
                f"known: {', '.join(able)}"
            )
    return config.compute_capabilities or able


def required_gpu(bindings: Bindings) -> Gpu:
    """The GPU on which TensorRT builds.

    Raises:
        RuntimeUnavailableError: there is none.
    """
    gpu = find_gpu()
    if gpu is None:
        raise RuntimeUnavailableError(
            f"runtime {bindings.name}: {NO_GPU}, and its engines are built on the GPU that runs them. "
            "Export on the machine with the GPU, or here with --runtime tensorrt_rtx"
        )
    return gpu


def build_engine(
    bindings: Bindings,
    graph: Path,
    target: Path,
    precision: str,
    config: BuildConfig | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Build an engine and write it.

    Args:
        bindings: TensorRT or TensorRT-RTX.
        graph: ONNX, from ``prepare_graph``.
        target: to write.
        precision: of the graph; decides whether matrix products may round to TF32 ("fp32": they may not).
        config: how to build.
        progress: is told how far it is.

    Raises:
        RuntimeUnavailableError: TensorRT without a GPU, or an unknown compute capability.
        PolicyError: the graph cannot be parsed, every error of the parser is listed, or the engine cannot be built.
        OSError: ``target`` cannot be written.
    """
    if not bindings.builds_without_gpu:
        required_gpu(bindings)
    trt, started = bindings.module, time.perf_counter()
    bindings.clear_errors()
    builder = trt.Builder(bindings.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, bindings.logger)
    if not parser.parse_from_file(str(graph)):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        raise PolicyError(f"runtime {bindings.name}: {graph}: cannot be parsed: {_parser_errors(errors)}")
    parsed = time.perf_counter()
    settings = builder.create_builder_config()
    if precision == "fp32":
        settings.clear_flag(trt.BuilderFlag.TF32)
    if bindings.builds_without_gpu:
        _set_targets(bindings, settings, compute_capabilities(bindings, precision, config or BuildConfig()))
    if progress is not None:
        settings.progress_monitor = _make_monitor(trt, progress)
    engine = builder.build_serialized_network(network, settings)
    if engine is None:
        raise PolicyError(f"runtime {bindings.name}: {graph}: no engine can be built: {bindings.errors()}")
    built = time.perf_counter()
    target.write_bytes(engine)
    return BuildReport(network.num_layers, engine.nbytes, parsed - started, built - parsed)


def _known_targets(bindings: Bindings) -> dict[str, int]:
    """Compute capabilities by name: "8.9" to 89."""
    values = [int(value) for value in bindings.module.ComputeCapability.__members__.values()]
    return {f"{value // 10}.{value % 10}": value for value in sorted(values) if value >= 10}


def _set_targets(bindings: Bindings, settings: Any, targets: tuple[str, ...]) -> None:
    known = _known_targets(bindings)
    settings.num_compute_capabilities = len(targets)
    for i, target in enumerate(targets):
        settings.set_compute_capability(bindings.module.ComputeCapability(known[target]), i)


def _parser_errors(errors: list[Any]) -> str:
    """All errors in one line, those that differ only in the node together."""
    nodes: dict[str, list[str]] = {}
    for error in errors:
        code, operator = str(error.code()).rpartition(".")[2], error.node_operator()
        text = " ".join(str(error.desc()).split())
        kind = f"{operator}: {code}" if operator else code
        nodes.setdefault(kind if text in ("", "false") else f"{kind}: {text}", []).append(error.node_name())
    lines = [f"{kind}{_nodes(names)}" for kind, names in nodes.items()]
    return f"{len(errors)} errors: {'; '.join(lines)}" if len(errors) > 1 else "".join(lines)


def _nodes(names: list[str]) -> str:
    named = [name for name in names if name]
    return f" (nodes {', '.join(named)})" if named else ""


class BuildProgress:
    """The part of a build that is done, from phases inside phases; their callbacks may come from several threads."""

    def __init__(self, report: Progress) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._phases: dict[str, tuple[str | None, int, int]] = {}  # parent, steps, steps done
        self._done = 0.0

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins inside another one, None: inside none."""
        with self._lock:
            self._phases[phase] = (parent, max(steps, 1), 0)

    def step(self, phase: str, step: int) -> None:
        """A step of a phase is done."""
        with self._lock:
            if phase in self._phases:
                parent, steps, _ = self._phases[phase]
                self._phases[phase] = (parent, steps, min(step + 1, steps))
            self._tell(phase)

    def finish(self, phase: str) -> None:
        """A phase is over."""
        with self._lock:
            parent = self._phases.pop(phase, (None, 1, 1))[0]
            if parent is None and not self._phases and self._done < 1.0:
                self._done = 1.0
                self._report(self._done)

    def _tell(self, phase: str) -> None:
        done, name, seen = 0.0, phase, set[str]()
        while name in self._phases and name not in seen:
            seen.add(name)
            parent, steps, count = self._phases[name]
            done = min((count + done) / steps, 1.0)
            name = parent or ""
        if done >= self._done + REPORTED_PART:
            self._done = done
            self._report(done)


def _make_monitor(trt: Any, report: Progress) -> Any:
    progress = BuildProgress(report)

    class Monitor(trt.IProgressMonitor):  # type: ignore[reportUntypedBaseClass]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.step(phase_name, step)
            return True

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()
