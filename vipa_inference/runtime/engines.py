"""Engines: the graphs of a checkpoint for one runtime and precision, installed beside its weights once parity holds.

``<checkpoint>/engines/<runtime>-<precision>/`` holds the graphs, or what TensorRT built from them, and ``engine.json``:
the key that says what they were made from and for, the SHA-256 of every file, the parity that was measured, and for
TensorRT the GPUs and the keys of the built engines (``engine_cache``).

An engine whose parity is beyond its bounds is never installed. An engine that cannot run where it is made, as one of
TensorRT-RTX on a machine without a GPU, is installed as not proven: its parity is ``{"not_run": reason}``. The runtime
"auto" leaves it out, who asks for it by name gets it with a warning, and the same ``vipa export`` on the machine that
runs it proves it, without building it again.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vipa_inference.policy import PolicyError
from vipa_inference.runtime import onnx_runtime, openvino_runtime, tensorrt_bindings
from vipa_inference.runtime.base import RuntimeDescription, RuntimeUnavailableError
from vipa_inference.runtime.engine_cache import (
    BuildProgress,
    EngineTarget,
    build_engines,
    engine_name,
    hash_file,
    obstacle,
)
from vipa_inference.runtime.gpu import find_gpu
from vipa_inference.runtime.graph_runtime import Execute, GraphRuntime
from vipa_inference.runtime.graphs import GRAPHS, Graph, make_graphs
from vipa_inference.runtime.tensorrt_bindings import TENSORRT, TENSORRT_RTX, load_bindings
from vipa_inference.runtime.tensorrt_builder import PRECISIONS as TENSORRT_PRECISIONS
from vipa_inference.runtime.tensorrt_builder import BuildConfig

if TYPE_CHECKING:
    from vipa_inference.checkpoint import Checkpoint
    from vipa_inference.statistics import Statistics

FORMAT = 1
MANIFEST = "engine.json"
Progress = Callable[[Iterator[Graph]], Iterable[Graph]]


@dataclass(frozen=True)
class Backend:
    """What executes ONNX graphs on the CPU."""

    version: Callable[[], str]
    load_graph: Callable[[Path, str], Execute]
    precisions: tuple[str, ...]  # best last


_log = logging.getLogger(__name__)

BACKENDS: dict[str, Backend] = {
    "onnxruntime": Backend(onnx_runtime.version, onnx_runtime.load_graph, onnx_runtime.PRECISIONS),
    "openvino": Backend(openvino_runtime.version, openvino_runtime.load_graph, openvino_runtime.PRECISIONS),
}
PRECISIONS: dict[str, tuple[str, ...]] = {
    **{name: backend.precisions for name, backend in BACKENDS.items()},
    TENSORRT: TENSORRT_PRECISIONS,
    TENSORRT_RTX: TENSORRT_PRECISIONS,
}
"""Of every runtime that runs engines, the best last."""


class EngineError(RuntimeUnavailableError):
    """An engine is missing, stale or damaged, or does not compute what the model computes."""


def engine_folder(checkpoint_folder: Path, runtime: str, precision: str) -> Path:
    """Where the engine of a checkpoint lies."""
    return checkpoint_folder / "engines" / f"{runtime}-{precision}"


def engine_key(checkpoint: "Checkpoint", runtime: str, precision: str) -> dict[str, Any]:
    """What an engine depends on: an engine with another key is stale.

    Raises:
        RuntimeUnavailableError: the runtime is unknown or not installed.
    """
    config = json.dumps(dataclasses.asdict(checkpoint.config), sort_keys=True)
    return {
        "format": FORMAT,
        "weights": checkpoint.weights_hash,
        "model": hashlib.sha256(config.encode()).hexdigest(),
        "runtime": runtime,
        "runtime_version": runtime_version(runtime),
        "precision": precision,
    }


def check_runtime(runtime: str) -> None:
    """Refuse a runtime that runs no engines.

    Raises:
        RuntimeUnavailableError: no such runtime.
    """
    if runtime not in PRECISIONS:
        raise RuntimeUnavailableError(f"runtime {runtime}: unknown; known: torch, {', '.join(PRECISIONS)}")


def runtime_version(runtime: str) -> str:
    """Version of a runtime's package.

    Raises:
        RuntimeUnavailableError: the runtime is unknown or not installed.
    """
    check_runtime(runtime)
    return BACKENDS[runtime].version() if runtime in BACKENDS else tensorrt_bindings.version(runtime)


def export_graphs(checkpoint: "Checkpoint", folder: Path, progress: Progress = iter) -> None:
    """Write the graphs of a checkpoint as ONNX, in fp32 and with an open length of the prompt, for every runtime.

    Args:
        checkpoint: loaded, in fp32.
        folder: is made.
        progress: wraps the sequence of graphs, to show how far it is.

    Raises:
        PolicyError: a graph cannot be exported, or the folder cannot be written.
    """
    from vipa_inference.runtime.export import export_graph

    config = checkpoint.config
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for graph in progress(make_graphs(checkpoint.model, config.prompt_length)):
            export_graph(graph, config, folder / f"{graph.name}.onnx", any_prompt=True)


def install_engine(
    checkpoint: "Checkpoint",
    folder: Path,
    runtime: str,
    precision: str,
    graphs: Path,
    statistics: "Statistics",
    build: BuildConfig | None = None,
    progress: BuildProgress | None = None,
) -> dict[str, Any]:
    """Make an engine, compare it with eager torch, and install it; an engine beyond its bounds is not installed.

    Args:
        checkpoint: loaded, in fp32.
        folder: of the checkpoint.
        runtime: one of ``PRECISIONS``.
        precision: of the engine.
        graphs: folder with what ``export_graphs`` wrote.
        statistics: of the actions, for the errors in millimetres and degrees.
        build: how TensorRT builds.
        progress: is told how far TensorRT is.

    Returns:
        The manifest that was written.

    Raises:
        EngineError: the engine does not compute what the model computes.
        PolicyError: the runtime cannot run the graphs, or the folder cannot be written.
    """
    key, final = engine_key(checkpoint, runtime, precision), engine_folder(folder, runtime, precision)
    if runtime not in BACKENDS and precision not in PRECISIONS[runtime]:
        raise RuntimeUnavailableError(f"runtime {runtime}: no {precision}; known: {', '.join(PRECISIONS[runtime])}")
    partial = final.with_name(final.name + ".partial")
    try:
        with _writing(final):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            if runtime in BACKENDS:
                built: dict[str, Any] = {}
                for file in graphs.iterdir():
                    _link(file, partial / file.name)
            else:
                bindings, known = load_bindings(runtime), _built_before(final)
                config, build = checkpoint.config, build or BuildConfig()
                built = build_engines(bindings, graphs, partial, precision, config, build, final, known, progress)
            parity = _measured_parity(checkpoint, partial, runtime, precision, statistics, built)
            files = {file.name: hash_file(file) for file in sorted(partial.iterdir())}
            manifest: dict[str, Any] = {"key": key, "files": files, "parity": parity, **built}
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _measured_parity(
    checkpoint: "Checkpoint",
    place: Path,
    runtime: str,
    precision: str,
    statistics: "Statistics",
    built: Mapping[str, Any],
) -> dict[str, Any]:
    """The parity for the manifest; where the engine cannot run here, why it was not measured."""
    from vipa_inference.runtime.parity import measure_parity
    from vipa_inference.runtime.torch_runtime import TorchRuntime

    reason = obstacle(EngineTarget.from_mapping(built["target"])) if built else ""
    if reason:
        return {"not_run": reason}
    candidate = _runtime(checkpoint, place, runtime, precision, "")
    parity = measure_parity(TorchRuntime(checkpoint.model), candidate, statistics)
    candidate.close()
    if parity.broken:
        raise EngineError(
            f"engine {runtime} {precision}: not installed, it differs from the model: {'; '.join(parity.broken)}"
        )
    return parity.to_mapping()


def _runtime(checkpoint: "Checkpoint", place: Path, runtime: str, precision: str, reason: str) -> GraphRuntime:
    """The engine in a folder, ready to run."""
    if runtime in BACKENDS:
        description = RuntimeDescription(runtime, precision, "cpu", reason)
        return GraphRuntime(checkpoint.config, description, load_graphs(place, runtime, precision))
    from vipa_inference.runtime.tensorrt_runtime import load_runtime

    gpu = find_gpu()
    description = RuntimeDescription(runtime, precision, "" if gpu is None else gpu.name, reason)
    return load_runtime(place, {name: engine_name(name) for name in GRAPHS}, checkpoint.config, description)


def load_graphs(folder: Path, runtime: str, precision: str) -> dict[str, Execute]:
    """The graphs in a folder, ready to run on the CPU by one of ``BACKENDS``.

    Raises:
        RuntimeUnavailableError: the runtime cannot run here, or cannot run the graphs.
    """
    load = BACKENDS[runtime].load_graph
    return {name: load(folder / f"{name}.onnx", precision) for name in GRAPHS}


def load_engine(
    checkpoint: "Checkpoint", folder: Path, runtime: str, precision: str, reason: str, proven_only: bool = False
) -> GraphRuntime:
    """An installed engine.

    Args:
        checkpoint: whose engine it is.
        folder: of the checkpoint.
        runtime: one of ``PRECISIONS``.
        precision: of the engine.
        reason: why it was chosen, in words.
        proven_only: refuse an engine whose parity was not measured; else a warning is logged.

    Raises:
        EngineError: it is missing, stale, damaged, for another GPU, or not proven.
        RuntimeUnavailableError: the runtime cannot run here.
    """
    key, place = engine_key(checkpoint, runtime, precision), engine_folder(folder, runtime, precision)
    manifest, cure = read_manifest(place), _cure(runtime, precision)
    if manifest["key"] != key:
        there = manifest["key"]
        changed = [
            f"{name} ({_short(there.get(name))}, here {_short(value)})"
            for name, value in key.items()
            if there.get(name) != value
        ]
        raise EngineError(f"{place}: stale: made for another {', '.join(sorted(changed))}. {cure}")
    suffix = "{}.onnx" if runtime in BACKENDS else engine_name("{}")
    digests = {suffix.format(name): None for name in GRAPHS} | manifest["files"]
    for name, digest in digests.items():
        if not (place / name).is_file() or hash_file(place / name) != digest:
            raise EngineError(f"{place / name}: damaged or missing. {cure}")
    unproven = manifest["parity"].get("not_run")
    if unproven is not None:
        line = f"{place}: not proven: its parity with the model was not measured ({unproven})"
        if proven_only:
            raise EngineError(f"{line}. Measure it on the machine that runs it. {cure}")
        _log.warning("%s", line)
        reason = f"{reason}; parity not measured ({unproven})"
    if runtime not in BACKENDS:
        obstruction = obstacle(_target(place, manifest, cure))
        if obstruction:
            raise EngineError(f"{place}: cannot run: {obstruction}. {cure}")
    return _runtime(checkpoint, place, runtime, precision, reason)


def read_manifest(place: Path) -> dict[str, Any]:
    """The manifest of an installed engine.

    Raises:
        EngineError: there is none, or it is damaged.
    """
    file = place / MANIFEST
    runtime, _, precision = place.name.rpartition("-")
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EngineError(f"{place}: no such engine. {_cure(runtime, precision)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(f"{file}: cannot be read ({error}). {_cure(runtime, precision)}") from None
    fields = ("key", "files", "parity")
    if not isinstance(content, Mapping) or not all(isinstance(content.get(name), Mapping) for name in fields):  # type: ignore[reportUnknownMemberType]
        raise EngineError(f"{file}: no manifest of an engine. {_cure(runtime, precision)}")
    return cast(dict[str, Any], content)


def _built_before(place: Path) -> Mapping[str, Any]:
    """What the manifest of an installed engine says about its parts; empty where there is none or it is damaged."""
    try:
        built = read_manifest(place).get("engines")
    except EngineError:
        return {}
    return cast(Mapping[str, Any], built) if isinstance(built, Mapping) else {}


def _target(place: Path, manifest: Mapping[str, Any], cure: str) -> EngineTarget:
    try:
        return EngineTarget.from_mapping(manifest["target"])
    except (KeyError, TypeError):
        raise EngineError(f"{place / MANIFEST}: no manifest of a built engine. {cure}") from None


def _short(value: Any) -> str:
    """A value of a key, of a hash the first digits."""
    text = str(value)
    return text if len(text) < 40 else text[:12]


@contextlib.contextmanager
def _writing(folder: Path) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        raise PolicyError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _link(file: Path, target: Path) -> None:
    """The engines of a checkpoint share their files where the file system can do that."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copy2(file, target)


def _cure(runtime: str, precision: str) -> str:
    return f"Make it with: vipa export --checkpoint FOLDER --runtime {runtime} --precision {precision}"
