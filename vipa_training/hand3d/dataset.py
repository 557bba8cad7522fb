"""Reads a Hand3D data set for training: items by their number, in any order, from any process.

    from vipa_training.hand3d.dataset import ActionItems, VisualItems

    questions = VisualItems([Path("data/hand3d")], "train")
    item = questions[17]                     # VisualItem: pictures, question, answer, vector
    motions = ActionItems([Path("data/hand3d")], "train")
    ids = motions[3].sequences(MotionTokenizer(config.motion_tokens, first_id))

The files are described in ``format.py``. Readers can be copied into the worker processes of a loader.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from vipa_inference.config import MotionTokenConfig
from vipa_training.data.arrow import ArrowError, Table, pq
from vipa_training.hand3d import motion_tokens, visual
from vipa_training.hand3d.errors import Hand3DError
from vipa_training.hand3d.format import DESCRIPTION, SHARDS, VERSION, Kind, Split, items_name, shard_name
from vipa_training.hand3d.joints import Side

if TYPE_CHECKING:
    from torch import Tensor

    from vipa_inference.model.motion_tokens import MotionTokenizer

Array = NDArray[np.float64]
Images = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class VisualItem:
    """A question about space and its answer (Hand3D-visual, stage 1).

    Attributes:
        identifier: unique in the data set, "synthetic/000012/v003".
        source: of the video.
        video: that it is about; the unit that confidence intervals resample.
        clip: of that video.
        category: of the question.
        numbers: of the frames in the clip, ascending.
        frames: (n, H, W, 3) RGB, n from 1 to 4; "the last frame" of a question is the last of these.
        question: text, without any mark for pictures.
        answer: text.
        vector: (3,) m, the displacement that the answer describes, in the camera's frame.
        rotation: (3,) rad, turn of the camera; None for other categories.
        contact: whether hand and object touch; None: not known, or not asked.
        side: of the hand; None: about the camera.
        target: name of the object; empty: about none.
    """

    identifier: str
    source: str
    video: str
    clip: str
    category: visual.Category
    numbers: tuple[int, ...]
    frames: Images
    question: str
    answer: str
    vector: Array
    rotation: Array | None
    contact: bool | None
    side: Side | None
    target: str


@dataclass(frozen=True, eq=False)
class ActionItem:
    """A motion of a wrist, asked for, continued or described (Hand3D-action, stage 2).

    Attributes:
        identifier: unique in the data set, "synthetic/000012/a001".
        source: of the video.
        video: that it is from.
        clip: of that video.
        category: of the task.
        numbers: of the frame in the clip.
        frames: (1, H, W, 3) RGB, the picture at the begin of the motion.
        side: of the hand.
        instruction: what is done; empty: not known. Question or answer hold it already.
        question: text; each ``<motion>`` (``motion_tokens.MOTION``) in question, then answer, stands for the next of
            ``motions``.
        answer: text, likewise.
        motions: (N, 3) bins 0 to K - 1 of x, y, z each.
        track: (T, 3) m, the wrist through the whole chunk before it was binned, in the camera's frame at the picture.
        rate: waypoints a second.
        tokens: how space becomes bins.
    """

    identifier: str
    source: str
    video: str
    clip: str
    category: motion_tokens.Kind
    numbers: tuple[int, ...]
    frames: Images
    side: Side
    instruction: str
    question: str
    answer: str
    motions: tuple[NDArray[np.int64], ...]
    track: Array
    rate: float
    tokens: MotionTokenConfig

    def sequences(self, tokenizer: "MotionTokenizer") -> "tuple[Tensor, ...]":
        """Ids (3 N + 2,) of each motion: ``<mot>`` x y z x y z ... ``</mot>``.

        Raises:
            ValueError: the tokenizer has other bins or bounds.
        """
        from torch import from_numpy

        theirs = tokenizer.config
        if (theirs.bins, theirs.lower, theirs.upper) != (self.tokens.bins, self.tokens.lower, self.tokens.upper):
            raise ValueError(f"motion tokens: the data set has {self.tokens}, the tokenizer {theirs}")
        return tuple(
            tokenizer.sequence(from_numpy(motion_tokens.positions_of(motion, self.tokens))) for motion in self.motions
        )


Item = TypeVar("Item", VisualItem, ActionItem)


class _Items(Sequence[Item], Generic[Item]):
    """Items of one kind and split, of one or several data sets one after the other.

    Args:
        roots: folders of the data sets.
        split: train or test.

    Raises:
        Hand3DError: there is no complete data set, or its files cannot be read.
    """

    kind: Kind

    def __init__(self, roots: Sequence[Path], split: Split) -> None:
        self.roots: tuple[Path, ...] = tuple(roots)
        self.split: Split = split
        self.descriptions = tuple(read_description(root) for root in self.roots)
        self._open()

    def __len__(self) -> int:
        """How many there are."""
        return int(self._starts[-1])

    def __getitem__(self, index: Any) -> Any:
        """The item at a number; of a slice, those items.

        Raises:
            IndexError: there is none.
            Hand3DError: its pictures cannot be read.
        """
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        place, row = self.row(index)
        return self._item(row, self._frames(place, row), self.descriptions[place])

    def __iter__(self) -> Iterator[Item]:
        """One after the other."""
        return (self[number] for number in range(len(self)))

    def row(self, index: int) -> tuple[int, dict[str, Any]]:
        """Number of the data set, and what its table says of an item, without reading pictures.

        Raises:
            IndexError: there is none.
        """
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        place = int(np.searchsorted(self._starts, number, side="right")) - 1
        return place, self._tables[place].slice(number - int(self._starts[place]), 1).to_pylist()[0]

    def column(self, name: str) -> list[Any]:
        """A column of the tables (see ``format.py``) for all items, such as "video" or "category"."""
        return [value for table in self._tables for value in table.column(name).to_pylist()]

    def close(self) -> None:
        """Close the shards."""
        for descriptor in self._shards.values():
            os.close(descriptor)
        self._shards.clear()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy in another process needs."""
        return {"roots": self.roots, "split": self.split, "descriptions": self.descriptions}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the files anew."""
        self.__dict__.update(state)
        self._open()

    def _open(self) -> None:
        self._shards: dict[tuple[int, int], int] = {}
        self._tables: list[Table] = [_table(root / items_name(self.kind, self.split)) for root in self.roots]
        self._starts = np.cumsum([0, *(table.num_rows for table in self._tables)])

    def _frames(self, place: int, row: Mapping[str, Any]) -> Images:
        shard = place, int(row["shard"])
        path = self.roots[place] / SHARDS / shard_name(shard[1])
        try:
            if shard not in self._shards:
                self._shards[shard] = os.open(path, os.O_RDONLY)
            pieces = [
                os.pread(self._shards[shard], size, offset)
                for offset, size in zip(row["offsets"], row["sizes"], strict=True)
            ]
        except OSError as error:
            raise Hand3DError(f"{path}: cannot be read: {error.strerror}") from None
        return np.stack([_picture(piece, f"{path}: {row['id']}") for piece in pieces])

    def _item(self, row: dict[str, Any], frames: Images, description: Mapping[str, Any]) -> Item:
        raise NotImplementedError


class VisualItems(_Items[VisualItem]):
    """Questions about space; a sequence of ``VisualItem``."""

    kind = "visual"

    def _item(self, row: dict[str, Any], frames: Images, description: Mapping[str, Any]) -> VisualItem:
        return VisualItem(
            **_origin(row, frames),
            vector=np.array(row["vector"], np.float64),
            rotation=None if row["rotation"] is None else np.array(row["rotation"], np.float64),
            contact=row["contact"],
            target=row["object"],
        )


class ActionItems(_Items[ActionItem]):
    """Motions; a sequence of ``ActionItem``."""

    kind = "action"

    def _item(self, row: dict[str, Any], frames: Images, description: Mapping[str, Any]) -> ActionItem:
        return ActionItem(
            **_origin(row, frames),
            instruction=row["instruction"],
            motions=tuple(np.array(motion, np.int64).reshape(-1, 3) for motion in row["motions"]),
            track=np.array(row["track"], np.float64).reshape(-1, 3),
            rate=float(row["rate"]),
            tokens=tokens_of(description),
        )


def read_description(root: Path) -> dict[str, Any]:
    """What ``hand3d.json`` of a data set says.

    Raises:
        Hand3DError: there is no complete data set, or it has another version.
    """
    path = root / DESCRIPTION
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Hand3DError(f"{root}: no complete Hand3D data set; build it with vipa hand3d build --out") from None
    except (OSError, ValueError) as error:
        raise Hand3DError(f"{path}: cannot be read: {error}") from None
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise Hand3DError(f"{path}: no data set of version {VERSION}; build it anew")
    return cast("dict[str, Any]", found)


def tokens_of(description: Mapping[str, Any]) -> MotionTokenConfig:
    """How space becomes motion tokens in a data set."""
    stored = description["motion_tokens"]
    return MotionTokenConfig(stored["bins"], tuple(stored["lower"]), tuple(stored["upper"]))


def _origin(row: Mapping[str, Any], frames: Images) -> dict[str, Any]:
    return {
        "identifier": row["id"],
        "source": row["source"],
        "video": row["video"],
        "clip": row["clip"],
        "category": row["category"],
        "numbers": tuple(row["frames"]),
        "frames": frames,
        "side": row["hand"],
        "question": row["question"],
        "answer": row["answer"],
    }


def _table(path: Path) -> Table:
    try:
        return pq.read_table(path, memory_map=True).combine_chunks()
    except (OSError, ArrowError) as error:
        raise Hand3DError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None


def _picture(data: bytes, name: str) -> Images:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if image is None:
        raise Hand3DError(f"{name}: a picture is broken; build the data set anew")
    return image.astype(np.uint8, copy=False)
