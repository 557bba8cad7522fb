"""Inference-time real-time chunking: the formulas against distributions whose posterior is known, and on the head."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vipa_inference.config import ActionHeadConfig, VipaVlaConfig
from vipa_inference.model.action_head import ActionHead, sample_prefix_lengths
from vipa_inference.model.guided_sampling import (
    act_guided,
    guidance_scale,
    guidance_weights,
    guided_velocity,
    sample_guided,
)

TAUS = [0.05, 0.25, 0.5, 0.75, 0.95]


class Gaussian:
    """Actions (H,) from N(mean, covariance): the flow is linear in the noisy actions and known."""

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean, self.covariance = mean, covariance

    def gain(self, tau: float) -> Tensor:
        """d E[a | x] / d x = tau S (tau^2 S + (1 - tau)^2 I)^-1."""
        noisy = tau**2 * self.covariance + (1 - tau) ** 2 * torch.eye(len(self.mean), dtype=torch.float64)
        return tau * self.covariance @ torch.linalg.inv(noisy)

    def arrival(self, x: Tensor, tau: float) -> Tensor:
        """E[a | x] (B, H) of noisy actions (B, H)."""
        return self.mean + (x - tau * self.mean) @ self.gain(tau).T

    def velocity(self, x: Tensor, tau: float) -> Tensor:
        """E[a - eps | x] (B, H, 1) at noisy actions (B, H, 1)."""
        return (self.arrival(x[..., 0], tau)[..., None] - x) / (1 - tau)


def smooth_gaussian(horizon: int, length: float) -> Gaussian:
    """Actions that change little from one to the next, with variance one."""
    index = torch.arange(horizon, dtype=torch.float64)
    covariance = torch.exp(-0.5 * ((index[:, None] - index[None]) / length) ** 2)
    return Gaussian(torch.sin(index / 3), covariance + 1e-3 * torch.eye(horizon, dtype=torch.float64))


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


class TestGuidedVelocity:
    """The correction of the flow."""

    @pytest.mark.parametrize("tau", TAUS)
    def test_is_the_gradient_of_the_assumed_posterior(self, tau: float) -> None:
        """v' - v = (1 - tau) / tau grad log N(y; a_hat(x), r^2), the gradient taken by hand and by autograd."""
        toy, x, target = smooth_gaussian(6, 2.0), double(2, 6, 1), double(2, 6, 1)
        weights = torch.tensor([[1.0, 1.0, 0.6, 0.2, 0.0, 0.0]] * 2, dtype=torch.float64)
        found = guided_velocity(lambda x: toy.velocity(x, tau), x, tau, target, weights, math.inf)

        variance = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
        noisy = x[..., 0].clone().requires_grad_()
        error = target[..., 0] - toy.arrival(noisy, tau)
        (score,) = torch.autograd.grad((-0.5 * weights * error**2 / variance).sum(), noisy)
        correction = (1 - tau) / tau * score
        torch.testing.assert_close(found - toy.velocity(x, tau), correction[..., None])

        by_hand = ((weights * error.detach()) @ toy.gain(tau)) / variance * (1 - tau) / tau
        torch.testing.assert_close(correction, by_hand)

    @pytest.mark.parametrize("tau", TAUS)
    def test_is_exact_for_independent_normal_actions(self, tau: float) -> None:
        """There the conditional flow is known: straight to the committed actions, the others as without them."""
        toy, x, target = Gaussian(torch.zeros(5).double(), torch.eye(5).double()), double(3, 5, 1), double(3, 5, 1)
        weights = torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.0]] * 3, dtype=torch.float64)
        found = guided_velocity(lambda x: toy.velocity(x, tau), x, tau, target, weights, math.inf)
        torch.testing.assert_close(found[:, :2], (target[:, :2] - x[:, :2]) / (1 - tau))
        torch.testing.assert_close(found[:, 2:], toy.velocity(x, tau)[:, 2:])

    def test_samples_continue_the_prefix_as_the_true_posterior_does(self) -> None:
        """Mean of the postfix after a prefix: within the noise of the sampling and the error of the method."""
        toy, steps, count = smooth_gaussian(8, 3.0), 100, 400
        y = toy.mean[:3] + torch.tensor([1.5, 1.5, 1.5], dtype=torch.float64)
        target = torch.full((count, 8, 1), math.nan, dtype=torch.float64)
        target[:, :3, 0] = y
        weights = guidance_weights(8, torch.tensor([3]), torch.tensor([3])).double().expand(count, -1)
        x = double(count, 8, 1)
        for i in range(steps):
            tau = i / steps
            x = x + guided_velocity(lambda x, tau=tau: toy.velocity(x, tau), x, tau, target, weights, 20.0) / steps
        covariance = toy.covariance
        wanted = toy.mean[3:] + covariance[3:, :3] @ torch.linalg.solve(covariance[:3, :3], y - toy.mean[:3])
        assert (x[:, :3, 0] - y).square().mean().sqrt() < 0.1
        assert (x[:, 3:, 0].mean(dim=0) - wanted).abs().max() < 0.2
        assert (toy.mean[3:] - wanted).abs().max() > 0.9, "without guidance it would be far off"

    def test_targets_without_weight_may_be_anything(self) -> None:
        toy, x, target = smooth_gaussian(4, 2.0), double(1, 4, 1), double(1, 4, 1)
        weights = torch.tensor([[1.0, 0.5, 0.0, 0.0]], dtype=torch.float64)
        wanted = guided_velocity(lambda x: toy.velocity(x, 0.5), x, 0.5, target, weights, 5.0)
        target[:, 2:] = math.nan
        assert torch.equal(guided_velocity(lambda x: toy.velocity(x, 0.5), x, 0.5, target, weights, 5.0), wanted)


