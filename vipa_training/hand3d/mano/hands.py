"""From parameters of MANO in a clip to joints, and back, with the user's licensed files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vipa_training.hand3d.clip import Array, Clip, Hand, ManoParameters, Tips
from vipa_training.hand3d.errors import Rejection
from vipa_training.hand3d.joints import COUNT, WRIST, Side
from vipa_training.hand3d.mano.fitting import FitConfig, fit
from vipa_training.hand3d.mano.layer import ManoLayer
from vipa_training.hand3d.mano.model_file import ManoModel, load_model
from vipa_training.hand3d.validation import validate


class HandModels:
    """The layers of both sides, read when they are first needed.

    Args:
        folder: with ``MANO_RIGHT.pkl`` and ``MANO_LEFT.pkl``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._layers: dict[tuple[Side, Tips, bool], ManoLayer] = {}

    def model(self, side: Side, is_left_shape_mended: bool = False) -> ManoModel:
        """The model of a side.

        Args:
            side: of the body.
            is_left_shape_mended: whether to mend the left one where it moves in x as the right one does.

        Raises:
            Hand3DError: a file is missing or is no model of MANO.
        """
        found = load_model(self.folder, side)
        if side == "right" or not is_left_shape_mended:
            return found
        right = load_model(self.folder, "right")
        if np.abs(found.shapes[:, 0] - right.shapes[:, 0]).sum() >= 1.0:
            return found
        return replace(found, shapes=found.shapes * np.array([-1.0, 1.0, 1.0])[None, :, None])

    def layer(self, side: Side, tips: Tips, is_left_shape_mended: bool = False) -> ManoLayer:
        """The layer of a side; arguments as for ``model`` and ``ManoLayer``.

        Raises:
            Hand3DError: a file is missing or is no model of MANO.
        """
        key = side, tips, is_left_shape_mended
        if key not in self._layers:
            self._layers[key] = ManoLayer(self.model(side, is_left_shape_mended), tips)
        return self._layers[key]

    def joints(self, side: Side, parameters: ManoParameters, rows: NDArray[np.bool_]) -> Array:
        """Joints (T, 21, 3) m in the frame of the parameters; NaN outside the rows.

        Raises:
            Hand3DError: a file is missing or is no model of MANO.
        """
        layer = self.layer(side, parameters.tips, parameters.is_left_shape_mended)

        def chosen(values: Array) -> Tensor:
            return torch.tensor(values[rows], dtype=torch.float64)

        with torch.no_grad():
            pose = layer.pose_of(chosen(parameters.pose), parameters.is_pca, parameters.is_flat)
            found = layer.joints(chosen(parameters.orientation), pose, chosen(parameters.shape))
            if parameters.is_wrist_centred:
                found = found - found[:, WRIST : WRIST + 1]
            found = found + chosen(parameters.translation)[:, None]
        out = np.full((len(rows), COUNT, 3), np.nan)
        out[rows] = found.numpy()
        return out


def with_joints(clip: Clip, models: HandModels) -> Clip:
    """The clip with the joints of every hand, checked as ``validate`` does; those that the source gives stay.

    Raises:
        Hand3DError: a file of MANO is missing or is no model.
        Rejection: the joints are no hand before a camera.
    """

    def complete(side: Side, hand: Hand) -> Hand:
        if hand.joints is not None or hand.mano is None:
            return hand
        return replace(hand, joints=models.joints(side, hand.mano, hand.valid))

    found = replace(clip, hands={side: complete(side, hand) for side, hand in clip.hands.items()})
    validate(found)
    return found


def with_mano(clip: Clip, models: HandModels, config: FitConfig | None = None, worst: float = 0.005) -> Clip:
    """The clip with the parameters of every hand that the source gives as joints only.

    Args:
        clip: valid.
        models: of both sides.
        config: of the fit.
        worst: m, mean distance of the joints beyond which the hand is none of MANO's.

    Raises:
        Hand3DError: a file of MANO is missing or is no model.
        Rejection: a hand cannot be fitted.
    """

    def complete(side: Side, hand: Hand) -> Hand:
        if hand.mano is not None or hand.joints is None or not hand.valid.any():
            return hand
        found = fit(hand.joints[hand.valid], models.layer(side, "smplx"), config)
        error = float(found.errors.mean())
        if error > worst:
            raise Rejection(f"{side} hand: MANO fits no better than {error * 1000.0:.1f} mm")

        def everywhere(values: Array) -> Array:
            out = np.zeros((len(hand.valid), values.shape[1]))
            out[hand.valid] = values
            return out

        known = found.parameters
        parts = (everywhere(part) for part in (known.orientation, known.pose, known.shape, known.translation))
        orientation, pose, shape, translation = parts
        return replace(hand, mano=ManoParameters(orientation, pose, shape, translation))

    return replace(clip, hands={side: complete(side, hand) for side, hand in clip.hands.items()})
