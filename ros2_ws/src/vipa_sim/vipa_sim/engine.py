"""MuJoCo for the laboratory. Its package carries no types: what comes out of it is named here, and unchecked."""

from typing import Any, TypeAlias

import mujoco as _mujoco

mujoco: Any = _mujoco

Spec: TypeAlias = Any
"""mujoco.MjSpec: a model that can still be edited."""
Body: TypeAlias = Any
"""mujoco.MjsBody: a body of a Spec."""
Geom: TypeAlias = Any
"""mujoco.MjsGeom: a geom of a Spec."""
Model: TypeAlias = Any
"""mujoco.MjModel: a compiled model."""
Data: TypeAlias = Any
"""mujoco.MjData: the state of a compiled model."""