class TestScaleAndWeights:
    """How strong the correction is, and where."""

    @pytest.mark.parametrize("tau", TAUS)
    def test_scale_is_that_of_pseudo_inverse_guidance(self, tau: float) -> None:
        variance = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
        assert guidance_scale(tau, math.inf) == pytest.approx((1 - tau) / (tau * variance))
        assert guidance_scale(tau, 2.5) == min(2.5, guidance_scale(tau, math.inf))
        assert guidance_scale(tau, math.inf) >= 2.0 - 1e-12

    def test_scale_is_clipped_where_it_is_infinite(self) -> None:
        assert guidance_scale(0.0, 5.0) == 5.0

    @pytest.mark.parametrize(("hard", "soft"), [(0, 0), (0, 5), (2, 2), (2, 7), (8, 8), (3, 1)])
    def test_weights_are_one_then_fall_to_zero(self, hard: int, soft: int) -> None:
        weights = guidance_weights(8, torch.tensor([hard]), torch.tensor([soft]))[0]
        assert (weights[:hard] == 1.0).all()
        assert (weights[max(hard, soft) :] == 0.0).all()
        between = weights[hard:soft]
        assert ((between > 0.0) & (between < 1.0)).all()
        assert (between.diff() < 0.0).all()
        for i, weight in enumerate(between.tolist(), start=hard):
            c = (soft - i) / (soft - hard + 1)
            assert weight == pytest.approx(c * (math.exp(c) - 1) / (math.e - 1), rel=1e-5)


