"""Inference-time real-time chunking: a committed prefix for an action head that was not trained with prefixes.

The chunk is inpainted: at every denoising step the flow is corrected towards chunks that begin with what is committed
(arXiv 2506.07339; the correction is that of pseudo-inverse guidance, Song et al., "Pseudoinverse-guided diffusion
models for inverse problems", ICLR 2023, for flows arXiv 2310.04432).

In the convention of ``ActionHead``, x(tau) = tau a + (1 - tau) eps with eps ~ N(0, I), tau from 0 to 1, and velocity
v = E[a - eps | x]. Hence

    E[a | x] = x + (1 - tau) v =: a_hat(x)                       (what the flow expects to arrive at)
    score    = grad log p(x) = (tau v - x) / (1 - tau)           (Tweedie: score = -E[eps | x] / (1 - tau))
    v        = (x + (1 - tau) score) / tau.

To condition on y = the committed actions adds grad log p(y | x) to the score, so (1 - tau) / tau times it to the
velocity. Pseudo-inverse guidance takes p(a | x) = N(a_hat, r^2 I), with r^2 = (1 - tau)^2 / (tau^2 + (1 - tau)^2), the
variance of a given x where actions are normalised, a ~ N(0, I). With weights w (1 where y counts, 0 where it does not)

    grad log p(y | x) = (d a_hat / d x)^T (w (y - a_hat)) / r^2
    v' = v + min(beta, (1 - tau) / (tau r^2)) (d a_hat / d x)^T (w (y - a_hat)).

The factor, (tau^2 + (1 - tau)^2) / (tau (1 - tau)), is 2 at its least and infinite at tau = 0 and 1, where beta bounds
it. The product with the Jacobian is one backward pass through the head. For independent normal actions v' is exact.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vipa_inference.model.action_head import ActionHead
from vipa_inference.runtime.base import Array


def sample_guided(
    head: ActionHead,
    noise: Tensor,
    state: Tensor,
    context: Tensor,
    prefix: Tensor,
    prefix_length: Tensor,
    soft_length: Tensor,
    beta: float = 5.0,
    steps: int | None = None,
) -> Tensor:
    """Actions (B, H, A) by Euler integration of the guided flow from noise (B, H, A).

    Unlike in ``ActionHead.sample`` the committed rows come out approximately as committed, not exactly.

    Args:
        head: the action head; its parameters get no gradients.
        noise: standard normal, the start of the flow.
        state: normalised proprioception (B, P).
        context: hidden states of the action queries (B, Q, context_width).
        prefix: (B, H, A) normalised actions to begin with: committed ones, then those that the last chunk intended.
        prefix_length: (B,) how many of them are committed.
        soft_length: (B,) how many of them count at all, with weights that fall beyond the committed ones.
        beta: bound of the guidance; 5 in arXiv 2506.07339.
        steps: denoising steps; None: those of the configuration.
    """
    weights = guidance_weights(noise.shape[1], prefix_length, soft_length).to(noise)
    if not weights.any():
        with torch.no_grad():
            return head.sample(noise, state, context, steps=steps)
    with torch.no_grad():
        keys_values = head.keys_values(context)
    count = steps or head.config.denoising_steps
    actions = noise
    for i in range(count):
        times = torch.full_like(actions[..., 0], i / count)

        def velocity(actions: Tensor, times: Tensor = times) -> Tensor:
            return head.velocity(actions, times, state, keys_values)

        actions = actions + guided_velocity(velocity, actions, i / count, prefix, weights, beta) / count
    return actions


def act_guided(
    head: ActionHead,
    context: Array,
    proprioception: Array,
    noise: Array,
    prefix: Array,
    prefix_length: int,
    soft_length: int,
    beta: float = 5.0,
) -> Array:
    """``sample_guided`` for one observation, in the terms of ``runtime.base.Runtime.act``: a chunk (1, H, A)."""
    parameter = next(head.parameters())
    tensors = [torch.from_numpy(values).to(parameter) for values in (noise, proprioception, context, prefix)]
    lengths = [torch.tensor([length], device=parameter.device) for length in (prefix_length, soft_length)]
    return sample_guided(head, *tensors, *lengths, beta=beta).float().cpu().numpy()


def guided_velocity(
    velocity: Callable[[Tensor], Tensor], actions: Tensor, tau: float, target: Tensor, weights: Tensor, beta: float
) -> Tensor:
    """The flow (B, H, A) towards chunks that agree with a target; v' of the module's formulas.

    Args:
        velocity: the flow (B, H, A) at noisy actions (B, H, A) and this tau.
        actions: noisy actions.
        tau: flow time, in [0, 1).
        target: (B, H, A); what has no weight may be anything.
        weights: (B, H) from 0 to 1.
        beta: bound of the guidance.
    """
    with torch.enable_grad():
        noisy = actions.detach().requires_grad_()
        flow = velocity(noisy)
        arrival = noisy + (1.0 - tau) * flow
        error = torch.where(weights[..., None] > 0, target - arrival.detach(), 0.0) * weights[..., None]
        (correction,) = torch.autograd.grad(arrival, noisy, error)
    return flow.detach() + guidance_scale(tau, beta) * correction


def guidance_scale(tau: float, beta: float) -> float:
    """min(beta, (1 - tau) / (tau r^2)) at the flow time tau in [0, 1)."""
    return min(beta, (tau**2 + (1.0 - tau) ** 2) / (tau * (1.0 - tau))) if tau > 0.0 else beta


def guidance_weights(horizon: int, prefix_length: Tensor, soft_length: Tensor) -> Tensor:
    """How much each action (B, H) is to agree with the target: 1 within the prefix, 0 from the soft length on.

    In between it is c (e^c - 1) / (e - 1), where c falls linearly from 1 to 0 (arXiv 2506.07339, Eq. 5).
    """
    index = torch.arange(horizon, device=prefix_length.device)[None]
    hard, soft = prefix_length[:, None], soft_length[:, None]
    share = ((soft - index) / (soft - hard + 1).clamp(min=1)).clamp(0.0, 1.0)
    decaying = share * torch.expm1(share) / (math.e - 1.0)
    return torch.where(index < hard, 1.0, decaying)
