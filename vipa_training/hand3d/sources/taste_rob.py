"""Taste-Rob (Zhao et al. 2025): 100,856 videos from fixed cameras, without any annotation but a caption.

Format: github.com/GAP-LAB-CUHK-SZ/TASTE-Rob; ``SingleHand/Bedroom.zip`` and the others unpacked in their place. The
hands come from HaWoR (Zhang et al. 2025), run by the user; ``hands/SingleHand/<id>.npz`` beside the videos holds what
its scripts call ``pred_trans``, ``pred_rot`` (2, T, 3), ``pred_hand_pose`` (2, T, 45), ``pred_betas`` (2, T, 10),
``pred_valid`` (2, T), left hand first, in the world, and ``R_w2c`` (T, 3, 3), ``t_w2c`` (T, 3), ``img_focal``.
"""

from functools import cached_property
from pathlib import Path

import numpy as np

from vipa_training.hand3d.clip import Array, Clip, Hand, ManoParameters
from vipa_training.hand3d.errors import Hand3DError, Rejection
from vipa_training.hand3d.frames import VideoFile
from vipa_training.hand3d.geometry import intrinsics_of, pose_of
from vipa_training.hand3d.joints import SIDES, Side
from vipa_training.hand3d.sources.base import Source, camera_of

SHEETS = {"SingleHand": "Single-Hand", "DoubleHand": "Double-Hand"}


class TasteRob(Source):
    """Videos such as ``SingleHand/Bedroom/80646``."""

    name = "Taste-Rob"
    layout = "SingleHand/<scene>/<id>.mp4 and captions.xlsx"

    def _identifiers(self) -> list[str]:
        paths = [path for sheet in SHEETS for path in (self.root / sheet).glob("*/*.mp4")]
        return [path.relative_to(self.root).with_suffix("").as_posix() for path in paths]

    @cached_property
    def captions(self) -> dict[tuple[str, str], str]:
        """By folder and id.

        Raises:
            Hand3DError: the file is missing or broken, or openpyxl is.
        """
        try:
            import openpyxl
        except ImportError:
            raise Hand3DError("Taste-Rob: needs the package openpyxl. Install it with: pip install openpyxl") from None
        path = self.root / "captions.xlsx"
        found: dict[tuple[str, str], str] = {}
        try:
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            for folder, sheet in SHEETS.items():
                rows = book[sheet].iter_rows(values_only=True)
                head = [str(name).strip().lower() for name in next(rows)]
                number, caption = head.index("id"), head.index("caption")
                for row in rows:
                    if row[number] is not None:
                        found[folder, str(row[number]).removesuffix(".0")] = " ".join(str(row[caption] or "").split())
            book.close()
        except Exception as error:  # noqa: BLE001  (the package names no errors of its own)
            raise Hand3DError(f"{path}: no captions can be read: {error}") from None
        return found

    def _read(self, identifier: str) -> Clip:
        folder, _, number = identifier.split("/")
        video = self.root / f"{identifier}.mp4"
        path = self.root / "hands" / folder / f"{number}.npz"
        if not path.is_file():
            raise Rejection(f"no hands of HaWoR: {path}")
        with np.load(path, allow_pickle=False) as stored:
            parts = {name: np.asarray(stored[name], np.float64) for name in stored.files}
        extrinsics = pose_of(parts["R_w2c"], parts["t_w2c"])
        size, fps = _size_and_rate(video)
        focal = float(parts["img_focal"])
        hands: dict[Side, Hand] = {side: _hand(parts, place) for place, side in enumerate(SIDES)}
        return Clip(
            identifier,
            self.name,
            identifier,
            VideoFile(video, range(len(extrinsics)), fps),
            np.arange(len(extrinsics)) / fps,
            camera_of(intrinsics_of(focal, focal, size[1] / 2.0, size[0] / 2.0), extrinsics, size),
            {side: hand for side, hand in hands.items() if hand.valid.any()},
            text=self.captions.get((folder, number), "").rstrip("."),
        )


def _hand(parts: dict[str, Array], place: int) -> Hand:
    parameters = ManoParameters(
        parts["pred_rot"][place],
        parts["pred_hand_pose"][place],
        parts["pred_betas"][place],
        parts["pred_trans"][place],
        is_flat=True,
        is_left_shape_mended=True,
    )
    return Hand(parts["pred_valid"][place] > 0.5, mano=parameters)


def _size_and_rate(path: Path) -> tuple[tuple[int, int], int]:
    """Height and width of a video's pictures, px, and frames a second.

    Raises:
        Rejection: it cannot be read.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return (stream.height, stream.width), round(float(stream.average_rate or 30))
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise Rejection(f"{path}: no video that can be read: {error}") from None
