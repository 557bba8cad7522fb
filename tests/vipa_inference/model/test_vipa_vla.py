"""The whole model: against transformers' own InternVL, padding, fusion, motion tokens, and the action head."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import InternVLForConditionalGeneration

from vipa_inference.config import PRESETS, VipaVlaConfig, internvl_config
from vipa_inference.model.action_head import ActionHead
from vipa_inference.model.fusion import Fusion
from vipa_inference.model.motion_tokens import (
    MotionTokenConfig,
    MotionTokenizer,
    new_embeddings,
    padded_vocabulary,
)
from vipa_inference.model.vipa_vla import VipaVla

CLOSE: dict[str, float] = {"rtol": 0.0, "atol": 1e-5}
BATCH, FRAMES = 2, 2


def _model(config: VipaVlaConfig) -> VipaVla:
    """A model whose parts all matter: nothing begins at zero."""
    torch.manual_seed(1)
    model = VipaVla(config).eval()
    with torch.no_grad():
        for parameter in model.action_head.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    return model


def _prompt(config: VipaVlaConfig, text: list[list[int]]) -> Tensor:
    """Prompts (B, L) of images followed by text."""
    language = config.language
    image = [language.image_begin_id, *[language.image_token_id] * config.semantic.tokens, language.image_end_id]
    return torch.tensor([image * FRAMES + row for row in text])


def _pixels(config: VipaVlaConfig) -> tuple[Tensor, Tensor]:
    """Semantic and spatial pixels of two frames for each of two prompts."""
    size = config.semantic.image_size
    return torch.randn(BATCH, FRAMES, 3, size, size), torch.rand(BATCH, FRAMES, 3, 32, 32) * 2 - 1


class TestInternVl:
    """Without the spatial encoder the path of text and images is InternVL's."""

    def test_logits_are_those_of_transformers(self, text_only: VipaVlaConfig) -> None:
        model = _model(text_only)
        prompt, pixels = _prompt(text_only, [[5, 6, 7, 8], [9, 10, 11, 12]]), _pixels(text_only)[0]
        with torch.no_grad():
            found = model.logits(prompt, torch.ones_like(prompt), model.encode_images(pixels, None))
            wanted = self._reference(model)(input_ids=prompt, pixel_values=pixels.flatten(0, 1)).logits
        torch.testing.assert_close(found, wanted, **CLOSE)

    def test_action_queries_are_read_after_the_prompt(self, text_only: VipaVlaConfig) -> None:
        """With queries that are the embeddings of known tokens, transformers' own hidden states come out."""
        model = _model(text_only)
        queries = [[20, 21, 22]] * BATCH
        with torch.no_grad():
            model.action_queries[0] = model.internvl.get_input_embeddings().weight[20:23]
        prompt, pixels = _prompt(text_only, [[5, 6, 7], [9, 10, 11]]), _pixels(text_only)[0]
        with torch.no_grad():
            found = model.prefill(prompt, torch.ones_like(prompt), model.encode_images(pixels, None))
            wanted = self._reference(model).model(
                input_ids=torch.cat([prompt, torch.tensor(queries)], dim=1), pixel_values=pixels.flatten(0, 1)
            )
        torch.testing.assert_close(found, wanted.last_hidden_state[:, -3:], **CLOSE)

    def _reference(self, model: VipaVla) -> Any:
        reference: Any = InternVLForConditionalGeneration(internvl_config(model.config)).eval()
        reference.load_state_dict(model.internvl.state_dict())
        return reference

    def test_padding_on_the_left_changes_nothing(self, text_only: VipaVlaConfig) -> None:
        model = _model(text_only)
        pixels = _pixels(text_only)[0]
        prompt = _prompt(text_only, [[5, 6, 7], [9, 10, 11]])
        padding = torch.zeros(BATCH, 4, dtype=torch.long)
        mask = torch.cat([padding, torch.ones_like(prompt)], dim=1)
        with torch.no_grad():
            images = model.encode_images(pixels, None)
            plain = model.prefill(prompt, torch.ones_like(prompt), images)
            padded = model.prefill(torch.cat([padding + 3, prompt], dim=1), mask, images)
            other_padding = model.prefill(torch.cat([padding + 4, prompt], dim=1), mask, images)
            text_logits = model.logits(prompt, torch.ones_like(prompt), images)
            padded_logits = model.logits(torch.cat([padding + 3, prompt], dim=1), mask, images)
        torch.testing.assert_close(padded, plain, **CLOSE)
        torch.testing.assert_close(padded_logits[:, 4:], text_logits, **CLOSE)
        assert torch.equal(padded, other_padding)

    def test_images_of_a_batch_do_not_mix(self, text_only: VipaVlaConfig) -> None:
        model = _model(text_only)
        prompt, pixels = _prompt(text_only, [[5], [5]]), _pixels(text_only)[0]
        with torch.no_grad():
            together = model.prefill(prompt, torch.ones_like(prompt), model.encode_images(pixels, None))
            for i in range(BATCH):
                images = model.encode_images(pixels[i : i + 1], None)
                alone = model.prefill(prompt[:1], torch.ones_like(prompt[:1]), images)
                torch.testing.assert_close(together[i : i + 1], alone, **CLOSE)
        assert (together[0] - together[1]).abs().max() > 1e-3


