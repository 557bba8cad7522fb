"""``vipa bench policy``: the policy's latency in every runtime, beside eager torch and the machine's limits."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from vipa.errors import VipaError
from vipa.result import Bound, Result
from vipa_inference.config import PRESETS, VipaVlaConfig
from vipa_inference.policy import CameraView, Observation, PolicyError

if TYPE_CHECKING:
    from vipa_inference.checkpoint import Checkpoint
    from vipa_inference.runtime.benchmark import Times
    from vipa_inference.runtime.parity import StagedRuntime

POLICY_BOUNDS: dict[str, Bound] = {
    "nano_best_to_eager_ratio": ("<=", 0.35),
    "nano_chunks_per_second": (">", 20.0),
    "nano_path_to_runtime_ratio": ("<=", 1.3),
}
EAGER = "eager"
INSTRUCTION = "touch the red, then the blue marker"


@dataclass(frozen=True)
class PolicyBenchmarkConfig:
    """What is measured."""

    nano: VipaVlaConfig = field(default_factory=lambda: PRESETS["nano"])
    large: VipaVlaConfig | None = field(default_factory=lambda: PRESETS["2b"])  # shortened; None: left out
    rounds: int = 25
    large_rounds: int = 2
    large_layers: int = 2  # in every stack


@dataclass
class _Measured:
    """What has been measured so far."""

    figures: dict[str, float] = field(default_factory=dict[str, float])
    details: dict[str, Any] = field(default_factory=dict[str, Any])


def run_policy_benchmark(config: PolicyBenchmarkConfig, say: Callable[[str], None]) -> Result:
    """Export untrained models to every runtime that is present, and measure.

    Args:
        config: what is measured.
        say: tells how far it is.

    Raises:
        VipaError: nothing but eager torch can be used.
    """
    measured = _Measured()
    try:
        _measure_nano(config, measured, say)
        if config.large is not None:
            _measure_large(config.large, config.large_layers, config.large_rounds, measured, say)
    except PolicyError as error:
        raise VipaError(f"bench policy: {error}") from None
    return Result("bench policy", True, measured.figures, POLICY_BOUNDS, measured.details)


def _measure_nano(config: PolicyBenchmarkConfig, measured: _Measured, say: Callable[[str], None]) -> None:
    from vipa_inference.checkpoint import load_checkpoint
    from vipa_inference.runtime.benchmark import WHOLE, count_gflop, measure_machine, time_runtimes, typical_batch
    from vipa_inference.untrained import save_untrained_checkpoint

    figures, batch = measured.figures, typical_batch(config.nano)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_untrained_checkpoint(folder, config.nano)
        checkpoint = load_checkpoint(folder)
        with _nano_runtimes(checkpoint, folder, measured, say) as runtimes:
            say("measuring nano")
            limits = measure_machine()
            times = time_runtimes(runtimes, batch, config.rounds)
            _note_times("nano", times, measured)
            best = min((name for name in times if name != EAGER), key=lambda name: _median(times[name][WHOLE]))
            seconds = _median(times[best][WHOLE])
            tokens = int(batch["attention_mask"].sum())
            gflop = count_gflop(config.nano, tokens)
            weights_gb = sum(p.numel() * p.element_size() for p in checkpoint.model.parameters()) * 1e-9
            speed, traffic = sum(gflop.values()) / seconds, weights_gb / seconds
            figures["nano_best_to_eager_ratio"] = seconds / _median(times[EAGER][WHOLE])
            figures["nano_chunks_per_second"] = 1.0 / seconds
            figures["nano_path_to_runtime_ratio"] = _path_ratio(folder, best, config.rounds)
            figures["nano_gflop"] = sum(gflop.values())
            figures["nano_best_share_of_matmul_limit"] = speed / limits.matmul_gflops
            figures["nano_best_share_of_memory_limit"] = traffic / limits.memory_gb_per_s
            figures["machine_matmul_gflops"] = limits.matmul_gflops
            figures["machine_memory_gb_per_s"] = limits.memory_gb_per_s
            measured.details |= {
                "nano_best": best,
                "nano_gflop_by_stage": gflop,
                "nano_weights_gb": weights_gb,
                "nano_limited_by": "matmul"
                if speed * limits.memory_gb_per_s > traffic * limits.matmul_gflops
                else "memory",
                "nano_prompt": f"{tokens} of {config.nano.prompt_length} tokens; eager torch computes the padding, too",
            }
    figures["peak_memory_mb"] = _peak_memory_mb()


@contextlib.contextmanager
def _nano_runtimes(
    checkpoint: "Checkpoint", folder: Path, measured: _Measured, say: Callable[[str], None]
) -> Generator[dict[str, "StagedRuntime"], None, None]:
    """Eager torch and every engine that can be made here."""
    from vipa_inference.runtime.engines import BACKENDS, export_graphs, install_engine, load_engine
    from vipa_inference.runtime.parity import assumed_statistics
    from vipa_inference.runtime.torch_runtime import TorchRuntime

    runtimes: dict[str, StagedRuntime] = {EAGER: TorchRuntime(checkpoint.model)}
    left_out: dict[str, str] = {}
    say("exporting nano")
    export_graphs(checkpoint, folder / "graphs")
    for runtime, backend in BACKENDS.items():
        for precision in backend.precisions:
            name = f"{runtime}_{precision}"
            before = psutil.Process().memory_info().rss
            try:
                parity = install_engine(
                    checkpoint, folder, runtime, precision, folder / "graphs", assumed_statistics()
                )["parity"]
                runtimes[name] = load_engine(checkpoint, folder, runtime, precision, "benchmark")
            except PolicyError as error:
                left_out[name] = str(error)
                continue
            measured.figures[f"nano_{name}_memory_mb"] = (psutil.Process().memory_info().rss - before) / 2**20
            measured.details[f"nano_{name}_parity"] = parity
    measured.details["left_out"] = left_out
    if len(runtimes) == 1:
        raise PolicyError(f"no runtime to compare with eager torch: {'; '.join(left_out.values())}")
    try:
        yield runtimes
    finally:
        for runtime in runtimes.values():
            runtime.close()


def _measure_large(
    full: VipaVlaConfig, layers: int, rounds: int, measured: _Measured, say: Callable[[str], None]
) -> None:
    """A model too large for this machine, with a few layers in every stack at full width."""
    from vipa_inference.checkpoint import Checkpoint
    from vipa_inference.runtime.base import RuntimeDescription
    from vipa_inference.runtime.benchmark import (
        STAGES,
        count_gflop,
        extrapolate,
        shortened,
        time_runtimes,
        typical_batch,
    )
    from vipa_inference.runtime.engines import BACKENDS, export_graphs, load_graphs
    from vipa_inference.runtime.graph_runtime import GraphRuntime
    from vipa_inference.runtime.torch_runtime import TorchRuntime
    from vipa_inference.untrained import untrained_checkpoint

    name, short = full.name, shortened(full, layers)
    batch = typical_batch(short)
    say(f"exporting {name}, shortened to {layers} layers")
    checkpoint: Checkpoint = untrained_checkpoint(short)
    runtimes: dict[str, StagedRuntime] = {EAGER: TorchRuntime(checkpoint.model)}
    with tempfile.TemporaryDirectory() as temporary:
        export_graphs(checkpoint, Path(temporary))
        for runtime in BACKENDS:
            try:
                description = RuntimeDescription(runtime, "fp32", "cpu")
                graphs = load_graphs(Path(temporary), runtime, "fp32")
            except PolicyError as error:
                measured.details["left_out"][f"{name}_{runtime}"] = str(error)
                continue
            runtimes[f"{runtime}_fp32"] = GraphRuntime(short, description, graphs)
        say(f"measuring {name}, shortened to {layers} layers")
        times = time_runtimes(runtimes, batch, rounds, calls=1, warm_up=False)
    _note_times(f"{name}_{layers}_layers", times, measured)
    tokens = int(batch["attention_mask"].sum())
    gflop, full_gflop = (count_gflop(one, tokens) for one in (short, full))
    measured.figures[f"{name}_{layers}_layers_gflop"] = sum(gflop.values())
    measured.details[f"{name}_gflop_by_stage"] = full_gflop
    measured.details[f"{name}_extrapolated"] = {
        "meaning": "not measured: each stage at the speed of its few layers, over the operations of all its layers",
        **{
            f"{runtime}_s": extrapolate({stage: _median(of[stage]) for stage in STAGES}, gflop, full_gflop)
            for runtime, of in times.items()
        },
    }
    for runtime in runtimes.values():
        runtime.close()


def _note_times(prefix: str, times: Mapping[str, "Times"], measured: _Measured) -> None:
    """Percentiles of every stage of every runtime, and each runtime's ratio to eager torch."""
    from vipa_inference.runtime.benchmark import WHOLE

    for name, stages in times.items():
        for stage, seconds in stages.items():
            for percentile in (50, 99):
                figure = f"{prefix}_{name}_{stage}_p{percentile}_ms"
                measured.figures[figure] = round(float(np.percentile(seconds, percentile)) * 1e3, 3)
        if name != EAGER:
            ratio = _median(stages[WHOLE]) / _median(times[EAGER][WHOLE])
            measured.figures[f"{prefix}_{name}_to_eager_ratio"] = ratio


