"""Where pointmaps come from: the source itself, or the spatial encoder, many clips at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.clip import Clip
from vipa_training.hand3d.errors import Hand3DError
from vipa_training.hand3d.frames import Image

if TYPE_CHECKING:
    from vipa_inference.model.spatial_encoder import SpatialEncoder

Array = NDArray[np.float64]
Maps = dict[int, Array]


class Pointmaps(Protocol):
    """Gives the pointmaps of clips.

    Attributes:
        name: whose they are.
        is_metric: whether they are in metres; else hands have to tell their scale.
    """

    name: str
    is_metric: bool

    def of(self, clips: Sequence[Clip], numbers: Sequence[Sequence[int]]) -> list[Maps]:
        """For each clip the pointmaps (h, w, 3) of some of its frames; none where there are none.

        Raises:
            Rejection: a picture of a clip cannot be read. Callers read the pictures first.
        """
        ...


@runtime_checkable
class KnowsDepth(Protocol):
    """Frames with pointmaps of their own."""

    def pointmap(self, number: int) -> Array:
        """The point (H, W, 3) m in the camera's frame that each pixel of a picture shows."""
        ...


class TruePointmaps:
    """What the source knows: exact for synthetic clips; none for recorded ones, whose objects have poses instead."""

    name = "truth"
    is_metric = True

    def of(self, clips: Sequence[Clip], numbers: Sequence[Sequence[int]]) -> list[Maps]:
        """For each clip the pointmaps (H, W, 3) m of some of its frames."""
        found: list[Maps] = []
        for clip, chosen in zip(clips, numbers, strict=True):
            frames = clip.frames
            found.append({n: frames.pointmap(n) for n in chosen} if isinstance(frames, KnowsDepth) else {})
        return found


class EncoderPointmaps:
    """Those of the spatial encoder (CUT3R), which sees the frames of a clip one after the other.

    Clips with pictures of one shape go through it in one batch; shorter ones repeat their last frame, which later
    frames only follow.

    Args:
        checkpoint: a folder of VIPA-VLA whose encoder has heads, or a file written by
            ``vipa_inference.converters.cut3r``.
        side: px, longer side of the pictures that it sees.
        device: "cpu", "cuda", or empty for cuda where there is one.

    Raises:
        Hand3DError: the checkpoint cannot be read or has no heads.
    """

    name = "cut3r"
    is_metric = False

    def __init__(self, checkpoint: Path, side: int, device: str = "") -> None:
        import torch

        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.side = side
        self.encoder = load_encoder(checkpoint).to(self.device).float().eval()

    def of(self, clips: Sequence[Clip], numbers: Sequence[Sequence[int]]) -> list[Maps]:
        """For each clip the pointmaps (h, w, 3), in a unit of its own, of some of its frames."""
        import torch

        pictures = [
            [self._shaped(clip.frames.picture(number)) for number in chosen]
            for clip, chosen in zip(clips, numbers, strict=True)
        ]
        found: list[Maps] = [{} for _ in clips]
        shapes = {one[0].shape for one in pictures if one}
        for shape in sorted(shapes):
            places = [place for place, one in enumerate(pictures) if one and one[0].shape == shape]
            longest = max(len(pictures[place]) for place in places)
            batch = np.stack([[*pictures[p], *[pictures[p][-1]] * (longest - len(pictures[p]))] for p in places])
            frames = torch.from_numpy(batch).to(self.device).permute(0, 1, 4, 2, 3).float() / 127.5 - 1.0
            with torch.inference_mode():
                maps = self.encoder(frames).pointmap.cpu().numpy().astype(np.float64)
            for row, place in enumerate(places):
                found[place] = {number: maps[row, i] for i, number in enumerate(numbers[place])}
        return found

    def _shaped(self, picture: Image) -> Image:
        """A picture whose sides are multiples of the patch."""
        patch = self.encoder.config.patch_size
        height, width = picture.shape[:2]
        share = self.side / max(height, width)
        shape = [max(patch, round(edge * share / patch) * patch) for edge in (width, height)]
        return cv2.resize(picture, shape, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def load_encoder(checkpoint: Path) -> "SpatialEncoder":
    """The spatial encoder of a checkpoint.

    Raises:
        Hand3DError: it cannot be read or has no heads.
    """
    from vipa_inference.checkpoint import CheckpointError, load_checkpoint, read_tensors
    from vipa_inference.config import SpatialEncoderConfig
    from vipa_inference.model.spatial_encoder import SpatialEncoder

    try:
        if checkpoint.is_dir():
            encoder = load_checkpoint(checkpoint).model.spatial_encoder
            if encoder is None or encoder.heads is None:
                raise Hand3DError(f"{checkpoint}: its spatial encoder gives no pointmaps; convert CUT3R with its head")
            return encoder
        tensors = {key.removeprefix("spatial_encoder."): value for key, value in read_tensors(checkpoint).items()}
        head = "dpt" if any(key.startswith("heads.camera.reassemble") for key in tensors) else "linear"
        encoder = SpatialEncoder(SpatialEncoderConfig(head=head))
        encoder.load_state_dict(tensors)
        return encoder
    except (CheckpointError, RuntimeError) as error:
        raise Hand3DError(f"pointmaps: {' '.join(str(error).split())[:300]}") from None
