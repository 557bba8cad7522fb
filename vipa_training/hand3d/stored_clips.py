"""Reads the clips of a Hand3D data set: pictures, depths and what is known of their frames (see ``format.py``)."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vipa_training.data.arrow import ArrowError, pq
from vipa_training.hand3d.dataset import read_description
from vipa_training.hand3d.errors import Hand3DError
from vipa_training.hand3d.format import CLIPS, SHARDS, Split, shard_name
from vipa_training.hand3d.frames import Image
from vipa_training.hand3d.geometry import unprojected
from vipa_training.hand3d.joints import COUNT, SIDES, Side

Array = NDArray[np.float64]
MILLIMETRE = 0.001


@dataclass(frozen=True, eq=False)
class StoredClip:
    """One clip at its n stored frames.

    Attributes:
        shard: file of its pictures.
        source: of the video.
        video: that it is part of.
        clip: its name.
        text: what is done; empty: not known.
        numbers: of the frames in the clip, ascending.
        times: (n,) s.
        size: height and width of the pictures, px.
        intrinsics: (n, 3, 3) px.
        extrinsics: (n, 4, 4) world to camera.
        hands: (n, 21, 3) m in the camera's frame by side; NaN where not in view.
        objects: names.
        boxes: (n, objects, 4) px: left, top, right, bottom; NaN where not known.
        pictures: offset and size of each picture in the shard, bytes.
        depths: of each depth; offset -1 where there is none.
    """

    shard: Path
    source: str
    video: str
    clip: str
    text: str
    numbers: tuple[int, ...]
    times: Array
    size: tuple[int, int]
    intrinsics: Array
    extrinsics: Array
    hands: Mapping[Side, Array]
    objects: tuple[str, ...]
    boxes: Array
    pictures: tuple[tuple[int, int], ...]
    depths: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        """Source and name."""
        return f"{self.source} {self.clip}"

    def picture(self, place: int) -> Image:
        """The picture (H, W, 3) RGB at a place among the stored frames.

        Raises:
            Hand3DError: it cannot be read.
        """
        found = self._decoded(self.pictures[place], cv2.IMREAD_COLOR_RGB)
        return found.astype(np.uint8, copy=False)

    def pointmap(self, place: int) -> Array | None:
        """The points (h, w, 3) m in the camera's frame, NaN where none is known; None without a depth.

        Raises:
            Hand3DError: the depth cannot be read.
        """
        if self.depths[place][0] < 0:
            return None
        depth = self._decoded(self.depths[place], cv2.IMREAD_UNCHANGED).astype(np.float64) * MILLIMETRE
        depth[depth <= 0.0] = np.nan
        step = np.array([self.size[1] / depth.shape[1], self.size[0] / depth.shape[0]])
        columns, rows = np.meshgrid(np.arange(depth.shape[1]), np.arange(depth.shape[0]))
        pixels = (np.stack([columns, rows], axis=-1) + 0.5) * step - 0.5
        return unprojected(pixels.reshape(-1, 2), depth.ravel(), self.intrinsics[place]).reshape(*depth.shape, 3)

    def _decoded(self, piece: tuple[int, int], kind: int) -> NDArray[Any]:
        try:
            descriptor = os.open(self.shard, os.O_RDONLY)
            try:
                data = os.pread(descriptor, piece[1], piece[0])
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Hand3DError(f"{self.shard}: cannot be read: {error.strerror}") from None
        image = cv2.imdecode(np.frombuffer(data, np.uint8), kind) if data else None
        if image is None:
            raise Hand3DError(f"{self.shard}: a picture of {self} is broken; build the data set anew")
        return image


def read_clips(roots: Sequence[Path], split: Split) -> list[StoredClip]:
    """The clips of a split of some data sets.

    Raises:
        Hand3DError: there is no complete data set, or its files cannot be read.
    """
    found: list[StoredClip] = []
    for root in roots:
        read_description(root)
        try:
            rows = pq.read_table(root / CLIPS).to_pylist()
        except (OSError, ArrowError) as error:
            raise Hand3DError(f"{root / CLIPS}: cannot be read: {' '.join(str(error).split())}") from None
        found += [_clip(root, row) for row in rows if row["split"] == split]
    return found


def _clip(root: Path, row: Mapping[str, Any]) -> StoredClip:
    count, objects = len(row["frames"]), len(row["objects"])
    hands: dict[Side, Array] = {
        side: np.array(row[side], np.float64).reshape(count, COUNT, 3) for side in SIDES if row[side]
    }
    return StoredClip(
        shard=root / SHARDS / shard_name(int(row["shard"])),
        source=row["source"],
        video=row["video"],
        clip=row["clip"],
        text=row["text"],
        numbers=tuple(row["frames"]),
        times=np.array(row["times"], np.float64),
        size=(int(row["height"]), int(row["width"])),
        intrinsics=np.array(row["intrinsics"], np.float64).reshape(count, 3, 3),
        extrinsics=np.array(row["extrinsics"], np.float64).reshape(count, 4, 4),
        hands=hands,
        objects=tuple(row["objects"]),
        boxes=np.array(row["boxes"], np.float64).reshape(count, objects, 4),
        pictures=tuple(zip(row["offsets"], row["sizes"], strict=True)),
        depths=tuple(zip(row["depth_offsets"], row["depth_sizes"], strict=True)),
    )
