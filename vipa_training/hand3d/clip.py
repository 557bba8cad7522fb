"""One stretch of video with a hand in it, as every source gives it.

Units are metres, radians, seconds and pixels. Frames: camera x right, y down, z forward (OpenCV); the world is the
source's own. T is the number of frames; joints are in the order of ``joints.JOINTS``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vipa_training.hand3d.frames import Frames
from vipa_training.hand3d.joints import Side

Array = NDArray[np.float64]
Frame = Literal["world", "camera"]
Tips = Literal["smplx", "manopth"]


@dataclass(frozen=True, eq=False)
class ManoParameters:
    """Pose and shape of MANO's hand in each frame.

    Attributes:
        orientation: (T, 3) rad, rotation vector of the wrist.
        pose: (T, 45) rad, rotation vectors of the other 15 joints in MANO's order; or, with ``is_pca``, (T, N)
            coefficients of MANO's principal components, N up to 45.
        shape: (T, 10).
        translation: (T, 3) m.
        is_pca: what ``pose`` holds.
        is_flat: whether a pose of zeros is the flat hand; else it is MANO's mean pose.
        is_wrist_centred: whether the wrist is at ``translation``; else the hand is moved by it.
        tips: which vertices are the finger tips: those of the package smplx, or those of manopth.
        is_left_shape_mended: the published left model moves its shape coefficients to the wrong side in x, as several
            users found. Whether these parameters mean a left hand that is mended; most mean the file as it is.
    """

    orientation: Array
    pose: Array
    shape: Array
    translation: Array
    is_pca: bool = False
    is_flat: bool = False
    is_wrist_centred: bool = False
    tips: Tips = "smplx"
    is_left_shape_mended: bool = False


@dataclass(frozen=True, eq=False)
class Hand:
    """One hand through a clip.

    Attributes:
        valid: (T,) whether the source knows the hand in a frame.
        joints: (T, 21, 3) m; anything where not valid. None: they follow from ``mano``.
        mano: its parameters; anything where not valid. None: the source gives joints only.
        frame: of joints and parameters.
    """

    valid: NDArray[np.bool_]
    joints: Array | None = None
    mano: ManoParameters | None = None
    frame: Frame = "world"


@dataclass(frozen=True, eq=False)
class Object:
    """One object through a clip; what the source does not give is None.

    Attributes:
        name: as people call it.
        valid: (T,) whether the source knows it in a frame.
        poses: (T, 4, 4) object to ``frame``.
        boxes: (T, 4) px: left, top, right, bottom.
        frame: of the poses.
    """

    name: str
    valid: NDArray[np.bool_]
    poses: Array | None = None
    boxes: Array | None = None
    frame: Frame = "world"


@dataclass(frozen=True, eq=False)
class Camera:
    """The camera through a clip.

    Attributes:
        intrinsics: (T, 3, 3) px.
        extrinsics: (T, 4, 4) world to camera.
        size: height and width of the pictures, px.
    """

    intrinsics: Array
    extrinsics: Array
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Clip:
    """One stretch of video.

    Attributes:
        identifier: unique within the source.
        source: its name.
        video: clips that share a recording share this name; they are never split between training and test.
        frames: the pictures.
        times: (T,) s, ascending.
        camera: that took the pictures.
        hands: by side.
        objects: that the source knows.
        text: what is done, as the source says it; empty where it says nothing.
    """

    identifier: str
    source: str
    video: str
    frames: Frames
    times: Array
    camera: Camera
    hands: Mapping[Side, Hand]
    objects: tuple[Object, ...] = field(default=())
    text: str = ""

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.times)

    def __str__(self) -> str:
        """Source and identifier."""
        return f"{self.source} {self.identifier}"
