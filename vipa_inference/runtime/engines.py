"""Engines: the graphs of a checkpoint for one runtime and precision, installed beside its weights once parity holds.

``<checkpoint>/engines/<runtime>-<precision>/`` holds the graphs and ``engine.json``: the key that says what they were
made from and for, the SHA-256 of every file, and the parity that was measured.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vipa_inference.policy import PolicyError
from vipa_inference.runtime import onnx_runtime, openvino_runtime
from vipa_inference.runtime.base import RuntimeDescription, RuntimeUnavailableError
from vipa_inference.runtime.graph_runtime import Execute, GraphRuntime
from vipa_inference.runtime.graphs import GRAPHS, Graph, make_graphs

if TYPE_CHECKING:
    from vipa_inference.checkpoint import Checkpoint
    from vipa_inference.statistics import Statistics

FORMAT = 1
MANIFEST = "engine.json"
Progress = Callable[[Iterator[Graph]], Iterable[Graph]]


@dataclass(frozen=True)
class Backend:
    """What executes ONNX graphs."""

    version: Callable[[], str]
    load_graph: Callable[[Path, str], Execute]
    precisions: tuple[str, ...]  # best last


BACKENDS: dict[str, Backend] = {
    "onnxruntime": Backend(onnx_runtime.version, onnx_runtime.load_graph, onnx_runtime.PRECISIONS),
    "openvino": Backend(openvino_runtime.version, openvino_runtime.load_graph, openvino_runtime.PRECISIONS),
}


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
        "runtime_version": backend(runtime).version(),
        "precision": precision,
    }


def backend(runtime: str) -> Backend:
    """What executes the graphs of a runtime.

    Raises:
        RuntimeUnavailableError: no such runtime.
    """
    if runtime not in BACKENDS:
        raise RuntimeUnavailableError(f"runtime {runtime}: unknown; known: torch, {', '.join(BACKENDS)}")
    return BACKENDS[runtime]


def export_graphs(checkpoint: "Checkpoint", folder: Path, progress: Progress = iter) -> None:
    """Write the graphs of a checkpoint as ONNX, in fp32 and with an open length of the prompt, for every CPU runtime.

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
    checkpoint: "Checkpoint", folder: Path, runtime: str, precision: str, graphs: Path, statistics: "Statistics"
) -> dict[str, Any]:
    """Load graphs, compare them with eager torch, and install them; an engine beyond its bounds is not installed.

    Args:
        checkpoint: loaded, in fp32.
        folder: of the checkpoint.
        runtime: one of ``BACKENDS``.
        precision: of the engine.
        graphs: folder with what ``export_graphs`` wrote.
        statistics: of the actions, for the errors in millimetres and degrees.

    Returns:
        The manifest that was written.

    Raises:
        EngineError: the engine does not compute what the model computes.
        PolicyError: the runtime cannot run the graphs, or the folder cannot be written.
    """
    from vipa_inference.runtime.parity import measure_parity
    from vipa_inference.runtime.torch_runtime import TorchRuntime

    key, final = engine_key(checkpoint, runtime, precision), engine_folder(folder, runtime, precision)
    partial = final.with_name(final.name + ".partial")
    try:
        with _writing(final):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for file in graphs.iterdir():
                _link(file, partial / file.name)
            description = RuntimeDescription(runtime, precision, "cpu")
            candidate = GraphRuntime(checkpoint.config, description, load_graphs(partial, runtime, precision))
            parity = measure_parity(TorchRuntime(checkpoint.model), candidate, statistics)
            candidate.close()
            if parity.broken:
                raise EngineError(
                    f"engine {runtime} {precision}: not installed, it differs from the model: "
                    f"{'; '.join(parity.broken)}"
                )
            files = {file.name: _sha256(file) for file in sorted(partial.iterdir())}
            manifest: dict[str, Any] = {"key": key, "files": files, "parity": parity.to_mapping()}
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def load_graphs(folder: Path, runtime: str, precision: str) -> dict[str, Execute]:
    """The graphs in a folder, ready to run.

    Raises:
        RuntimeUnavailableError: the runtime cannot run here, or cannot run the graphs.
    """
    load = backend(runtime).load_graph
    return {name: load(folder / f"{name}.onnx", precision) for name in GRAPHS}


def load_engine(checkpoint: "Checkpoint", folder: Path, runtime: str, precision: str, reason: str) -> GraphRuntime:
    """An installed engine.

    Raises:
        EngineError: it is missing, stale or damaged.
        RuntimeUnavailableError: the runtime cannot run here.
    """
    key, place = engine_key(checkpoint, runtime, precision), engine_folder(folder, runtime, precision)
    manifest = read_manifest(place)
    if manifest["key"] != key:
        changed = ", ".join(sorted(name for name, value in key.items() if manifest["key"].get(name) != value))
        raise EngineError(f"{place}: stale: made for another {changed}. {_cure(runtime, precision)}")
    digests = {f"{name}.onnx": None for name in GRAPHS} | manifest["files"]
    for name, digest in digests.items():
        if not (place / name).is_file() or _sha256(place / name) != digest:
            raise EngineError(f"{place / name}: damaged or missing. {_cure(runtime, precision)}")
    description = RuntimeDescription(runtime, precision, "cpu", reason)
    return GraphRuntime(checkpoint.config, description, load_graphs(place, runtime, precision))


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


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
