"""Runtimes that run the exported graphs, whatever executes them."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from vipa_inference.config import VipaVlaConfig
from vipa_inference.policy import PolicyError
from vipa_inference.runtime.base import Array, Batch, RuntimeDescription
from vipa_inference.runtime.graphs import ACTION_HEAD, ACTION_STEP, VISION_ENCODER, VLM_PREFILL
from vipa_inference.runtime.inputs import check_action_inputs, check_batch

Execute = Callable[[dict[str, NDArray[np.generic]]], Array]
"""Runs one graph: its inputs by name to its output."""


class GraphRuntime:
    """The four graphs behind the interface of every runtime; what goes in is checked here.

    Args:
        config: of the model.
        description: of the runtime.
        graphs: by their names, see ``graphs.GRAPHS``.
        prompt_length: tokens of every prompt; None: it is open, and padding is left out, since it costs time.
    """

    def __init__(
        self,
        config: VipaVlaConfig,
        description: RuntimeDescription,
        graphs: Mapping[str, Execute],
        prompt_length: int | None = None,
    ) -> None:
        self.config, self.description = config, description
        self._prompt_length = prompt_length
        self._graphs = dict(graphs)

    def condition(self, batch: Batch) -> Array:
        """Hidden states of the action queries (1, Q, D)."""
        return self.prefill(batch, self.encode_images(batch))

    def encode_images(self, batch: Batch) -> Array:
        """Image tokens (1, F, N, D)."""
        return self._graphs[VISION_ENCODER](self.vision_inputs(batch))

    def prefill(self, batch: Batch, image_tokens: Array) -> Array:
        """Hidden states of the action queries (1, Q, D) for image tokens (1, F, N, D)."""
        return self._graphs[VLM_PREFILL]({**self.prompt_inputs(batch), "image_tokens": image_tokens})

    def vision_inputs(self, batch: Batch) -> Batch:
        """Inputs of the vision encoder."""
        check_batch(batch, self.config)
        names = ("semantic_pixels",) if self.config.spatial is None else ("semantic_pixels", "spatial_pixels")
        return {name: batch[name] for name in names}

    def prompt_inputs(self, batch: Batch) -> Batch:
        """Inputs of the prefill but the image tokens: without padding, or padded on the left to the fixed length.

        Raises:
            PolicyError: the prompt is longer than the fixed length.
        """
        ids, mask = batch["input_ids"], batch["attention_mask"]
        first = int(np.argmax(mask[0] != 0))
        padding = 0
        if self._prompt_length is not None:
            padding = self._prompt_length - (ids.shape[1] - first)
            if padding < 0:
                raise PolicyError(
                    f"runtime: a prompt of {ids.shape[1] - first} tokens, expected {self._prompt_length} at most"
                )
        widths = ((0, 0), (padding, 0))
        return {
            "input_ids": np.pad(ids[:, first:], widths),
            "attention_mask": np.pad(mask[:, first:], widths),
        }

    def act(
        self,
        context: Array,
        proprioception: Array,
        noise: Array,
        prefix: Array | None = None,
        prefix_length: int = 0,
    ) -> Array:
        """Normalised action chunk (1, H, A)."""
        check_action_inputs(self.config, context, proprioception, noise, prefix, prefix_length)
        mask = (np.arange(noise.shape[1])[None] < prefix_length).astype(np.float32)
        return self._graphs[ACTION_HEAD](
            {
                "context": context,
                "proprioception": proprioception,
                "noise": noise,
                "prefix": np.zeros_like(noise) if prefix is None else prefix,
                "prefix_mask": mask,
            }
        )

    def step(self, context: Array, proprioception: Array, actions: Array, tau: Array) -> Array:
        """The flow (1, H, A) at noisy actions (1, H, A) with flow times tau (1, H)."""
        check_action_inputs(self.config, context, proprioception, actions, tau=tau)
        return self._graphs[ACTION_STEP](
            {"context": context, "proprioception": proprioception, "actions": actions, "tau": tau}
        )

    def close(self) -> None:
        """Let go of the graphs."""
        self._graphs.clear()
