"""The model as it is, in torch: the reference of every other runtime."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vipa_inference.config import VipaVlaConfig
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.runtime.base import Array, Batch, RuntimeDescription
from vipa_inference.runtime.inputs import check_action_inputs, check_batch


class TorchRuntime:
    """Eager torch on the device and in the precision in which the model is.

    Args:
        model: in evaluation mode.
        reason: why it was chosen, in words.
    """

    def __init__(self, model: VipaVla, reason: str = "") -> None:
        self.config: VipaVlaConfig = model.config
        self._model = model
        parameter = next(model.parameters())
        self._device, self._type = parameter.device, parameter.dtype
        precision = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[parameter.dtype]
        self.description = RuntimeDescription("torch", precision, str(self._device), reason)

    def condition(self, batch: Batch) -> Array:
        """Hidden states of the action queries (1, Q, D)."""
        return self.prefill(batch, self.encode_images(batch))

    @torch.inference_mode()
    def encode_images(self, batch: Batch) -> Array:
        """Image tokens (1, F, N, D)."""
        check_batch(batch, self.config)
        spatial = batch.get("spatial_pixels")
        semantic = self._tensor(batch["semantic_pixels"])
        return _array(self._model.encode_images(semantic, None if spatial is None else self._tensor(spatial)))

    @torch.inference_mode()
    def prefill(self, batch: Batch, image_tokens: Array) -> Array:
        """Hidden states of the action queries (1, Q, D) for image tokens (1, F, N, D)."""
        prompt = self._tensor(batch["input_ids"]), self._tensor(batch["attention_mask"])
        return _array(self._model.prefill(*prompt, self._tensor(image_tokens)))

    @torch.inference_mode()
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
        length = None if prefix is None else torch.tensor([prefix_length], device=self._device)
        return _array(
            self._model.action_head.sample(
                self._tensor(noise),
                self._tensor(proprioception),
                self._tensor(context),
                None if prefix is None else self._tensor(prefix),
                length,
            )
        )

    @torch.inference_mode()
    def step(self, context: Array, proprioception: Array, actions: Array, tau: Array) -> Array:
        """The flow (1, H, A) at noisy actions (1, H, A) with flow times tau (1, H)."""
        check_action_inputs(self.config, context, proprioception, actions, tau=tau)
        head = self._model.action_head
        keys_values = head.keys_values(self._tensor(context))
        return _array(
            head.velocity(self._tensor(actions), self._tensor(tau), self._tensor(proprioception), keys_values)
        )

    def close(self) -> None:
        """Nothing to let go: the model belongs to whoever made it."""

    def _tensor(self, values: NDArray[np.generic]) -> torch.Tensor:
        tensor: Any = torch.from_numpy(np.ascontiguousarray(values)).to(self._device)
        return tensor.to(self._type) if tensor.is_floating_point() else tensor


def _array(tensor: torch.Tensor) -> Array:
    return tensor.float().cpu().numpy()
