"""Scenes that only tests need."""

import pytest

from vipa_sim.engine import Spec, mujoco
from vipa_sim.scenes.reach import Reach


class PaintedTable(Reach):
    """The commissioning task on a sheet with a texture that can be painted."""

    def add_objects(self, spec: Spec) -> None:
        super().add_objects(spec)
        texture = spec.add_texture(name="sheet", type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3, width=64, height=64)
        texture.data = bytes([200, 200, 200]) * 64 * 64
        material = spec.add_material(name="sheet")
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "sheet"
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[0.45, 0.7, 0.0005],
            pos=[0.55, 0, 0],
            material="sheet",
            contype=0,
            conaffinity=0,
        )


@pytest.fixture
def painted_table() -> PaintedTable:
    return PaintedTable()