def _path_ratio(folder: Path, best: str, rounds: int) -> float:
    """Latency of the whole policy, from two camera frames to the chunk, over that of its runtime alone."""
    from vipa_inference.vipa_policy import VipaPolicy, VipaPolicyConfig

    runtime, _, precision = best.rpartition("_")
    policy = VipaPolicy(VipaPolicyConfig(str(folder), runtime, precision))
    observation = example_observation(policy.processor.config.views)
    batch = policy.processor.batch(observation)
    state = batch["proprioception"].astype(np.float32)
    noise = np.zeros((1, policy.description.horizon, policy.processor.config.action.action_dimension), np.float32)
    whole: list[float] = []
    bare: list[float] = []
    for i in range(rounds + 3):
        start = time.perf_counter()
        policy.infer(observation)
        middle = time.perf_counter()
        policy.runtime.act(policy.runtime.condition(batch), state, noise)
        if i >= 3:
            whole.append(middle - start)
            bare.append(time.perf_counter() - middle)
    policy.close()
    return _median(whole) / _median(bare)


def example_observation(cameras: tuple[str, ...]) -> Observation:
    """Random frames of 640 x 480 pixels and a robot at rest."""
    generator = np.random.default_rng(0)
    intrinsics = np.array([[600.0, 0.0, 319.5], [0.0, 600.0, 239.5], [0.0, 0.0, 1.0]])
    images = {name: generator.integers(0, 256, (480, 640, 3), dtype=np.uint8) for name in cameras}
    views = {name: CameraView(image, 1_000_000_000, intrinsics, np.eye(4)) for name, image in images.items()}
    return Observation(views, np.eye(4), np.zeros(7), np.ones(6), INSTRUCTION)


def _median(values: list[float]) -> float:
    return float(np.median(values))


def _peak_memory_mb() -> float:
    """The largest resident set of this process so far (Linux counts in KiB)."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
