"""Retargeting with the genuine dex-retargeting, on a fabricated robot hand."""

from pathlib import Path

import numpy as np
import pytest
from fabricated_hand import FINGERS, right_hand

pytest.importorskip("dex_retargeting", reason="needs the package dex-retargeting: pip install '.[retargeting]'")
pytest.importorskip("torch", reason="dex-retargeting needs torch")

from vipa.errors import ConfigurationError
from vipa.teleop.retargeting import LANDMARKS, DexRetargeting

_LINK = '<link name="{name}"/>'
_JOINT = (
    '<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
    '<origin xyz="{x} {y} {z}" rpy="0 0 0"/><axis xyz="{axis}"/>'
    '<limit lower="0" upper="{upper}" effort="1" velocity="1"/></joint>'
)


def write_robot(folder: Path) -> Path:
    """A hand of single bones: four fingers and a thumb that bends and rotates; and its configuration."""
    parts = [_LINK.format(name="base")]

    def bone(name: str, root: tuple[float, float, float], axis: str, upper: float, parent: str = "base") -> None:
        parts.append(_LINK.format(name=f"{name}_bone"))
        x, y, z = root
        parts.append(
            _JOINT.format(
                name=f"{name}_joint", kind="revolute", parent=parent, child=f"{name}_bone", x=x, y=y, z=z, axis=axis,
                upper=upper,
            )
        )  # fmt: skip

    def tip(name: str, parent: str, x: float, y: float, z: float) -> None:
        parts.append(_LINK.format(name=f"{name}_tip"))
        parts.append(
            _JOINT.format(name=f"{name}_fixed", kind="fixed", parent=parent, child=f"{name}_tip", x=x, y=y, z=z,
                          axis="1 0 0", upper=0)
        )  # fmt: skip

    for name, (x, lengths) in FINGERS.items():
        bone(name, (x, 0.0, -0.09), "-1 0 0", 1.47)
        tip(name, f"{name}_bone", 0.3 * x, 0.0, -sum(lengths))
    bone("thumb_rotate", (-0.02, 0.0, -0.02), "-0.6 0 0.8", 1.3)
    bone("thumb_bend", (-0.032, 0.0, -0.024), "0 1 0", 0.6, parent="thumb_rotate_bone")
    tip("thumb", "thumb_bend_bone", -0.044, 0.0, -0.033)
    (folder / "hand.urdf").write_text(f'<robot name="hand">{"".join(parts)}</robot>')
    config = folder / "hand.yml"
    config.write_text(
        """
retargeting:
  type: vector
  urdf_path: hand.urdf
  target_joint_names: [little_joint, ring_joint, middle_joint, index_joint, thumb_bend_joint, thumb_rotate_joint]
  target_origin_link_names: [base, base, base, base, base]
  target_task_link_names: [thumb_tip, index_tip, middle_tip, ring_tip, little_tip]
  target_link_human_indices: [[0, 0, 0, 0, 0], [4, 8, 12, 16, 20]]
  low_pass_alpha: 1.0
"""
    )
    return config


def test_the_landmarks_are_wrist_and_tips_where_the_configurations_have_them() -> None:
    assert len(LANDMARKS) == 21
    assert [LANDMARKS[i] for i in (0, 4, 8, 12, 16, 20)] == [0, 4, 9, 14, 19, 24]


def test_an_open_hand_and_a_fist_are_the_ends_of_the_fingers(tmp_path: Path) -> None:
    retargeting = DexRetargeting(write_robot(tmp_path), tmp_path)
    for _ in range(3):
        opened = retargeting.hand_values(right_hand())
    for _ in range(3):
        closed = retargeting.hand_values(right_hand(1.0))
    for _ in range(3):
        one = retargeting.hand_values(right_hand({"index": 1.0}))
    assert (opened[:4] > 0.85).all(), opened
    assert (closed[:4] < 0.35).all(), closed
    assert one[3] < 0.35
    assert (one[:3] > 0.85).all()
    assert ((np.array([opened, closed, one]) >= 0.0) & (np.array([opened, closed, one]) <= 1.0)).all()


def test_a_configuration_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    config = write_robot(tmp_path)
    with pytest.raises(ConfigurationError, match=r"nowhere\.yml: .*No such file"):
        DexRetargeting(tmp_path / "nowhere.yml", tmp_path)
    config.write_text(config.read_text().replace("little_joint, ", ""))
    with pytest.raises(ConfigurationError, match="target_joint_names has 5 names; 6 are needed"):
        DexRetargeting(config, tmp_path)
    config.write_text("retargeting: {type: magic, urdf_path: hand.urdf}")
    with pytest.raises(ConfigurationError, match="Retargeting type must be one of"):
        DexRetargeting(config, tmp_path)