class TestFusion:
    """The cross-attention between the encoders, and the switch that leaves it out."""

    def test_alpha_of_zero_leaves_the_layer_norm_of_the_semantic_tokens(self) -> None:
        fusion = Fusion(24, 16, heads=2, alpha=0.0, dropout=0.0)
        semantic = torch.randn(2, 9, 24)
        torch.testing.assert_close(fusion(semantic, torch.randn(2, 5, 16)), nn.functional.layer_norm(semantic, [24]))

    def test_residual_is_scaled_by_alpha(self) -> None:
        fusion = Fusion(24, 16, heads=2, alpha=0.5, dropout=0.0)
        fusion.norm = nn.Identity()  # type: ignore[assignment]
        semantic, spatial = torch.randn(2, 9, 24), torch.randn(2, 5, 16)
        half = fusion(semantic, spatial) - semantic
        with torch.no_grad():
            fusion.alpha.fill_(1.0)
        torch.testing.assert_close(fusion(semantic, spatial) - semantic, 2 * half, **CLOSE)
        assert half.abs().max() > 1e-3
        assert fusion.alpha.requires_grad

    def test_each_frame_asks_its_own_geometry(self, tiny: VipaVlaConfig) -> None:
        """The second frame's pixels cannot reach the first frame's tokens, but the other way round they can."""
        model = _model(tiny)
        semantic, spatial = _pixels(tiny)
        changed = spatial.clone()
        changed[:, 1] *= -1
        with torch.no_grad():
            before, after = model.encode_images(semantic, spatial), model.encode_images(semantic, changed)
        assert before.shape == (BATCH, FRAMES, tiny.semantic.tokens, tiny.language.width)
        torch.testing.assert_close(before[:, 0], after[:, 0])
        assert (before[:, 1] - after[:, 1]).abs().max() > 1e-6

    def test_switched_off_there_is_no_spatial_part(self, text_only: VipaVlaConfig, tiny: VipaVlaConfig) -> None:
        model = VipaVla(text_only)
        names = {name.split(".")[0] for name in model.state_dict()}
        assert names == {"internvl", "action_head", "action_queries"}
        assert {name.split(".")[0] for name in VipaVla(tiny).state_dict()} == names | {"spatial_encoder", "fusion"}

    def test_missing_spatial_pixels_are_named(self, tiny: VipaVlaConfig) -> None:
        with pytest.raises(ValueError, match="spatial_pixels"):
            VipaVla(tiny).encode_images(_pixels(tiny)[0], None)


