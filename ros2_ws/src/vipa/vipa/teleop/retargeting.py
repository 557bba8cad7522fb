"""Retargeting by optimisation with dex-retargeting, for those who have a URDF of their Inspire hand."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vipa.errors import ConfigurationError
from vipa.teleop.hand_skeleton import INDEX, LITTLE, MIDDLE, RING, THUMB, WRIST

Array = NDArray[np.float64]

LANDMARKS = [
    WRIST,
    *range(THUMB, THUMB + 4),
    *(first + bone for first in (INDEX, MIDDLE, RING, LITTLE) for bone in range(1, 5)),
]
"""The 21 landmarks that dex-retargeting's configurations number, among the 25 joints of WebXR."""


class DexRetargeting:
    """The six values from a configuration of dex-retargeting, "vector" or "dexpilot".

    Args:
        config: its YAML file; ``target_joint_names`` in the register order of the hand: little, ring, middle, index,
            thumb bend, thumb rotate, each open at its lower limit.
        urdf_folder: that ``urdf_path`` in it is relative to.

    Raises:
        ConfigurationError: the package or a part of it is not installed, or the configuration cannot be used.
    """

    def __init__(self, config: Path, urdf_folder: Path) -> None:
        try:
            from dex_retargeting.retargeting_config import RetargetingConfig
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"teleop xr: dex-retargeting needs the package {error.name}; pip install '.[retargeting]'"
            ) from None
        try:
            RetargetingConfig.set_default_urdf_dir(urdf_folder)
            self._retargeting: Any = RetargetingConfig.load_from_file(config).build()
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"teleop xr: {config}: {error}") from None
        names = list(self._retargeting.optimizer.target_joint_names)
        if len(names) != 6:
            raise ConfigurationError(f"teleop xr: {config}: target_joint_names has {len(names)} names; 6 are needed")
        self._order = [self._retargeting.joint_names.index(name) for name in names]
        self._limits = np.asarray(self._retargeting.joint_limits, dtype=np.float64)

    def hand_values(self, points: Array) -> Array:
        """The values (6,), 0 closed - 1 open, for joints (25, 3) m in the frame of the wrist that the URDF has."""
        landmarks = points[LANDMARKS]
        indices = np.asarray(self._retargeting.optimizer.target_link_human_indices)
        vectors = landmarks[indices[1]] - landmarks[indices[0]]
        angles = np.asarray(self._retargeting.retarget(vectors), dtype=np.float64)[self._order]
        low, high = self._limits[:, 0], self._limits[:, 1]
        return np.clip((high - angles) / (high - low), 0.0, 1.0)
