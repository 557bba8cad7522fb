"""What every runtime does: an observation's tensors to the action queries' states, and those to an action chunk."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vipa_inference.config import VipaVlaConfig
from vipa_inference.policy import PolicyError

Array = NDArray[np.float32]
Batch = dict[str, NDArray[np.generic]]
"""Tensors of processed observations, from ``vipa_inference.processing``: ``semantic_pixels`` (B, F, 3, S, S) float32,
``spatial_pixels`` (B, F, 3, R, R) float32 (absent without a spatial encoder), ``input_ids`` (B, L) int64 padded on the
left, ``attention_mask`` (B, L) int64, ``proprioception`` (B, P) float32. A runtime takes B = 1."""


class RuntimeUnavailableError(PolicyError):
    """A runtime cannot run here: its package, its device or its engine is missing; the message says what to do."""


@dataclass(frozen=True)
class RuntimeDescription:
    """Which runtime it is, for logs, reports and the policy's hash."""

    name: str  # "torch", "onnxruntime", "openvino", "tensorrt" or "tensorrt_rtx"
    precision: str  # "fp32", "bf16" or "fp16"
    device: str  # "cpu" or the name of the GPU
    reason: str = ""  # why it was chosen, in words


class Runtime(Protocol):
    """The three stages of the model: vision encoder and prefill (once per observation), action head."""

    config: VipaVlaConfig
    description: RuntimeDescription

    def condition(self, batch: Batch) -> Array:
        """Hidden states of the action queries (1, Q, D): vision encoder, then prefill."""
        ...

    def act(
        self,
        context: Array,
        proprioception: Array,
        noise: Array,
        prefix: Array | None = None,
        prefix_length: int = 0,
    ) -> Array:
        """Normalised action chunk (1, H, A): the whole denoising loop.

        Args:
            context: (1, Q, D) from ``condition``.
            proprioception: (1, P), normalised.
            noise: (1, H, A) standard normal.
            prefix: (1, H, A) normalised committed actions, of which the first ``prefix_length`` count; None: none.
            prefix_length: number of committed actions, held clean (training-time real-time chunking).
        """
        ...

    def step(self, context: Array, proprioception: Array, actions: Array, tau: Array) -> Array:
        """The flow (1, H, A) at noisy actions (1, H, A) with flow times tau (1, H): one pass through the head."""
        ...

    def close(self) -> None:
        """Let go of engines and memory."""
        ...