class TestMotionTokens:
    """Wrist trajectories as ids, and back."""

    @settings(max_examples=60, deadline=None)
    @given(
        points=st.lists(
            st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0.0, 1.0)), min_size=1, max_size=5
        ),
        bins=st.sampled_from([2, 64, 1024]),
        shared=st.booleans(),
    )
    def test_round_trip_within_half_a_bin(
        self, points: list[tuple[float, float, float]], bins: int, shared: bool
    ) -> None:
        tokenizer = MotionTokenizer(MotionTokenConfig(bins=bins, shared_ids=shared), first_id=1000)
        trajectory = torch.tensor(points, dtype=torch.float64)
        sequence = tokenizer.sequence(trajectory)
        assert int(sequence.min()) >= 1000
        assert int(sequence.max()) < 1000 + tokenizer.count
        assert (tokenizer.parse(sequence) - trajectory).abs().max() <= 0.5 / bins + 1e-12

    @settings(max_examples=40, deadline=None)
    @given(st.tuples(*[st.floats(-1e6, 1e6)] * 3))
    def test_positions_outside_are_clipped(self, point: tuple[float, float, float]) -> None:
        tokenizer = MotionTokenizer(MotionTokenConfig(), first_id=7)
        trajectory = torch.tensor([point], dtype=torch.float64)
        lower, upper = torch.tensor([-0.5, -0.5, 0.0]), torch.tensor([0.5, 0.5, 1.0])
        clipped = trajectory.clamp(lower, upper)
        assert (tokenizer.decode(tokenizer.encode(trajectory)) - clipped).abs().max() <= 0.5 / 1024 + 1e-9

    def test_ids_of_axes_differ_unless_shared(self) -> None:
        point = torch.tensor([[-0.5, -0.5, 0.0]])
        assert MotionTokenizer(MotionTokenConfig(), 100).encode(point).tolist() == [[100, 1124, 2148]]
        shared = MotionTokenizer(MotionTokenConfig(shared_ids=True), 100)
        assert shared.encode(point).tolist() == [[100, 100, 100]]
        assert (shared.begin_id, shared.end_id, shared.count) == (1124, 1125, 1026)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_what_is_not_finite_is_refused(self, bad: float) -> None:
        with pytest.raises(ValueError, match="not finite"):
            MotionTokenizer(MotionTokenConfig(), 0).encode(torch.tensor([[0.0, bad, 0.0]]))

    @pytest.mark.parametrize("sequence", [[], [48], [48, 0], [49, 48], [48, 0, 16, 49], [48, 16, 0, 32, 49]])
    def test_malformed_sequences_are_refused(self, sequence: list[int]) -> None:
        with pytest.raises(ValueError, match="motion tokens"):
            MotionTokenizer(MotionTokenConfig(bins=16), 0).parse(torch.tensor(sequence, dtype=torch.long))

    @pytest.mark.parametrize("waypoints", [None, 2])
    @pytest.mark.parametrize("shared", [False, True])
    def test_whatever_the_grammar_allows_can_be_parsed(self, waypoints: int | None, shared: bool) -> None:
        tokenizer = MotionTokenizer(MotionTokenConfig(bins=4, shared_ids=shared), 50)
        generator = torch.Generator().manual_seed(3)
        for _ in range(20):
            generated = torch.empty(0, dtype=torch.long)
            while (allowed := tokenizer.allowed(generated, waypoints)).numel() and len(generated) < 60:
                choice = allowed[torch.randint(len(allowed), (1,), generator=generator)]
                generated = torch.cat([generated, choice])
            if int(generated[-1]) != tokenizer.end_id:  # still going, for there is no bound
                assert waypoints is None
                continue
            found = tokenizer.parse(generated)
            assert len(found) == (waypoints or len(found))
            assert torch.equal(tokenizer.sequence(found), generated)

    def test_the_end_is_allowed_after_whole_waypoints_only(self) -> None:
        tokenizer = MotionTokenizer(MotionTokenConfig(bins=4), 50)
        start = [tokenizer.begin_id]
        assert tokenizer.allowed(torch.tensor(start)).tolist() == [50, 51, 52, 53]
        assert tokenizer.allowed(torch.tensor([*start, 50])).tolist() == [54, 55, 56, 57]
        assert tokenizer.allowed(torch.tensor([*start, 50, 54, 58])).tolist() == [50, 51, 52, 53, tokenizer.end_id]
        assert tokenizer.allowed(torch.tensor([*start, 50, 54, 58]), 1).tolist() == [tokenizer.end_id]
        assert tokenizer.allowed(torch.tensor([*start, 50, 54, 58, tokenizer.end_id])).tolist() == []

    def test_vocabulary_grows_once_to_a_multiple_of_64_and_stays_tied(self, text_only: VipaVlaConfig) -> None:
        model = _model(text_only)
        before = model.internvl.get_input_embeddings().weight.detach().clone()
        prompt, pixels = _prompt(text_only, [[5], [6]]), _pixels(text_only)[0]
        with torch.no_grad():
            images = model.encode_images(pixels, None)
            old = model.logits(prompt, torch.ones_like(prompt), images)
            for _ in range(2):
                model.add_motion_tokens()
            new = model.logits(prompt, torch.ones_like(prompt), images)
        weight = model.internvl.get_input_embeddings().weight
        assert weight.shape == (padded_vocabulary(270 + 50), 32) == (320, 32)
        assert model.internvl.lm_head.weight is weight
        assert torch.equal(weight[:270], before)
        torch.testing.assert_close(new[..., :270], old)

    def test_new_embeddings_are_near_the_mean_and_apart(self) -> None:
        known = torch.randn(500, 8) + 3
        new = new_embeddings(known, 40)
        assert torch.equal(new, new_embeddings(known, 40))
        assert (new - known.mean(dim=0)).abs().max() < 1
        assert torch.cdist(new, new).fill_diagonal_(1.0).min() > 1e-3


