"""The GPU that a runtime would use."""

from dataclasses import dataclass

NO_GPU = "no CUDA device"


@dataclass(frozen=True)
class Gpu:
    """What decides whether an engine runs on it."""

    name: str
    compute_capability: str  # "8.9"

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.compute_capability})"


def find_gpu() -> Gpu | None:
    """The current CUDA device of torch; None: torch is missing or was built without CUDA, or there is no GPU."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability()
    return Gpu(torch.cuda.get_device_name(), f"{major}.{minor}")
