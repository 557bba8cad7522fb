"""Built engines: for which graph, precision, version of TensorRT and GPU each one is, and whether it can be used again.

An engine belongs to its ``EngineKey``. An export takes over the engines of the one before whose keys are the same, so
that what was built without a GPU is not built again where its parity is measured.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vipa_inference.config import VipaVlaConfig
from vipa_inference.runtime.gpu import NO_GPU, Gpu, find_gpu
from vipa_inference.runtime.graphs import GRAPHS
from vipa_inference.runtime.tensorrt_bindings import Bindings
from vipa_inference.runtime.tensorrt_builder import BuildConfig, build_engine, compute_capabilities, required_gpu

BuildProgress = Callable[[str, float], None]
"""Is told a graph and which part of its build is done, from 0 to 1."""


@dataclass(frozen=True)
class EngineTarget:
    """The GPUs that an engine runs on."""

    compute_capabilities: tuple[str, ...]  # "8.9"
    gpu: str = ""  # the one model of GPU on which its kernels were measured; empty: any of the compute capabilities

    def __str__(self) -> str:
        capabilities = f"compute capability {', '.join(self.compute_capabilities)}"
        return f"{self.gpu} ({capabilities})" if self.gpu else f"GPUs of {capabilities}"

    def fits(self, gpu: Gpu) -> bool:
        """Whether engines for it run on a GPU."""
        return gpu.compute_capability in self.compute_capabilities and self.gpu in ("", gpu.name)

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> "EngineTarget":
        """The target that ``dataclasses.asdict`` wrote.

        Raises:
            KeyError, TypeError: the content is not that.
        """
        return cls(tuple(str(value) for value in content["compute_capabilities"]), str(content["gpu"]))


@dataclass(frozen=True)
class EngineKey:
    """What an engine depends on."""

    graph: str  # SHA-256 of the exported graph with its weights
    precision: str
    runtime: str  # "tensorrt" or "tensorrt_rtx"
    version: str  # of the runtime
    prompt_length: int  # tokens
    target: EngineTarget

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()


def engine_name(graph: str) -> str:
    """Name of a graph's engine in the folder of an engine."""
    return f"{graph}.engine"


def engine_target(bindings: Bindings, precision: str, config: BuildConfig) -> EngineTarget:
    """The GPUs that an engine would be built for here.

    Raises:
        RuntimeUnavailableError: an unknown compute capability, or TensorRT without a GPU.
    """
    if bindings.builds_without_gpu:
        return EngineTarget(compute_capabilities(bindings, precision, config))
    gpu = required_gpu(bindings)
    return EngineTarget((gpu.compute_capability,), gpu.name)


def build_engines(
    bindings: Bindings,
    graphs: Path,
    folder: Path,
    precision: str,
    model: VipaVlaConfig,
    config: BuildConfig,
    previous: Path,
    known: Mapping[str, Any],
    progress: BuildProgress | None = None,
) -> dict[str, Any]:
    """Build the engines of all graphs, or take over those that were built from the same before.

    Args:
        bindings: TensorRT or TensorRT-RTX.
        graphs: folder of the exported graphs, in fp32.
        folder: where the engines go.
        precision: of the engines.
        model: of the checkpoint.
        config: how to build.
        previous: folder of the engines that may be taken over.
        known: what the manifest there says about them under "engines"; empty: none may.
        progress: is told how far it is.

    Returns:
        For the manifest: by graph the digest of the engine's key, seconds, layers, and whether it was taken over.

    Raises:
        PolicyError: an engine cannot be built.
        OSError: a file cannot be read or written.
    """
    from vipa_inference.runtime.tensorrt_graph import prepare_graph

    target = engine_target(bindings, precision, config)
    built: dict[str, Any] = {}
    for name in GRAPHS:
        source, engine = graphs / f"{name}.onnx", folder / engine_name(name)
        key = EngineKey(
            hash_graph(source), precision, bindings.name, bindings.version, model.prompt_length, target
        ).digest
        before, old = known.get(name), previous / engine_name(name)
        if isinstance(before, Mapping) and before.get("key") == key and hash_file(old) == before.get("sha256"):  # type: ignore[reportUnknownMemberType]
            shutil.copy2(old, engine)
            built[name] = {**before, "taken_over": True}
            continue
        prepared = folder / f"{name}.{precision}.onnx"
        prepare_graph(source, prepared, precision, model.prompt_length)
        tell = None if progress is None else _about(name, progress)
        report = build_engine(bindings, prepared, engine, precision, config, tell)
        for file in folder.glob(f"{prepared.name}*"):
            file.unlink()
        built[name] = {"key": key, "sha256": hash_file(engine), "taken_over": False, **dataclasses.asdict(report)}
    return {"target": dataclasses.asdict(target), "engines": built}


def obstacle(target: EngineTarget) -> str:
    """Why an engine for a target cannot run here; empty: it can."""
    gpu = find_gpu()
    if gpu is None:
        return NO_GPU
    return "" if target.fits(gpu) else f"built for {target}, here is {gpu}"


def hash_graph(file: Path) -> str:
    """SHA-256 of a graph with the weights beside it.

    Raises:
        OSError: it cannot be read.
    """
    parts = [file, *sorted(file.parent.glob(f"{file.name}.*"))]
    return hashlib.sha256("".join(hash_file(part) for part in parts).encode()).hexdigest()


def hash_file(file: Path) -> str:
    """SHA-256 of a file; empty: there is none.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except FileNotFoundError:
        return ""
    return digest.hexdigest()


def _about(name: str, progress: BuildProgress) -> Callable[[float], None]:
    return lambda part: progress(name, part)
