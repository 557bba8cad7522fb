"""What a policy says of itself: which cameras it needs and what its chunks look like."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

HAND_NAMES = ("hand_little", "hand_ring", "hand_middle", "hand_index", "hand_thumb_bend", "hand_thumb_rotate")
"""Of an action and of proprioception; 0 closed, 1 open."""
ACTION_NAMES = (
    *("translation_x", "translation_y", "translation_z"),  # from the reference position, base frame, m
    *("rotation_x", "rotation_y", "rotation_z"),  # vector from the reference orientation, base frame, rad
    *HAND_NAMES,
)
"""The 12 dimensions of an action (see ``policy.ACTION_DIMENSION``)."""


@dataclass(frozen=True)
class PolicyDescription:
    """What a policy needs and gives."""

    cameras: tuple[str, ...]  # that it needs
    horizon: int  # actions of a chunk
    step_period: float  # s between two of them
    image_size: int | None = None  # px, square, that the images are resized to; None: they are used as they are


@runtime_checkable
class DescribedPolicy(Protocol):
    """A policy that says what it needs and gives."""

    @property
    def description(self) -> PolicyDescription:
        """What the policy needs and gives."""
        ...
