"""Pictures as other days and cameras would show them.

Each view is changed by itself: cameras differ in exposure and white balance, and each moves on its mount by itself. The
pictures say where things are, so they are moved no more than a mount may: a shift of 0.005 is 3 px of 640, or 5 mm at
1 m for a camera with a focal length of 600 px.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # (height, width, 3) RGB
_GREY = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([_GREY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


@dataclass(frozen=True)
class AugmentationConfig:
    """How far pictures may change; each uniform up to its limit."""

    share: float = 0.0  # of the samples that are changed; 0: none
    brightness: float = 0.25  # factor 1 - 0.25 to 1 + 0.25
    contrast: float = 0.25
    saturation: float = 0.25
    hue: float = 0.1  # rad
    shift: float = 0.005  # of the longer side, in each direction
    zoom: float = 0.01  # factor of the size

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"share: {self.share} is outside 0-1")
        for name, limit in (("brightness", 1.0), ("contrast", 1.0), ("saturation", 1.0), ("hue", 3.2)):
            if not 0.0 <= getattr(self, name) <= limit:
                raise ValueError(f"{name}: {getattr(self, name)} is outside 0-{limit}")
        for name in ("shift", "zoom"):
            if not 0.0 <= getattr(self, name) <= 0.05:
                raise ValueError(f"{name}: {getattr(self, name)} is outside 0-0.05: actions would no longer fit")


def augmented(images: Sequence[Image], config: AugmentationConfig, chance: np.random.Generator) -> list[Image]:
    """The views of a sample, each changed by itself, or all as they are."""
    if config.share <= 0.0 or chance.random() >= config.share:
        return list(images)
    return [_moved(_coloured(image, config, chance), config, chance) for image in images]


def _coloured(image: Image, config: AugmentationConfig, chance: np.random.Generator) -> Image:
    """Hue, saturation, contrast and brightness together are one matrix and one offset."""
    brightness, contrast, saturation = (
        1.0 + limit * chance.uniform(-1.0, 1.0) for limit in (config.brightness, config.contrast, config.saturation)
    )
    angle = config.hue * chance.uniform(-1.0, 1.0)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    hue = np.linalg.inv(_YIQ) @ turn @ _YIQ
    grey = np.tile(_GREY, (3, 1))
    matrix = brightness * contrast * (grey + saturation * (np.eye(3) - grey)) @ hue
    middle = float(_GREY @ image.reshape(-1, 3)[::37].mean(axis=0))
    offset = brightness * (1.0 - contrast) * middle
    changed = cv2.transform(image.astype(np.float32), np.c_[matrix, np.full(3, offset)].astype(np.float32))
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def _moved(image: Image, config: AugmentationConfig, chance: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    reach = config.shift * max(height, width)
    zoom = 1.0 + config.zoom * chance.uniform(-1.0, 1.0)
    x, y = chance.uniform(-reach, reach, 2)
    centre = (width - 1) / 2.0, (height - 1) / 2.0
    matrix = np.array([[zoom, 0.0, (1 - zoom) * centre[0] + x], [0.0, zoom, (1 - zoom) * centre[1] + y]])
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return moved.astype(np.uint8, copy=False)