class TestActionHead:
    """Flow matching with a flow time of its own for each token."""

    @pytest.fixture
    def head(self, tiny: VipaVlaConfig) -> ActionHead:
        return _model(tiny).action_head

    def test_keys_and_values_are_computed_once(self, head: ActionHead) -> None:
        noise, state, context = torch.randn(2, 6, 12), torch.randn(2, 22), torch.randn(2, 3, 32)
        wanted = noise
        for i in range(4):
            tau = torch.full((2, 6), i / 4)
            wanted = wanted + head.velocity(wanted, tau, state, head.keys_values(context)) / 4
        torch.testing.assert_close(head.sample(noise, state, context), wanted, **CLOSE)
        assert (head.sample(noise, state, context, steps=2) - wanted).abs().max() > 1e-5

    def test_context_and_state_matter(self, head: ActionHead) -> None:
        noise, state, context = torch.randn(2, 6, 12), torch.randn(2, 22), torch.randn(2, 3, 32)
        actions = head.sample(noise, state, context)
        assert (head.sample(noise, state + 1, context) - actions).abs().max() > 1e-5
        assert (head.sample(noise, state, context.flip(-1)) - actions).abs().max() > 1e-5

    @pytest.mark.parametrize("length", [0, 2, 6])
    def test_a_committed_prefix_is_held(self, head: ActionHead, length: int) -> None:
        noise, state, context = torch.randn(2, 6, 12), torch.randn(2, 22), torch.randn(2, 3, 32)
        prefix = torch.randn(2, 6, 12)
        lengths = torch.tensor([length, length])
        actions = head.sample(noise, state, context, prefix, lengths)
        assert torch.equal(actions[:, :length], prefix[:, :length])
        beyond = prefix.clone()
        beyond[:, length:] = float("nan")
        torch.testing.assert_close(head.sample(noise, state, context, beyond, lengths), actions)
        if length == 0:
            torch.testing.assert_close(actions, head.sample(noise, state, context))
        if length == 2:
            free = head.sample(noise, state, context)
            assert (free[:, 2:] - actions[:, 2:]).abs().max() > 1e-5

    def test_each_token_feels_its_own_flow_time(self, head: ActionHead) -> None:
        noisy, state, pairs = torch.randn(1, 6, 12), torch.randn(1, 22), head.keys_values(torch.randn(1, 3, 32))
        tau = torch.full((1, 6), 0.3)
        changed = tau.clone()
        changed[0, 4] = 1.0
        difference = (head.velocity(noisy, tau, state, pairs) - head.velocity(noisy, changed, state, pairs)).abs()
        assert difference[0, 4].max() > 5 * difference[0, [0, 1, 2, 3, 5]].max()

    def test_padding_and_prefix_do_not_count_in_the_loss(self, head: ActionHead) -> None:
        actions, state, context = torch.randn(2, 6, 12), torch.randn(2, 22), torch.randn(2, 3, 32)
        weight = torch.ones(2, 6)
        weight[:, 5] = 0
        weight[1] = 0

        def loss(target: Tensor, weight: Tensor, prefix: Tensor | None) -> float:
            torch.manual_seed(7)
            return float(head.loss(target, state, context, weight, prefix).detach())

        spoiled = actions.clone()
        spoiled[1] += 5
        assert loss(actions, weight, None) == pytest.approx(loss(spoiled, weight, None), rel=1e-6)
        spoiled[0, 4] += 5
        assert loss(actions, weight, None) != pytest.approx(loss(spoiled, weight, None), rel=1e-2)
        everything = torch.tensor([6, 6])
        assert loss(actions, torch.ones(2, 6), everything) == 0.0

    def test_loss_of_the_postfix_is_that_of_the_flow_after_a_clean_prefix(self, head: ActionHead) -> None:
        actions, state, context = torch.randn(2, 6, 12), torch.randn(2, 22), torch.randn(2, 3, 32)
        prefix = torch.tensor([2, 3])
        torch.manual_seed(9)
        found = head.loss(actions, state, context, torch.ones(2, 6), prefix).detach()
        torch.manual_seed(9)
        noise, drawn = torch.randn_like(actions), torch.rand(2, 1)
        total, count = 0.0, 0
        for i in range(2):
            tau = torch.cat([torch.ones(int(prefix[i])), drawn[i].repeat(6 - int(prefix[i]))])
            noisy = tau[:, None] * actions[i] + (1 - tau[:, None]) * noise[i]
            pairs = head.keys_values(context[i : i + 1])
            velocity = head.velocity(noisy[None], tau[None], state[i : i + 1], pairs)[0]
            error = (velocity - (actions[i] - noise[i])).square().mean(dim=-1)
            total += float(error[int(prefix[i]) :].sum().detach())
            count += 6 - int(prefix[i])
        assert float(found) == pytest.approx(total / count, rel=1e-5)

    def test_gradients_reach_every_parameter(self, head: ActionHead) -> None:
        actions, state, context = torch.randn(2, 6, 12), torch.randn(2, 22), torch.randn(2, 3, 32)
        head.loss(actions, state, context, torch.ones(2, 6)).backward()
        assert [name for name, parameter in head.named_parameters() if parameter.grad is None] == []


