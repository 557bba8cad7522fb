"""LeRobot's policies in the size of VIPA's nano, untrained or as they were saved. Needs LeRobot."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from torch import Tensor

from vipa_inference.description import ACTION_NAMES
from vipa_inference.processing import PROPRIOCEPTION_NAMES
from vipa_training.evaluation.peers.note import IMAGES, STATE, TASK_VECTOR, PeerError, PeerNote
from vipa_training.evaluation.peers.small_vlm import write_small_vlm

VLM_FOLDER = "vlm"


@dataclass(frozen=True)
class Peer:
    """A policy of LeRobot's with what LeRobot does before and after it.

    Attributes:
        policy: a ``PreTrainedPolicy``.
        before: batches to what the policy reads.
        after: its actions to SI units.
    """

    policy: Any
    before: Any
    after: Any

    def save(self, folder: Path) -> None:
        """Write all three, as LeRobot does."""
        for part in (self.policy, self.before, self.after):
            part.save_pretrained(folder)

    def predict(self, batch: dict[str, Any]) -> Tensor:
        """Actions (B, H, 12) in SI units."""
        return self.after(self.policy.predict_action_chunk(self.before(batch)))


def new_peer(
    note: PeerNote, statistics: Mapping[str, dict[str, Tensor]], rate: float, device: str, folder: Path
) -> Peer:
    """An untrained peer.

    Args:
        note: what it shall see and answer.
        statistics: of the dataset, by key.
        rate: learning rate; None of its parts has another.
        device: "cpu" or "cuda".
        folder: of the training, where SmolVLA's tokenizer is written.

    Raises:
        PeerError: what it needs is not installed, or it does not take such pictures.
    """
    images = {f"{IMAGES}{c}": PolicyFeature(FeatureType.VISUAL, (3, *note.image_size)) for c in note.cameras}
    state = {STATE: PolicyFeature(FeatureType.STATE, (len(PROPRIOCEPTION_NAMES),))}
    makers: dict[str, Callable[[PeerNote, float, Path], Any]] = {"act": _act, "smolvla": _smolvla}
    try:
        config = makers[note.kind](note, rate, folder)
        config.device = device
        config.input_features = {**images, **state}
        config.output_features = {"action": PolicyFeature(FeatureType.ACTION, (len(ACTION_NAMES),))}
        if note.kind == "act":  # it reads no words
            config.input_features[TASK_VECTOR] = PolicyFeature(FeatureType.ENV, (len(note.instructions),))
        policy = get_policy_class(note.kind)(config)
        before, after = make_pre_post_processors(config, dataset_stats=dict(statistics))
    except (ImportError, OSError, TypeError) as error:
        raise PeerError(f"peer {note.kind}: LeRobot cannot make it: {' '.join(str(error).split())[:300]}") from None
    return Peer(policy.to(device), before, after)


def saved_peer(folder: Path, kind: str, device: str) -> Peer:
    """A peer that ``Peer.save`` wrote.

    Raises:
        PeerError: it cannot be read.
    """
    try:
        overrides: dict[str, dict[str, str]] = {"device_processor": {"device": device}}
        config = PreTrainedConfig.from_pretrained(str(folder))
        config.device = device
        if kind == "smolvla":  # the folder may have moved since
            config.vlm_model_name = str((folder / VLM_FOLDER).resolve())
            overrides["tokenizer_processor"] = {"tokenizer_name": config.vlm_model_name}
        policy = get_policy_class(kind).from_pretrained(str(folder), config=config)
        before, after = make_pre_post_processors(
            policy.config, pretrained_path=str(folder), preprocessor_overrides=overrides
        )
    except (ImportError, OSError, ValueError, KeyError) as error:
        raise PeerError(f"peer {folder}: cannot be read: {' '.join(str(error).split())[:300]}") from None
    return Peer(policy.to(device).eval(), before, after)


def _act(note: PeerNote, rate: float, _: Path) -> Any:
    """A ResNet-18 from scratch, and transformers of 432 rather than 512."""
    from lerobot.policies.act.configuration_act import ACTConfig

    return ACTConfig(
        chunk_size=note.horizon,
        n_action_steps=note.horizon,
        pretrained_backbone_weights=None,
        dim_model=432,  # with the ResNet-18 as many parameters as nano, 33 million
        dim_feedforward=1728,
        optimizer_lr=rate,
        optimizer_lr_backbone=rate,
        push_to_hub=False,
    )


def _smolvla(note: PeerNote, rate: float, folder: Path) -> Any:
    """A small SmolVLM and its action expert, from scratch; all of it learns."""
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig

    side = max(note.image_size)
    write_small_vlm(folder / VLM_FOLDER, side)
    return SmolVLAConfig(
        chunk_size=note.horizon,
        n_action_steps=note.horizon,
        resize_imgs_with_padding=(side, side),
        vlm_model_name=str((folder / VLM_FOLDER).resolve()),
        load_vlm_weights=False,
        freeze_vision_encoder=False,
        train_expert_only=False,
        num_vlm_layers=-1,
        optimizer_lr=rate,
        push_to_hub=False,
    )
