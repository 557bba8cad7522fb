"""What each image token shows, in words: it brings the semantic encoder and the language model together in stage 0.

The pretraining of large models does that with captions of many pictures; here the boxes of things say more with fewer.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vipa_training.hand3d.geometry import projected
from vipa_training.hand3d.joints import SIDES
from vipa_training.hand3d.stored_clips import StoredClip

RARE = 3.0  # subtracted from all logits, for most tokens do not show a certain thing
LEAST = 0.2  # of a thing's box, or of the cell, that has to be common to both
FEWEST_JOINTS = 3  # of a hand in a cell


def words_shown(clip: StoredClip, places: Sequence[int], words: Mapping[str, int], side: int) -> NDArray[np.float32]:
    """Whether each cell of a grid over the square picture shows what a word says.

    Args:
        clip: whose boxes and hands are looked at.
        places: of the F frames.
        words: number of each word: those of things, and "left" and "right" for hands.
        side: cells of the grid in each direction.

    Returns:
        (F, side * side, words) 0 or 1.
    """
    height, width = clip.size
    cell = max(height, width) / side
    border = (max(height, width) - np.array([width, height])) / 2.0
    shown = np.zeros((len(places), side, side, len(words)), np.float32)
    edges = np.arange(side) * cell
    for number, place in enumerate(places):
        for name, box in zip(clip.objects, clip.boxes[place], strict=True):
            if not np.isfinite(box).all():
                continue
            low, high = box[:2] + border, box[2:] + border
            across, down = (
                np.clip(np.minimum(edges + cell, high[k]) - np.maximum(edges, low[k]), 0.0, None) for k in range(2)
            )
            common = down[:, None] * across[None]
            is_there = common >= LEAST * min(float(np.prod(high - low)), cell * cell)
            for word in name.split():
                shown[number, ..., words[word]][is_there] = 1.0
        for name in SIDES:
            if name in clip.hands and np.isfinite(clip.hands[name][place]).all():
                pixels = projected(clip.hands[name][place], clip.intrinsics[place]) + border
                columns, rows = np.floor(pixels / cell).astype(int).T
                inside = (columns >= 0) & (rows >= 0) & (columns < side) & (rows < side)
                counts = np.zeros((side, side), int)
                np.add.at(counts, (rows[inside], columns[inside]), 1)
                shown[number, ..., words[name]][counts >= FEWEST_JOINTS] = 1.0
    return shown.reshape(len(places), side * side, len(words))


def word_loss(image_tokens: Tensor, embeddings: Tensor, shown: Tensor) -> Tensor:
    """Mean loss () of what image tokens (..., N, D) say by their likeness to the embeddings (W, D) of words.

    Args:
        image_tokens: of the projector.
        embeddings: of the words.
        shown: (..., N, W) 0 or 1.
    """
    return functional.binary_cross_entropy_with_logits(image_tokens @ embeddings.T - RARE, shown)