class TestWhole:
    """From processed observations to chunks."""

    def test_act_makes_chunks_that_images_and_instruction_change(self, tiny: VipaVlaConfig) -> None:
        model = _model(tiny)
        semantic, spatial = _pixels(tiny)
        prompt = _prompt(tiny, [[5, 6], [7, 8]])
        batch = {
            "semantic_pixels": semantic,
            "spatial_pixels": spatial,
            "input_ids": prompt,
            "attention_mask": torch.ones_like(prompt),
            "proprioception": torch.randn(BATCH, 22),
        }
        noise = torch.randn(BATCH, 6, 12)
        actions = model.act(batch, noise)
        assert actions.shape == (BATCH, 6, 12)
        assert torch.equal(actions, model.act(batch, noise))
        for name, other in (
            ("semantic_pixels", semantic.flip(-1)),
            ("input_ids", _prompt(tiny, [[5, 9], [7, 9]])),
            ("proprioception", batch["proprioception"] + 1),
        ):
            assert not torch.equal(actions, model.act({**batch, name: other}, noise)), name
        weight = torch.ones(BATCH, 6)
        assert float(model.action_loss(batch, actions, weight).detach()) > 0

    @pytest.mark.parametrize("name", sorted(PRESETS))
    def test_presets_have_the_size_of_their_parts(self, name: str) -> None:
        config = PRESETS[name]
        with torch.device("meta"):
            model = VipaVla(config)
        assert model.spatial_encoder is not None
        internvl = sum(p.numel() for p in model.internvl.parameters())
        spatial = sum(p.numel() for p in model.spatial_encoder.parameters())
        if name == "2b":
            assert internvl == 2_037_182_464
            assert spatial == 743_975_567
        else:
            assert sum(p.numel() for p in model.parameters()) < 40e6

    def test_real_widths_with_two_layers_run(self) -> None:
        """The full size but for depth and vocabulary."""
        full = PRESETS["2b"]
        assert full.spatial is not None
        config = replace(
            full,
            semantic=replace(full.semantic, image_size=56, layers=2),
            spatial=replace(
                full.spatial, image_size=64, encoder_layers=1, decoder_layers=1, head="none", local_memory=4
            ),
            language=replace(
                full.language, layers=2, vocabulary=300, image_token_id=258, image_begin_id=256, image_end_id=257
            ),
            action=replace(full.action, layers=2),
        )
        model = VipaVla(config).eval()
        prompt = _prompt(config, [[5, 6]])
        batch = {
            "semantic_pixels": torch.randn(1, FRAMES, 3, 56, 56),
            "spatial_pixels": torch.rand(1, FRAMES, 3, 64, 64) * 2 - 1,
            "input_ids": prompt,
            "attention_mask": torch.ones_like(prompt),
            "proprioception": torch.randn(1, 22),
        }
        actions = model.act(batch, torch.randn(1, 16, 12))
        assert actions.shape == (1, 16, 12)
        assert bool(torch.isfinite(actions).all())
