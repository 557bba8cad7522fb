"""Which runtime runs a checkpoint."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from vipa_inference.runtime.base import Runtime, RuntimeUnavailableError
from vipa_inference.runtime.engines import BACKENDS, backend, engine_folder, load_engine

if TYPE_CHECKING:
    from vipa_inference.checkpoint import Checkpoint

PREFERENCE = (("openvino", "bf16"), ("openvino", "fp32"), ("onnxruntime", "fp32"))
"""Engines on the CPU, fastest first (``vipa bench policy``)."""

_log = logging.getLogger(__name__)


def make_runtime(checkpoint: "Checkpoint", folder: Path | None, name: str = "auto", precision: str = "auto") -> Runtime:
    """The runtime of a loaded checkpoint.

    Args:
        checkpoint: weights and configuration.
        folder: of the checkpoint, whose ``engines`` are used; None: there are none.
        name: "torch", "onnxruntime", "openvino", or "auto": the best that is installed, else torch.
        precision: "fp32", "bf16", or "auto": the best that is installed.

    Raises:
        RuntimeUnavailableError: the runtime asked for is not there or its engine is missing, stale or damaged.
    """
    if name == "torch":
        return _torch(checkpoint, precision, "it was asked for")
    if name != "auto":
        backend(name)
    tried: list[str] = []
    for runtime, kind in PREFERENCE:
        if name not in ("auto", runtime) or precision not in ("auto", kind):
            continue
        if folder is None or not engine_folder(folder, runtime, kind).is_dir():
            tried.append(f"no engine {runtime} {kind}")
            continue
        try:
            reason = "it was asked for" if name != "auto" else f"best installed ({'; '.join(tried) or 'first choice'})"
            return load_engine(checkpoint, folder, runtime, kind, reason)
        except RuntimeUnavailableError as error:
            if name != "auto":
                raise
            _log.warning("runtime auto: %s", error)
            tried.append(str(error))
    if name != "auto":
        asked = "" if precision == "auto" else f" {precision}"
        kinds = ", ".join(BACKENDS[name].precisions)
        raise RuntimeUnavailableError(
            f"runtime {name}{asked}: no engine is installed for this checkpoint (precisions: {kinds}). "
            f"Make one with: vipa export --checkpoint FOLDER --runtime {name}"
        )
    return _torch(checkpoint, precision, f"no engine can be used ({'; '.join(tried)})")


def _torch(checkpoint: "Checkpoint", precision: str, reason: str) -> Runtime:
    from vipa_inference.runtime.torch_runtime import TorchRuntime

    runtime = TorchRuntime(checkpoint.model, reason)
    if precision not in ("auto", runtime.description.precision):
        raise RuntimeUnavailableError(
            f"runtime torch: the checkpoint is in {runtime.description.precision}, not {precision}"
        )
    return runtime