class TestHead:
    """On the action head."""

    @pytest.fixture
    def head(self, tiny: VipaVlaConfig) -> ActionHead:
        torch.manual_seed(1)
        head = ActionHead(tiny.action, tiny.language.width).eval()
        with torch.no_grad():
            for parameter in head.parameters():
                if not parameter.any():
                    parameter.copy_(torch.randn_like(parameter) * 0.1)
        return head

    @pytest.fixture
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        return torch.randn(2, 6, 12), torch.randn(2, 22), torch.randn(2, 3, 32)

    def test_without_a_prefix_it_is_plain_sampling(
        self, head: ActionHead, inputs: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        none, prefix = torch.zeros(2, dtype=torch.long), torch.full((2, 6, 12), math.nan)
        assert torch.equal(sample_guided(head, *inputs, prefix, none, none), head.sample(*inputs))
        assert torch.equal(sample_guided(head, *inputs, prefix, none, none, steps=7), head.sample(*inputs, steps=7))

    def test_one_chunk_of_a_batch_without_a_prefix_is_as_without(
        self, head: ActionHead, inputs: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        lengths = torch.tensor([0, 3])
        found = sample_guided(head, *inputs, torch.randn(2, 6, 12), lengths, lengths)
        free = head.sample(*inputs)
        torch.testing.assert_close(found[0], free[0], rtol=0.0, atol=1e-5)
        assert (found[1] - free[1]).abs().max() > 0.1

    def test_the_prefix_is_met_and_more_steps_meet_it_better(
        self, head: ActionHead, inputs: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        prefix, lengths = torch.randn(2, 6, 12), torch.tensor([3, 3])
        free = (head.sample(*inputs).detach() - prefix)[:, :3].abs().mean()

        def missed(steps: int, beta: float) -> float:
            found = sample_guided(head, *inputs, prefix, lengths, lengths, beta, steps)
            return float((found - prefix)[:, :3].abs().mean() / free)

        assert missed(4, 5.0) < 0.5
        assert missed(32, 50.0) < 0.1
        assert missed(32, 50.0) < missed(4, 5.0)

    def test_soft_rows_are_drawn_to_the_intention_less_than_hard_ones(
        self, head: ActionHead, inputs: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        prefix = torch.randn(2, 6, 12)
        free, hard = head.sample(*inputs).detach(), torch.tensor([2, 2])
        without = sample_guided(head, *inputs, prefix, hard, hard)
        soft = sample_guided(head, *inputs, prefix, hard, torch.tensor([5, 5]))
        distances = [float((found - prefix)[:, 2:5].norm()) for found in (free, without, soft)]
        assert distances[2] < 0.9 * min(distances[:2])
        nearness = (soft - prefix).abs().mean(dim=(0, 2)) / (free - prefix).abs().mean(dim=(0, 2))
        assert nearness[:2].max() < nearness[2:5].min()

    def test_weights_get_no_gradients_and_the_result_has_none(
        self, head: ActionHead, inputs: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        lengths = torch.tensor([2, 2])
        found = sample_guided(head, *inputs, torch.randn(2, 6, 12), lengths, lengths)
        assert not found.requires_grad
        assert all(parameter.grad is None for parameter in head.parameters())

    def test_arrays_of_one_observation_give_the_same(
        self, head: ActionHead, inputs: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        noise, state, context = (tensor[:1] for tensor in inputs)
        prefix = torch.randn(1, 6, 12)
        wanted = sample_guided(head, noise, state, context, prefix, torch.tensor([2]), torch.tensor([4]))
        found = act_guided(head, context.numpy(), state.numpy(), noise.numpy(), prefix.numpy(), 2, 4)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, wanted.numpy())


def test_prefix_lengths_for_training_are_uniform_and_repeatable() -> None:
    lengths = sample_prefix_lengths(6000, 5, torch.Generator().manual_seed(3))
    assert torch.equal(lengths, sample_prefix_lengths(6000, 5, torch.Generator().manual_seed(3)))
    counts = torch.bincount(lengths, minlength=6)
    assert len(counts) == 6
    assert counts.min() > 850
    assert sample_prefix_lengths(7, 0).tolist() == [0] * 7


def test_a_head_trained_with_prefixes_continues_them() -> None:
    """Two modes, rising and falling: the committed row decides which one the rest of the chunk belongs to."""
    torch.manual_seed(0)
    head = ActionHead(ActionHeadConfig(1, 1, horizon=4, width=24, layers=1, heads=2, max_prefix=2), 4)
    ramp = torch.linspace(0.5, 1.5, 4)[None, :, None]
    optimiser = torch.optim.Adam(head.parameters(), 5e-3)
    state, context, weight = torch.zeros(48, 1), torch.zeros(48, 1, 4), torch.ones(48, 4)
    for _ in range(150):
        actions = ramp * torch.randint(0, 2, (48, 1, 1)).mul(2).sub(1)
        optimiser.zero_grad()
        head.loss(actions, state, context, weight, sample_prefix_lengths(48, 2)).backward()
        optimiser.step()
    prefix = torch.cat([ramp, -ramp]).repeat(16, 1, 1)
    noise, state, context = torch.randn(32, 4, 1), state[:32], context[:32]
    with torch.no_grad():
        chunks = head.sample(noise, state, context, prefix, torch.ones(32, dtype=torch.long))
        free = head.sample(noise, state, context)
    assert torch.equal(chunks[:, 0], prefix[:, 0])
    assert (chunks * prefix)[:, -1].gt(0).float().mean() > 0.9
    assert 0.2 < free[:, -1].gt(0).float().mean() < 0.8, "without a prefix both modes are drawn"
