"""Which runtime runs a checkpoint."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from vipa_inference.runtime.base import Runtime, RuntimeUnavailableError
from vipa_inference.runtime.engines import PRECISIONS, check_runtime, engine_folder, load_engine
from vipa_inference.runtime.tensorrt_bindings import TENSORRT, TENSORRT_RTX

if TYPE_CHECKING:
    from vipa_inference.checkpoint import Checkpoint

_log = logging.getLogger(__name__)


def preference(has_amx: bool, has_vnni: bool) -> tuple[tuple[str, str], ...]:
    """Engines, fastest first, as runtime and precision: on a GPU, then on the CPU (``vipa bench policy``).

    On a GPU bf16 is as fast as fp16 and overflows nowhere. On a CPU it pays with AMX; AVX-512 alone multiplies bf16 no
    faster than fp32, and converting takes time; there int8 is the fastest, and for nano no less exact than bf16.

    Args:
        has_amx: whether the processor has tiles for bf16.
        has_vnni: whether it has products of integers.
    """
    gpu = ((runtime, precision) for runtime in (TENSORRT, TENSORRT_RTX) for precision in ("bf16", "fp16", "fp32"))
    fast = [kind for kind, is_fast in (("bf16", has_amx), ("int8", has_vnni)) if is_fast]
    slow = [kind for kind in ("fp32", "bf16", "int8") if kind not in fast]
    openvino = (("openvino", precision) for precision in (*fast, *slow))
    return (*gpu, *openvino, ("onnxruntime", "fp32"))


def processor_has(ability: str) -> bool:
    """Whether this machine's processor has an ability, such as "amx_bf16", by the name in Linux's /proc/cpuinfo."""
    try:
        return ability in Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False


def make_runtime(checkpoint: "Checkpoint", folder: Path | None, name: str = "auto", precision: str = "auto") -> Runtime:
    """The runtime of a loaded checkpoint.

    Args:
        checkpoint: weights and configuration.
        folder: of the checkpoint, whose ``engines`` are used; None: there are none.
        name: "torch", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", or "auto": the best that is installed and
            whose parity with the model was measured, else torch. An engine that is not proven has to be named.
        precision: "fp32", "bf16", "fp16", "int8", or "auto": the best that is installed.

    Raises:
        RuntimeUnavailableError: the runtime asked for is not there or its engine is missing, stale or damaged.
    """
    if name == "torch":
        return _torch(checkpoint, precision, "it was asked for")
    if name != "auto":
        check_runtime(name)
    tried: list[str] = []
    missing: dict[str, list[str]] = {}
    for runtime, kind in preference(processor_has("amx_bf16"), processor_has("avx512_vnni")):
        if name not in ("auto", runtime) or precision not in ("auto", kind):
            continue
        if folder is None or not engine_folder(folder, runtime, kind).is_dir():
            missing.setdefault(runtime, []).append(kind)
            continue
        try:
            passed = "; ".join([*tried, *_no_engine(missing)])
            reason = "it was asked for" if name != "auto" else f"best installed ({passed or 'first choice'})"
            return load_engine(checkpoint, folder, runtime, kind, reason, proven_only=name == "auto")
        except RuntimeUnavailableError as error:
            if name != "auto":
                raise
            _log.warning("runtime auto: %s", error)
            tried.append(str(error))
    if name != "auto":
        asked = "" if precision == "auto" else f" {precision}"
        kinds = ", ".join(PRECISIONS[name])
        raise RuntimeUnavailableError(
            f"runtime {name}{asked}: no engine is installed for this checkpoint (precisions: {kinds}). "
            f"Make one with: vipa export --checkpoint FOLDER --runtime {name}"
        )
    return _torch(checkpoint, precision, f"no engine can be used ({'; '.join([*tried, *_no_engine(missing)])})")


def _no_engine(missing: dict[str, list[str]]) -> list[str]:
    return [f"no engine {runtime} {', '.join(kinds)}" for runtime, kinds in missing.items()]


def _torch(checkpoint: "Checkpoint", precision: str, reason: str) -> Runtime:
    from vipa_inference.runtime.torch_runtime import TorchRuntime

    runtime = TorchRuntime(checkpoint.model, reason)
    if precision not in ("auto", runtime.description.precision):
        raise RuntimeUnavailableError(
            f"runtime torch: the checkpoint is in {runtime.description.precision}, not {precision}"
        )
    return runtime
