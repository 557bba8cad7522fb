"""A drawn cell: shaded balls on a wooden table, seen by two calibrated cameras."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest

from vipa_inference.policy import CameraView

COLOURS = {
    "red": (205, 30, 28),
    "green": (30, 165, 50),
    "blue": (30, 60, 205),
    "grey": (60, 60, 64),
    "yellow": (210, 190, 30),
}
WOOD = (150, 105, 65)
HEIGHT, WIDTH, FOCAL = 480, 640, 600.0
INTRINSICS = np.array([[FOCAL, 0.0, 319.5], [0.0, FOCAL, 239.5], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Sphere:
    """Something round in the cell."""

    colour: str
    centre: np.ndarray  # (3,) m, base frame
    radius: float = 0.025  # m


def look_at(position: Iterable[float], target: Iterable[float]) -> np.ndarray:
    """Pose (4, 4) of an optical frame at ``position``: z points at ``target``, y points down."""
    position, target = np.asarray(position, float), np.asarray(target, float)
    z = (target - position) / np.linalg.norm(target - position)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.column_stack([x, np.cross(z, x), z]), position
    return pose


@dataclass
class DrawnCell:
    """Two cameras and what they see."""

    cameras: dict[str, np.ndarray] = field(
        default_factory=lambda: {
            "front": look_at((1.35, 0.0, 0.75), (0.45, 0.0, 0.15)),
            "side": look_at((0.5, -1.0, 0.65), (0.45, 0.0, 0.15)),
        }
    )

    def views(
        self, spheres: list[Sphere], time_ns: int = 0, noise: float = 0.0, seed: int = 0
    ) -> dict[str, CameraView]:
        """Both views of the spheres (20 % ambient light, light from above, a white highlight), with pixel noise."""
        generator = np.random.default_rng(seed)
        views: dict[str, CameraView] = {}
        for name, pose in self.cameras.items():
            image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
            image[:] = WOOD
            for sphere in sorted(spheres, key=lambda s: -np.linalg.norm(s.centre - pose[:3, 3])):
                _draw(image, pose, sphere, oversampling=1 if sphere.colour == "grey" else 2)
            if noise > 0.0:
                image = np.clip(image + generator.normal(0.0, noise, image.shape), 0, 255).astype(np.uint8)
            views[name] = CameraView(image, time_ns, INTRINSICS, pose)
        return views


def _draw(image: np.ndarray, pose: np.ndarray, sphere: Sphere, oversampling: int) -> None:
    """Draw one sphere by intersecting viewing rays with it, on the part of the image that it covers."""
    centre = pose[:3, :3].T @ (sphere.centre - pose[:3, 3])
    u, v = INTRINSICS[:2, :2].diagonal() * centre[:2] / centre[2] + INTRINSICS[:2, 2]
    reach = 1.3 * FOCAL * sphere.radius / centre[2] + 1
    left, right = (int(np.clip(x, 0, WIDTH)) for x in (u - reach, u + reach))
    top, bottom = (int(np.clip(y, 0, HEIGHT)) for y in (v - reach, v + reach))
    if left >= right or top >= bottom:
        return
    offsets = (np.arange(oversampling) + 0.5) / oversampling - 0.5
    us = (np.arange(left, right)[:, None] + offsets).ravel()
    vs = (np.arange(top, bottom)[:, None] + offsets).ravel()
    rays = np.stack(np.broadcast_arrays((us - 319.5) / FOCAL, ((vs - 239.5) / FOCAL)[:, None], 1.0), axis=-1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    along = rays @ centre
    inside = along**2 - centre @ centre + sphere.radius**2
    hit = inside > 0
    points = rays * (along - np.sqrt(np.where(hit, inside, 0.0)))[..., None]
    normals = (points - centre) / sphere.radius @ pose[:3, :3].T
    diffuse = np.clip(normals @ np.array([0.3, -0.2, 0.93]), 0.0, 1.0)
    facing = np.clip(-np.sum(normals * (rays @ pose[:3, :3].T), axis=-1), 0.0, 1.0)
    colour = np.array(COLOURS[sphere.colour]) * (0.45 + 0.55 * diffuse)[..., None] + 150.0 * facing[..., None] ** 60
    patch = image[top:bottom, left:right]
    fine = np.where(hit[..., None], colour, np.repeat(np.repeat(patch, oversampling, 0), oversampling, 1))
    shape = (bottom - top, oversampling, right - left, oversampling, 3)
    image[top:bottom, left:right] = np.clip(fine, 0, 255).reshape(shape).mean(axis=(1, 3))


@pytest.fixture(scope="session")
def cell() -> DrawnCell:
    return DrawnCell()


@pytest.fixture(scope="session")
def sphere() -> type[Sphere]:
    return Sphere
